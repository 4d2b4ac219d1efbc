//! Reading and writing a module on several threads. All but some percent of a module is its functions' bodies, and
//! each is read and written by itself; the library (`parity-wasm`) does one after the other. What comes out is to the
//! byte what it makes of it, and whatever is unusual is left to it altogether: which code is accepted is consensus.

use rayon::prelude::*;
use std::ops::Range;
use wasm_instrument::parity_wasm::elements::{
    Deserialize as _, Error, FuncBody, Module, Section, Serialize as _, VarUint32, deserialize_buffer,
};

/// The code section's number.
const CODE: u8 = 10;
/// Magic number and version.
const HEAD: usize = 8;
/// A body that does nothing: its size, no locals, the end.
const EMPTY_BODY: [u8; 3] = [2, 0, 0x0b];
/// Bodies that a thread takes at once.
const AT_ONCE: usize = 64;

/// Reads a module on the threads of the pool.
pub(super) fn read(code: &[u8]) -> Result<Module, Error> {
    read_in_parts(code).map_or_else(|| deserialize_buffer(code), Ok)
}

/// `None` for a module that is not quite as it should be.
fn read_in_parts(code: &[u8]) -> Option<Module> {
    let section = code_section(code)?;
    let bodies = bodies(code, &section)?;
    // The same module with bodies that do nothing: all else is looked at as ever.
    let mut rest = Vec::with_capacity(code.len() - section.payload.len() + 3 * bodies.len() + 16);
    rest.extend_from_slice(&code[..section.start]);
    let payload = [number(bodies.len())?, EMPTY_BODY.repeat(bodies.len())].concat();
    rest.push(CODE);
    rest.extend(number(payload.len())?);
    rest.extend(payload);
    rest.extend_from_slice(&code[section.payload.end..]);
    let mut module: Module = deserialize_buffer(&rest).ok()?;
    let read = |bytes: &Range<usize>| {
        let mut rest = &code[bytes.clone()];
        let body = FuncBody::deserialize(&mut rest).ok()?;
        rest.is_empty().then_some(body)
    };
    let read: Option<Vec<FuncBody>> = bodies.par_iter().with_min_len(AT_ONCE).map(read).collect();
    *module.code_section_mut()?.bodies_mut() = read?;
    Some(module)
}

/// Writes a module on the threads of the pool.
pub(super) fn write(mut module: Module) -> Result<Vec<u8>, Error> {
    let mut bodies = module.code_section_mut().map(|section| std::mem::take(section.bodies_mut())).unwrap_or_default();
    let mut out = Vec::new();
    out.extend_from_slice(b"\0asm");
    out.extend_from_slice(&1_u32.to_le_bytes());
    for section in module.into_sections() {
        match section {
            // There is one at most.
            Section::Code(_) => write_bodies(std::mem::take(&mut bodies), &mut out)?,
            other => other.serialize(&mut out)?,
        }
    }
    Ok(out)
}

fn write_bodies(bodies: Vec<FuncBody>, out: &mut Vec<u8>) -> Result<(), Error> {
    let count = number(bodies.len()).ok_or(Error::HeapOther("too many functions".into()))?;
    let write = |mut bytes: Vec<u8>, body: FuncBody| body.serialize(&mut bytes).map(|()| bytes);
    let parts = bodies.into_par_iter().with_min_len(AT_ONCE).try_fold(Vec::new, write);
    let parts = parts.collect::<Result<Vec<_>, _>>()?;
    let len = count.len() + parts.iter().map(Vec::len).sum::<usize>();
    out.push(CODE);
    out.extend(number(len).ok_or(Error::HeapOther("too much code".into()))?);
    out.extend(count);
    parts.iter().for_each(|part| out.extend_from_slice(part));
    Ok(())
}

/// A number as it stands in a module.
fn number(value: usize) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    VarUint32::from(u32::try_from(value).ok()?).serialize(&mut bytes).ok()?;
    Some(bytes)
}

/// Where the code section begins, and what is in it.
struct Place {
    start: usize,
    payload: Range<usize>,
}

fn code_section(code: &[u8]) -> Option<Place> {
    let mut start = HEAD;
    loop {
        let (size, at) = read_number(code, start + 1)?;
        let payload = at..at.checked_add(size).filter(|end| *end <= code.len())?;
        if code[start] == CODE {
            return Some(Place { start, payload });
        }
        start = payload.end;
    }
}

/// Where each body is, its size included.
fn bodies(code: &[u8], section: &Place) -> Option<Vec<Range<usize>>> {
    let code = &code[..section.payload.end];
    let (count, mut at) = read_number(code, section.payload.start)?;
    let mut bodies = Vec::new();
    for _ in 0..count {
        let (size, behind) = read_number(code, at)?;
        let end = behind.checked_add(size).filter(|end| *end <= code.len())?;
        bodies.push(at..end);
        at = end;
    }
    (at == code.len()).then_some(bodies)
}

/// A number, and where it ends.
fn read_number(code: &[u8], at: usize) -> Option<(usize, usize)> {
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

    fn said(read: Result<Module, Error>) -> Result<Module, String> {
        read.map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_read_and_written_is_what_the_library_makes_of_it() {
        let mut in_parts = 0;
        for code in corpus() {
            let expected = deserialize_buffer::<Module>(&code);
            in_parts += usize::from(read_in_parts(&code).is_some());
            match (expected, read(&code)) {
                (Ok(expected), Ok(read)) => {
                    assert!(expected == read, "another module");
                    assert!(serialize(expected).ok() == write(read).ok(), "other bytes");
                }
                (expected, read) => assert_eq!(said(expected), said(read)),
            }
        }
        assert!(in_parts > 100, "only {in_parts} are read in parts");
    }

    /// Among others the end of code in the middle of a section, which the library takes for the end of the module.
    #[test]
    fn damaged_code_is_judged_as_by_the_library() {
        let code = wat::parse_str(
            r#"(module (memory 1) (func (export "f") (param i32) (result i32) (local i64) local.get 0)
            (func (nop)) (data (i32.const 0) "abc"))"#,
        );
        let code = code.unwrap();
        let judge = |code: &[u8]| assert!(said(deserialize_buffer(code)) == said(read(code)), "{code:x?}");
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
    }
}
