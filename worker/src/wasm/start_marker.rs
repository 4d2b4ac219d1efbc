//! The trailer of an artifact: whether its module has a start function, so that instantiating it runs guest code.
//! wasmtime ignores what follows its own part of the file, and that part does not tell.

use std::{
    fs::File,
    io::{Error, ErrorKind, Result},
    os::unix::fs::FileExt as _,
    path::Path,
};

/// The trailer of a module with a start function, and of one without.
const MARKERS: [&[u8; LEN]; 2] = [b"pvf-fleet start:1", b"pvf-fleet start:0"];
const LEN: usize = 17;
/// The id of the start section.
const START: u8 = 8;

/// Whether a module has a start function. A module whose sections cannot be read counts as one that has.
fn has_start(mut module: &[u8]) -> bool {
    /// The next section's id, and the bytes behind the section.
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

/// Appends the trailer to the artifact of this module.
pub(super) fn append(artifact: &mut Vec<u8>, module: &[u8]) {
    artifact.extend_from_slice(MARKERS[usize::from(!has_start(module))]);
}

/// Reads the trailer: whether the artifact's module has a start function.
///
/// # Errors
/// `InvalidData` if the bytes do not end with a trailer.
pub(super) fn read(artifact: &[u8]) -> Result<bool> {
    match MARKERS.iter().position(|marker| artifact.ends_with(&marker[..])) {
        Some(which) => Ok(which == 0),
        None => Err(Error::new(ErrorKind::InvalidData, "artifact trailer missing or corrupt")),
    }
}

/// Reads the trailer of an artifact file; see [`read`].
pub(super) fn read_file(artifact: &Path) -> Result<bool> {
    let file = File::open(artifact)?;
    let mut end = [0; LEN];
    let at = file.metadata()?.len().saturating_sub(LEN as u64);
    file.read_exact_at(&mut end, at)?;
    read(&end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wasm(text: &str) -> Vec<u8> {
        wat::parse_str(text).unwrap()
    }

    #[test]
    fn only_a_start_section_is_a_start_function() {
        assert!(has_start(&wasm("(module (func $f) (start $f))")));
        // An export of that name, and data that looks like a start section.
        let none = wasm(r#"(module (memory 1) (func (export "start")) (data (i32.const 0) "\08\01\00"))"#);
        assert!(!has_start(&none));
        assert!(!has_start(&wasm("(module)")));
        assert!(has_start(&none[..none.len() - 1]) && has_start(b"\0asm"), "unreadable");
    }

    #[test]
    fn the_last_trailer_of_an_artifact_is_read() {
        let mut artifact = b"code".to_vec();
        assert!(read(&artifact).is_err() && read(b"").is_err());
        append(&mut artifact, &wasm("(module (func $f) (start $f))"));
        assert!(read(&artifact).unwrap());
        append(&mut artifact, &wasm("(module)"));
        assert!(!read(&artifact).unwrap());
    }

    #[test]
    fn a_file_is_read_from_its_end() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(read_file(file.path()).is_err(), "an empty file");
        std::fs::write(file.path(), b"code without a trailer").unwrap();
        assert_eq!(read_file(file.path()).unwrap_err().kind(), ErrorKind::InvalidData);
        let mut artifact = b"code".to_vec();
        append(&mut artifact, &wasm("(module (func $f) (start $f))"));
        std::fs::write(file.path(), artifact).unwrap();
        assert!(read_file(file.path()).unwrap());
    }
}
