//! Modules that call host functions in sequence, on memory with the input in it, with arguments that are nearly right.

use super::host::{FUNCTIONS, wasm_type};
use libfuzzer_sys::arbitrary::{Result, Unstructured};
use std::fmt::Write as _;

/// Address of the input's bytes.
const DATA: u32 = 1024;
/// Address of the result.
const RESULT: u32 = 256;
/// Pages of memory.
const PAGES: u32 = 3;
/// Start of the heap.
const HEAP_BASE: u32 = 2 << 16;
const MAX_CALLS: usize = 8;

/// A pointer, mostly into the data.
fn pointer(u: &mut Unstructured<'_>) -> Result<u32> {
    Ok(match u.int_in_range(0..=9)? {
        0 => 0,
        1 => PAGES << 16,
        2 => (PAGES << 16) - u.int_in_range(0..=64)?,
        3 => u32::MAX - u.int_in_range(0..=64)?,
        4 => HEAP_BASE + u.int_in_range(0..=64)?,
        _ => DATA + u.int_in_range(0..=63)?,
    })
}

fn length(u: &mut Unstructured<'_>) -> Result<u32> {
    Ok(match u.int_in_range(0..=9)? {
        0 => 0,
        1 => u32::MAX,
        2 => 1 << 31,
        3 => PAGES << 16,
        4 => 64 << 20,
        5 => 1,
        _ => u.int_in_range(0..=255)?,
    })
}

/// An argument, in the text format.
fn argument(u: &mut Unstructured<'_>, of: char) -> Result<String> {
    if u.ratio(1, 6)? {
        // The result of an earlier call.
        return Ok(format!("(local.get ${})", if wasm_type(of) == "i64" { "wide" } else { "last" }));
    }
    Ok(match of {
        'f' => format!("(i64.const {})", u64::from(pointer(u)?) | u64::from(length(u)?) << 32),
        'N' => format!("(i64.const {})", u.arbitrary::<i64>()?),
        'p' => format!("(i32.const {})", pointer(u)?),
        _ => format!("(i32.const {})", if u.arbitrary()? { u.int_in_range(0..=6)? } else { length(u)? }),
    })
}

/// The functions that are called, and the body that calls them.
fn body(u: &mut Unstructured<'_>) -> Result<(Vec<usize>, String)> {
    let (mut imports, mut body) = (Vec::new(), String::new());
    for _ in 0..u.int_in_range(1..=MAX_CALLS)? {
        let which = u.choose_index(FUNCTIONS.len())?;
        let n = imports.iter().position(|it| *it == which).unwrap_or_else(|| {
            imports.push(which);
            imports.len() - 1
        });
        let function = &FUNCTIONS[which];
        let arguments = function.params.chars().map(|of| argument(u, of)).collect::<Result<String>>()?;
        let call = format!("(call $h{n} {arguments})");
        let _ = match function.result.map(wasm_type) {
            Some("i64") => writeln!(body, "(local.set $wide {call})"),
            Some(_) => writeln!(body, "(local.set $last {call})"),
            None => writeln!(body, "{call}"),
        };
        if u.ratio(1, 8)? {
            let _ = writeln!(body, "(drop (memory.grow (i32.const {})))", u.int_in_range(0..=4000)?);
        }
    }
    Ok((imports, body))
}

/// The module that these bytes encode.
pub(super) fn module(bytes: &[u8]) -> Vec<u8> {
    let mut u = Unstructured::new(bytes);
    // The generator takes from the front of the input; its end is what the memory contains.
    let data: String = bytes[bytes.len().saturating_sub(512)..].iter().map(|byte| format!("\\{byte:02x}")).collect();
    let (used, body) = body(&mut u).unwrap_or_default();
    let imports: String = used.iter().enumerate().map(|(n, which)| FUNCTIONS[*which].import(n)).collect();
    let result = u64::from(RESULT) | 12 << 32;
    let text = format!(
        r#"(module {imports}
            (memory (export "memory") {PAGES})
            (global (export "__heap_base") i32 (i32.const {HEAP_BASE}))
            (data (i32.const {DATA}) "{data}")
            (func (export "validate_block") (param i32 i32) (result i64) (local $last i32) (local $wide i64)
                {body}
                (i64.const {result})))"#
    );
    wat::parse_str(&text).unwrap_or_else(|error| panic!("not the text format: {error}\n{text}"))
}
