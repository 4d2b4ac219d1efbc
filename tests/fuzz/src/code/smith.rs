//! Modules of wasm-smith, close to what the PVF parser accepts: the features of wasm 1.0, a memory imported or defined,
//! the three exports, some host functions, and sometimes a feature that must be refused.

use super::host::FUNCTIONS;
use libfuzzer_sys::arbitrary::Unstructured;
use wasm_smith::{Config, Module};

/// Loop iterations and calls until a terminating module traps.
const FUEL: u32 = 10_000;

/// The fixed part of a module, in the text format.
fn shape(u: &mut Unstructured<'_>, flags: u8) -> Option<String> {
    let mut text = "(module\n".to_owned();
    for n in 0..u.int_in_range(0..=4).ok()? {
        let at = u.choose_index(FUNCTIONS.len()).ok()?;
        text += &FUNCTIONS[at].import(n);
    }
    let pages = *u.choose(&[0, 1, 2, 17, 2080, 2081]).ok()?;
    let heap_base = *u.choose(&["i32", "i32", "i32", "i32", "i32", "i32", "i64", "(mut i32)"]).ok()?;
    let zero = if heap_base == "i64" { "i64.const 0" } else { "i32.const 0" };
    text += &match flags & 3 {
        0 => format!("(import \"env\" \"memory\" (memory {pages}))\n"),
        1 => format!("(memory {pages})\n"),
        _ => format!("(memory (export \"memory\") {pages})\n"),
    };
    text += &format!("(global (export \"__heap_base\") {heap_base} ({zero}))\n");
    text += "(func (export \"validate_block\") (param i32 i32) (result i64) unreachable)\n)";
    Some(text)
}

/// The module that these bytes encode.
pub(super) fn module(flags: u8, bytes: &[u8]) -> Option<Vec<u8>> {
    let mut u = Unstructured::new(bytes);
    let shape = shape(&mut u, flags)?;
    let more = flags & 12 == 12;
    let config = Config {
        module_shape: Some(wat::parse_str(&shape).expect("the text format")),
        acquire_release_atomics_enabled: false,
        allow_start_export: flags & 16 != 0,
        bulk_memory_enabled: more && u.arbitrary().ok()?,
        compact_imports_enabled: false,
        exceptions_enabled: false,
        extended_const_enabled: false,
        gc_enabled: false,
        max_data_segments: 4,
        max_element_segments: 4,
        max_elements: 20,
        max_funcs: 12,
        max_globals: 6,
        max_instructions: 80,
        max_memories: 1,
        max_memory32_bytes: 140 << 20,
        max_table_elements: 1000,
        max_tables: 1,
        memory64_enabled: false,
        multi_value_enabled: more && u.arbitrary().ok()?,
        reference_types_enabled: false,
        relaxed_simd_enabled: false,
        saturating_float_to_int_enabled: more && u.arbitrary().ok()?,
        sign_extension_ops_enabled: more && u.arbitrary().ok()?,
        simd_enabled: false,
        tail_call_enabled: false,
        threads_enabled: false,
        wide_arithmetic_enabled: false,
        ..Config::default()
    };
    let mut module = Module::new(config, &mut u).ok()?;
    // An endless module takes its whole time limit, so most are made to terminate.
    if flags & 32 != 0 || !u.len().is_multiple_of(4) {
        module.ensure_termination(FUEL).ok()?;
    }
    Some(module.to_bytes())
}
