//! Whether making an instance runs code of the guest: its start function. Every artifact says so at its end, behind
//! what wasmtime reads, because nothing else there does.

use std::{
    fs::File,
    io::{Error, ErrorKind, Result},
    os::unix::fs::FileExt as _,
    path::Path,
};

/// The end of an artifact whose guest has a start function, and of one that has none.
const ENDS: [&[u8; LEN]; 2] = [b"pvf-fleet start:1", b"pvf-fleet start:0"];
const LEN: usize = 17;
/// The id of the start section.
const START: u8 = 8;

/// Whether a module has a start function; also if it cannot be told.
fn has_start(mut module: &[u8]) -> bool {
    /// The next section's id, and what follows it.
    fn next(at: &[u8]) -> Option<(u8, &[u8])> {
        let (id, rest) = at.split_first()?;
        let mut size = 0_usize;
        for (n, byte) in rest.iter().take(5).enumerate() {
            size |= usize::from(byte & 0x7f) << (7 * n);
            if byte & 0x80 == 0 {
                return Some((*id, rest.get(n + 1..)?.get(size..)?));
            }
        }
        None
    }
    let Some(sections) = module.get(8..) else { return true };
    module = sections;
    while !module.is_empty() {
        match next(module) {
            Some((START, _)) | None => return true,
            Some((_, rest)) => module = rest,
        }
    }
    false
}

/// Says at the end of a module's artifact whether the module has a start function.
pub(super) fn say(artifact: &mut Vec<u8>, module: &[u8]) {
    artifact.extend_from_slice(ENDS[usize::from(!has_start(module))]);
}

/// What an artifact says; an error if it says nothing.
pub(super) fn said(artifact: &[u8]) -> Result<bool> {
    match ENDS.iter().position(|end| artifact.ends_with(&end[..])) {
        Some(which) => Ok(which == 0),
        None => Err(Error::new(ErrorKind::InvalidData, "the artifact's end is not that of one")),
    }
}

/// What an artifact in a file says.
pub(super) fn said_in(artifact: &Path) -> Result<bool> {
    let file = File::open(artifact)?;
    let mut end = [0; LEN];
    let at = file.metadata()?.len().saturating_sub(LEN as u64);
    file.read_exact_at(&mut end, at)?;
    said(&end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_function_is_seen() {
        let wasm = |text| wat::parse_str(text).unwrap();
        assert!(has_start(&wasm("(module (func $f) (start $f))")));
        let none = wasm(r#"(module (memory 1) (func (export "start")) (data (i32.const 0) "\08\01\00"))"#);
        assert!(!has_start(&none));
        assert!(!has_start(&wasm("(module)")));
        // Nobody knows: as if there were one.
        assert!(has_start(&none[..none.len() - 1]) && has_start(b"\0asm"));
    }

    #[test]
    fn an_artifact_says_it_at_its_end() {
        let mut artifact = b"code".to_vec();
        assert!(said(&artifact).is_err() && said(b"").is_err());
        say(&mut artifact, &wat::parse_str("(module (func $f) (start $f))").unwrap());
        assert!(said(&artifact).unwrap());
        say(&mut artifact, &wat::parse_str("(module)").unwrap());
        assert!(!said(&artifact).unwrap());
    }
}
