//! Decodes and encodes modules with the function bodies apart from the rest. Bodies are all but a few percent of a
//! module and independent of each other, so several threads can share them; `parity-wasm` by itself uses one thread.
//!
//! Which code is accepted is consensus. Therefore
//!
//! * every thread count takes the same path through this file: more threads only share the loops over bodies;
//! * a module that this file cannot split, or of which it cannot read a part, is decoded by `parity-wasm` as a whole,
//!   which then decides whether to accept it, and with which error;
//! * the result equals that of `parity-wasm` to the byte. The tests compare them for every thread count on the corpus,
//!   and on a module that is damaged in every possible byte.

use rayon::prelude::*;
use std::ops::Range;
use wasm_instrument::parity_wasm::elements::{
    Deserialize as _, Error, FuncBody, Module, Section, Serialize as _, VarUint32, deserialize_buffer,
};

/// The id of the code section.
const CODE: u8 = 10;
/// Length of magic number and version, bytes.
const HEADER: usize = 8;
/// A body without effect: its size, no locals, the end.
const EMPTY_BODY: [u8; 3] = [2, 0, 0x0b];
/// Number of bodies that a thread takes at a time.
const CHUNK: usize = 64;

/// Decodes a module; on the current thread pool if `threads` is more than 1.
pub(super) fn decode(code: &[u8], threads: u32) -> Result<Module, Error> {
    decode_in_parts(code, threads).map_or_else(|| deserialize_buffer(code), Ok)
}

/// `None` if the module cannot be split, or a part cannot be decoded.
fn decode_in_parts(code: &[u8], threads: u32) -> Option<Module> {
    let section = code_section(code)?;
    let bodies = body_ranges(code, &section)?;
    // The same module with empty bodies: everything else is decoded, and checked, by the library.
    let mut rest = Vec::with_capacity(code.len() - section.payload.len() + 3 * bodies.len() + 16);
    rest.extend_from_slice(&code[..section.start]);
    let payload = [varuint(bodies.len())?, EMPTY_BODY.repeat(bodies.len())].concat();
    rest.push(CODE);
    rest.extend(varuint(payload.len())?);
    rest.extend(payload);
    rest.extend_from_slice(&code[section.payload.end..]);
    let mut module: Module = deserialize_buffer(&rest).ok()?;
    let decode = |range: &Range<usize>| {
        let mut rest = &code[range.clone()];
        let body = FuncBody::deserialize(&mut rest).ok()?;
        rest.is_empty().then_some(body)
    };
    let decoded: Option<Vec<FuncBody>> = if threads > 1 {
        bodies.par_iter().with_min_len(CHUNK).map(decode).collect()
    } else {
        bodies.iter().map(decode).collect()
    };
    *module.code_section_mut()?.bodies_mut() = decoded?;
    Some(module)
}

/// Encodes a module; on the current thread pool if `threads` is more than 1.
pub(super) fn encode(mut module: Module, threads: u32) -> Result<Vec<u8>, Error> {
    let mut bodies = module.code_section_mut().map(|section| std::mem::take(section.bodies_mut())).unwrap_or_default();
    let mut out = Vec::new();
    out.extend_from_slice(b"\0asm");
    out.extend_from_slice(&1_u32.to_le_bytes());
    for section in module.into_sections() {
        match section {
            // A module has at most one.
            Section::Code(_) => encode_bodies(std::mem::take(&mut bodies), threads, &mut out)?,
            other => other.serialize(&mut out)?,
        }
    }
    Ok(out)
}

fn encode_bodies(bodies: Vec<FuncBody>, threads: u32, out: &mut Vec<u8>) -> Result<(), Error> {
    let count = varuint(bodies.len()).ok_or(Error::HeapOther("too many functions".into()))?;
    let encode = |bodies: Vec<FuncBody>| {
        let mut bytes = Vec::new();
        bodies.into_iter().try_for_each(|body| body.serialize(&mut bytes)).map(|()| bytes)
    };
    let parts: Vec<Result<Vec<u8>, Error>> =
        if threads > 1 { bodies.into_par_iter().chunks(CHUNK).map(encode).collect() } else { vec![encode(bodies)] };
    // Collected in order, so that of several errors it is always the first one that is returned.
    let parts = parts.into_iter().collect::<Result<Vec<_>, _>>()?;
    let len = count.len() + parts.iter().map(Vec::len).sum::<usize>();
    out.push(CODE);
    out.extend(varuint(len).ok_or(Error::HeapOther("too much code".into()))?);
    out.extend(count);
    parts.iter().for_each(|part| out.extend_from_slice(part));
    Ok(())
}

/// A number in the encoding of a module.
fn varuint(value: usize) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    VarUint32::from(u32::try_from(value).ok()?).serialize(&mut bytes).ok()?;
    Some(bytes)
}

/// Position of the code section in a module: where its id is, and the range of its payload.
struct CodeSection {
    start: usize,
    payload: Range<usize>,
}

fn code_section(code: &[u8]) -> Option<CodeSection> {
    let mut start = HEADER;
    loop {
        let (size, at) = read_varuint(code, start + 1)?;
        let payload = at..at.checked_add(size).filter(|end| *end <= code.len())?;
        if code[start] == CODE {
            return Some(CodeSection { start, payload });
        }
        start = payload.end;
    }
}

/// The range of each body, its size included.
fn body_ranges(code: &[u8], section: &CodeSection) -> Option<Vec<Range<usize>>> {
    let code = &code[..section.payload.end];
    let (count, mut at) = read_varuint(code, section.payload.start)?;
    let mut bodies = Vec::new();
    for _ in 0..count {
        let (size, behind) = read_varuint(code, at)?;
        let end = behind.checked_add(size).filter(|end| *end <= code.len())?;
        bodies.push(at..end);
        at = end;
    }
    (at == code.len()).then_some(bodies)
}

/// The number at this position, and the position behind it.
fn read_varuint(code: &[u8], at: usize) -> Option<(usize, usize)> {
    let mut rest = code.get(at..)?;
    let value = u32::from(VarUint32::deserialize(&mut rest).ok()?);
    Some((value as usize, code.len() - rest.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasm_instrument::parity_wasm::elements::serialize;

    fn corpus() -> Vec<Vec<u8>> {
        let mut codes: Vec<Vec<u8>> = pvf_guests::corpus::all().iter().map(|case| (case.wasm)()).collect();
        codes.push(pvf_guests::corpus::large(300));
        codes
    }

    /// Runs `test` with each thread count, on a pool of as many threads.
    fn with_each_thread_count(test: impl Fn(u32) + Sync) {
        for threads in [1, 2, 8] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| test(threads as u32));
        }
    }

    fn shown(decoded: Result<Module, Error>) -> Result<Module, String> {
        decoded.map_err(|error| error.to_string())
    }

    #[test]
    fn modules_and_bytes_equal_those_of_the_library_at_every_thread_count() {
        let corpus = corpus();
        with_each_thread_count(|threads| {
            let mut in_parts = 0;
            for code in &corpus {
                let expected = deserialize_buffer::<Module>(code);
                in_parts += usize::from(decode_in_parts(code, threads).is_some());
                match (expected, decode(code, threads)) {
                    (Ok(expected), Ok(decoded)) => {
                        assert!(expected == decoded, "{threads} threads: another module");
                        assert!(
                            serialize(expected).ok() == encode(decoded, threads).ok(),
                            "{threads} threads: other bytes"
                        );
                    }
                    (expected, decoded) => assert_eq!(shown(expected), shown(decoded), "{threads} threads"),
                }
            }
            assert!(in_parts > 100, "only {in_parts} modules are decoded in parts");
        });
    }

    /// Among others this ends the code in the middle of a section, which the library takes for the end of the module.
    #[test]
    fn damaged_code_is_judged_as_by_the_library_at_every_thread_count() {
        let code = wat::parse_str(
            r#"(module (memory 1) (func (export "f") (param i32) (result i32) (local i64) local.get 0)
            (func (nop)) (data (i32.const 0) "abc"))"#,
        );
        let code = code.unwrap();
        with_each_thread_count(|threads| {
            let judge = |code: &[u8]| {
                let same = shown(deserialize_buffer(code)) == shown(decode(code, threads));
                assert!(same, "{threads} threads: {code:x?}");
            };
            for end in 0..code.len() {
                judge(&code[..end]);
            }
            for at in 0..code.len() {
                for value in 0..=255 {
                    let mut code = code.clone();
                    code[at] = value;
                    judge(&code);
                }
            }
        });
    }
}
