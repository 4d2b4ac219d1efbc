//! Imports: those that link, those that become stubs, and those that are rejected, each at its stage.

use super::{
    Case, Expect,
    text::{HEAP_BASE, MEMORY, guest, module, raw_guest, result_segment},
};

/// Position for a section with this id: before the first section with a higher one.
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
    Case::valid("import_missing_not_called", "an unknown function of env is linked to a stub", || {
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
    Case::unlinkable("import_missing_twice_ill_typed", "the one stub of a name cannot have two types", || {
        guest(
            r#"(import "env" "no_such_function" (func (param i32)))
                   (import "env" "no_such_function" (func (param i64)))"#,
            "",
            "",
        )
    }),
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
    Case::unlinkable("import_host_function_of_other_module", "the host function exists only in module env", || {
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
        "the stack limiter ignores imported globals in its indices, and so writes its counter to this guest's \
         heap base, which is immutable",
        || guest(r#"(import "env" "global" (global i32))"#, "", ""),
    ),
    Case::refused(
        "import_global_i64",
        Expect::Preparation,
        "without a defined global, the limiter uses the imported one as its counter",
        || raw_guest(r#"(import "env" "global" (global (mut i64)))"#, MEMORY, ""),
    ),
    Case::unlinkable(
        "import_global_fit_for_a_counter",
        "the imported global has the type of the counter, so the module compiles; the host defines no globals",
        || raw_guest(r#"(import "env" "global" (global (mut i32)))"#, MEMORY, ""),
    ),
    Case::valid("import_memory", "becomes a defined memory that is exported", || {
        raw_guest(r#"(import "env" "memory" (memory 2))"#, &format!("{HEAP_BASE} {}", result_segment()), "")
    }),
    Case::valid("import_memory_of_other_module", "the module name does not matter", || {
        raw_guest(r#"(import "anywhere" "memory" (memory 2))"#, &format!("{HEAP_BASE} {}", result_segment()), "")
    }),
    Case::valid("import_memory_between_functions", "removing the import must not change function indices", || {
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
    Case::valid(
        "import_memory_of_other_field_exported",
        "the guest itself exports its imported memory as `memory`",
        || {
            raw_guest(
                r#"(import "env" "heap" (memory 2))"#,
                &format!(r#"(export "memory" (memory 0)) {HEAP_BASE} {}"#, result_segment()),
                "",
            )
        },
    ),
    Case::refused("import_memory_and_export_it", Expect::Preparation, "`memory` is exported twice", || {
        raw_guest(
            r#"(import "env" "memory" (memory 2))"#,
            &format!(r#"(export "memory" (memory 0)) {HEAP_BASE} {}"#, result_segment()),
            "",
        )
    }),
    Case::refused(
        "import_memory_and_define_one",
        Expect::Preparation,
        "the conversion would add a second memory section",
        || raw_guest(r#"(import "env" "memory" (memory 2))"#, &format!("(memory 1) {HEAP_BASE}"), ""),
    ),
    Case::valid(
        "import_memory_beside_an_empty_section",
        "the stack limiter removes sections without entries before the conversion",
        || {
            let items = format!("{HEAP_BASE} {}", result_segment());
            let mut wasm = raw_guest(r#"(import "env" "memory" (memory 2))"#, &items, "");
            let at = section_after(&wasm, 5);
            wasm.splice(at..at, [5, 1, 0]);
            wasm
        },
    ),
    Case::refused("import_two_memories", Expect::Preparation, "the conversion defines two memories", || {
        raw_guest(r#"(import "env" "memory" (memory 2)) (import "env" "more" (memory 2))"#, HEAP_BASE, "")
    }),
    Case::invalid("import_as_entry_point", "validate_block is a missing function", || {
        module(&format!(
            r#"(module
                (import "env" "no_such_function" (func $f (param i32 i32) (result i64)))
                {MEMORY} {HEAP_BASE} (export "validate_block" (func $f)))"#
        ))
    }),
    Case::valid("import_exported_again", "a host function may be exported", || {
        guest(
            r#"(import "env" "ext_misc_print_num_version_1" (func $print (param i64)))"#,
            r#"(export "print" (func $print))"#,
            "",
        )
    }),
];
