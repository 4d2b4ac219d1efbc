//! The version in a runtime's wasm: reads it, for the host function that a checked upgrade calls, and increments it,
//! for the runtime to which the chain upgrades.

use codec::{Decode, Encode};
use sp_core::traits::ReadRuntimeVersion;
use sp_externalities::Externalities;
use sp_maybe_compressed_blob::{CODE_BLOB_BOMB_LIMIT, compress_strongly, decompress};
use std::ops::Range;

const SECTION: &[u8] = b"runtime_version";
const MAGIC: &[u8] = b"\0asm\x01\0\0\0";

/// Reads an unsigned LEB128 number at `at`, and advances `at`.
fn leb128(wasm: &[u8], at: &mut usize) -> Option<usize> {
    let mut value = 0_usize;
    for shift in (0..35).step_by(7) {
        let byte = *wasm.get(*at)?;
        *at += 1;
        value |= usize::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// Range of the contents of the custom section with the version.
fn section(wasm: &[u8]) -> Option<Range<usize>> {
    let mut at = wasm.starts_with(MAGIC).then_some(MAGIC.len())?;
    while at < wasm.len() {
        let id = wasm[at];
        at += 1;
        let length = leb128(wasm, &mut at)?;
        let (mut begin, end) = (at, at.checked_add(length).filter(|end| *end <= wasm.len())?);
        if id == 0 {
            let length = leb128(wasm, &mut begin)?;
            if wasm.get(begin..begin + length)? == SECTION {
                return Some(begin + length..end);
            }
        }
        at = end;
    }
    None
}

/// Reads the version from a runtime's custom section. A runtime without one is an error: it is not executed.
pub struct EmbeddedVersion;

impl ReadRuntimeVersion for EmbeddedVersion {
    fn read_runtime_version(&self, wasm: &[u8], _: &mut dyn Externalities) -> Result<Vec<u8>, String> {
        let wasm = decompress(wasm, CODE_BLOB_BOMB_LIMIT).map_err(|e| e.to_string())?;
        let section = section(&wasm).ok_or("no runtime_version section")?;
        // The APIs are in another section, and without them a reader assumes an older layout. The runtime here only
        // reads name and version, which come first in every layout.
        let (names, numbers) =
            <((String, String), (u32, u32, u32))>::decode(&mut &wasm[section]).map_err(|e| e.to_string())?;
        let apis = penpal_runtime::VERSION.apis.into_owned();
        Ok((names, numbers, apis, 1_u32, 1_u8).encode())
    }
}

/// The same runtime with the next `spec_version`, compressed.
pub fn next_version(code: &[u8]) -> Vec<u8> {
    let mut wasm = decompress(code, CODE_BLOB_BOMB_LIMIT).expect("our own runtime").into_owned();
    let range = section(&wasm).expect("a runtime with its version");
    let section = &mut wasm[range];
    let mut rest = &section[..];
    let (_, spec_version) = <((String, String, u32), u32)>::decode(&mut rest).expect("a version");
    let at = section.len() - rest.len();
    section[at - 4..at].copy_from_slice(&(spec_version + 1).to_le_bytes());
    compress_strongly(&wasm, CODE_BLOB_BOMB_LIMIT).expect("below the limit")
}
