//! Files as people have them: what a file is, is found out from its content, and said. A file that is something else is
//! an error that names what was expected.
//!
//! * `code`: validation code, bare or compressed, as hex, in a chain specification or in a saved answer of a node.
//! * `chain_spec`: the code and the configuration in a chain specification.
//! * `pov`: PoVs that collators export, data that validators keep available, and block data.
//! * `block_data`: what of the block data of Cumulus' parachains is of use here.
//! * `folder`: the PoVs of a folder.

pub(crate) mod block_data;
pub(crate) mod chain_spec;
pub(crate) mod code;
pub(crate) mod folder;
pub(crate) mod pov;

use super::failure::Failure;
use pvf_shared::Bytes;
use std::{io::Read as _, path::Path};

/// The first bytes of compressed code and block data; a zstd frame follows.
pub(crate) const COMPRESSED: [u8; 8] = [0x52, 0xbc, 0x53, 0x76, 0x46, 0xdb, 0x8e, 0x05];
/// The first bytes of a wasm module.
pub(crate) const WASM: [u8; 4] = *b"\0asm";
/// Largest file that is read, bytes: a chain specification has its code as hex, and much else.
const MAX_FILE: u64 = 1 << 30;

/// Validation code, and what it was found in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Code {
    /// The code as it would be submitted to the relay chain.
    pub(crate) bytes: Bytes,
    /// What the file is.
    pub(crate) found: String,
    /// What the user should know about it.
    pub(crate) warnings: Vec<String>,
}

fn bad(what: &str, why: impl std::fmt::Display) -> Failure {
    Failure::Input(format!("{what}: {why}"))
}

/// A file's content; `-` is stdin.
pub(crate) fn read(what: &str, path: &Path) -> Result<Bytes, Failure> {
    let shown = path.display();
    let unreadable = |e: std::io::Error| bad(what, format!("cannot read {shown}: {e}"));
    let mut bytes = Vec::new();
    if path.as_os_str() == "-" {
        std::io::stdin().take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    } else {
        let file = std::fs::File::open(path).map_err(unreadable)?;
        file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    }
    if bytes.len() as u64 > MAX_FILE {
        return Err(bad(what, format!("{shown} is larger than {} MiB", MAX_FILE >> 20)));
    }
    Ok(bytes.into())
}

/// Shortest hex text without the prefix `0x`, digits: less may be something else.
const UNMARKED: usize = 32;

/// The bytes of a file that is hex text, with `0x` or without; `None` for any other file.
pub(crate) fn hex_text(bytes: &[u8]) -> Option<Result<Vec<u8>, String>> {
    let text = bytes.trim_ascii();
    let digits = match text.strip_prefix(b"0x").or_else(|| text.strip_prefix(b"0X")) {
        Some(digits) => digits,
        None if text.len() >= UNMARKED && text.iter().all(u8::is_ascii_hexdigit) => text,
        None => return None,
    };
    Some(hex::decode(digits).map_err(|e| format!("hex text, but not valid: {e}")))
}

/// The content of a file, which may be hex text of it.
pub(crate) fn read_maybe_hex(what: &str, path: &Path) -> Result<Bytes, Failure> {
    let bytes = read(what, path)?;
    match hex_text(&bytes) {
        Some(decoded) => decoded.map(Bytes::from).map_err(|why| bad(what, format!("{}: {why}", path.display()))),
        None => Ok(bytes),
    }
}

/// A few words about bytes that are not what was expected.
fn looks_like(bytes: &[u8]) -> String {
    let known: [(&[u8], &str); 6] = [
        (b"\x7fELF", "an executable"),
        (b"PK\x03\x04", "a zip archive; unpack it first"),
        (&[0x1f, 0x8b], "a gzip file; unpack it first"),
        (&[0x28, 0xb5, 0x2f, 0xfd], "a bare zstd frame, without the prefix 52bc537646db8e05"),
        (b"version https://git-lfs", "a Git LFS pointer; fetch the file first"),
        (b"<", "an HTML or XML page"),
    ];
    if bytes.is_empty() {
        return "the file is empty".into();
    }
    let Some((_, what)) = known.iter().find(|(begin, _)| bytes.starts_with(begin)) else {
        let shown = bytes.len().min(8);
        return format!("{} bytes that begin with 0x{}", bytes.len(), hex::encode(&bytes[..shown]));
    };
    format!("it looks like {what}")
}
