//! Imports: which link, which become stubs, and which are refused at what stage.

use super::{
    Case, Expect,
    text::{HEAP_BASE, MEMORY, guest, module, raw_guest, result_segment},
};

/// Where a section of this number belongs: before the first with a higher one.
fn section_after(wasm: &[u8], number: u8) -> usize {
    let mut at = 8;
    while at < wasm.len() && wasm[at] < number {
        let (mut len, mut shift, mut next) = (0_usize, 0, at + 1);
        loop {
            len |= usize::from(wasm[next] & 0x7f) << shift;
            shift += 7;
            next += 1;
            if wasm[next - 1] & 0x80 == 0 {
                break;
            }
        }
        at = next + len;
    }
    at
}

pub(super) const CASES: &[Case] = &[
    Case::valid("import_missing_not_called", "an unknown function of env links to a stub", || {
        guest(r#"(import "env" "no_such_function" (func (param i32) (result i64)))"#, "", "")
    }),
    Case::invalid("import_missing_called", "the stub traps", || {
        guest(r#"(import "env" "no_such_function" (func $f (param i32)))"#, "", "(call $f (i32.const 1))")
    }),
    Case::valid("import_missing_twice", "one stub serves two imports of one type", || {
        guest(
            r#"(import "env" "no_such_function" (func (param i32)))
               (import "env" "no_such_function" (func (param i32)))"#,
            "",
            "",
        )
    }),
    Case::unlinkable(
        "import_missing_twice_ill_typed",
        "there is one stub for one name; it cannot have two types",
        || {
            guest(
                r#"(import "env" "no_such_function" (func (param i32)))
                   (import "env" "no_such_function" (func (param i64)))"#,
                "",
                "",
            )
        },
    ),
    Case::valid("import_registered_twice", "a host function may be imported twice", || {
        guest(
            r#"(import "env" "ext_misc_print_num_version_1" (func $a (param i64)))
               (import "env" "ext_misc_print_num_version_1" (func $b (param i64)))"#,
            "",
            "(call $a (i64.const 1)) (call $b (i64.const 2))",
        )
    }),
    Case::unlinkable("import_other_module", "only functions of env become stubs", || {
        guest(r#"(import "wasi_snapshot_preview1" "proc_exit" (func (param i32)))"#, "", "")
    }),
    Case::unlinkable("import_host_function_of_other_module", "the name is known, but not in this module", || {
        guest(r#"(import "host" "ext_misc_print_num_version_1" (func (param i64)))"#, "", "")
    }),
    Case::unlinkable("import_wrong_signature", "the function takes an i64", || {
        guest(r#"(import "env" "ext_misc_print_num_version_1" (func (param i32)))"#, "", "")
    }),
    Case::unlinkable("import_wrong_result", "the function returns an i32", || {
        guest(r#"(import "env" "ext_allocator_malloc_version_1" (func (param i32)))"#, "", "")
    }),
    Case::unlinkable("import_table", "only functions and the memory can be imported", || {
        guest(r#"(import "env" "table" (table 1 funcref))"#, "", "")
    }),
    Case::refused(
        "import_global",
        Expect::Preparation,
        "the stack limiter does not count imported globals, and so takes this guest's heap base for its \
         counter: a write to an immutable global",
        || guest(r#"(import "env" "global" (global i32))"#, "", ""),
    ),
    Case::refused(
        "import_global_i64",
        Expect::Preparation,
        "with no global of the guest's own, the limiter takes the imported one for its counter",
        || raw_guest(r#"(import "env" "global" (global (mut i64)))"#, MEMORY, ""),
    ),
    Case::unlinkable(
        "import_global_fit_for_a_counter",
        "if that one is a mutable i32 the module compiles; there is no such thing to link",
        || raw_guest(r#"(import "env" "global" (global (mut i32)))"#, MEMORY, ""),
    ),
    Case::valid("import_memory", "becomes the guest's own, exported", || {
        raw_guest(r#"(import "env" "memory" (memory 2))"#, &format!("{HEAP_BASE} {}", result_segment()), "")
    }),
    Case::valid("import_memory_of_other_module", "the module name does not matter", || {
        raw_guest(r#"(import "anywhere" "memory" (memory 2))"#, &format!("{HEAP_BASE} {}", result_segment()), "")
    }),
    Case::valid("import_memory_between_functions", "function indices must survive its removal", || {
        raw_guest(
            r#"(import "env" "no_such_function" (func))
               (import "env" "memory" (memory 2))
               (import "env" "ext_misc_print_num_version_1" (func $print (param i64)))"#,
            &format!("{HEAP_BASE} {}", result_segment()),
            "(call $print (i64.const 7))",
        )
    }),
    Case::invalid(
        "import_memory_of_other_field",
        "it is exported under the field's name, so there is no export `memory`",
        || raw_guest(r#"(import "env" "heap" (memory 2))"#, &format!("{HEAP_BASE} {}", result_segment()), ""),
    ),
    Case::valid("import_memory_of_other_field_exported", "unless the guest exports its imported memory itself", || {
        raw_guest(
            r#"(import "env" "heap" (memory 2))"#,
            &format!(r#"(export "memory" (memory 0)) {HEAP_BASE} {}"#, result_segment()),
            "",
        )
    }),
    Case::refused("import_memory_and_export_it", Expect::Preparation, "then `memory` is exported twice", || {
        raw_guest(
            r#"(import "env" "memory" (memory 2))"#,
            &format!(r#"(export "memory" (memory 0)) {HEAP_BASE} {}"#, result_segment()),
            "",
        )
    }),
    Case::refused(
        "import_memory_and_define_one",
        Expect::Preparation,
        "there is a memory section already, and only one may be",
        || raw_guest(r#"(import "env" "memory" (memory 2))"#, &format!("(memory 1) {HEAP_BASE}"), ""),
    ),
    Case::valid(
        "import_memory_beside_an_empty_section",
        "the stack limiter, which comes first, leaves out sections without entries",
        || {
            let items = format!("{HEAP_BASE} {}", result_segment());
            let mut wasm = raw_guest(r#"(import "env" "memory" (memory 2))"#, &items, "");
            let at = section_after(&wasm, 5);
            wasm.splice(at..at, [5, 1, 0]);
            wasm
        },
    ),
    Case::refused("import_two_memories", Expect::Preparation, "the first is converted, the second makes two", || {
        raw_guest(r#"(import "env" "memory" (memory 2)) (import "env" "more" (memory 2))"#, HEAP_BASE, "")
    }),
    Case::invalid("import_as_entry_point", "validate_block is a missing function", || {
        module(&format!(
            r#"(module
                (import "env" "no_such_function" (func $f (param i32 i32) (result i64)))
                {MEMORY} {HEAP_BASE} (export "validate_block" (func $f)))"#
        ))
    }),
    Case::valid("import_exported_again", "a host function may be an export, too", || {
        guest(
            r#"(import "env" "ext_misc_print_num_version_1" (func $print (param i64)))"#,
            r#"(export "print" (func $print))"#,
            "",
        )
    }),
];
