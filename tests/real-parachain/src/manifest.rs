//! Writes the files of the cases and of the runtime, and `manifest.json`, which describes them.

use crate::{cases::Case, expected::ValidationParams};
use codec::Encode;
use penpal_runtime::VERSION;
use serde::Serialize;
use sp_maybe_compressed_blob::{CODE_BLOB_BOMB_LIMIT, decompress};
use sp_runtime::traits::{BlakeTwo256, Hash as _};
use std::{io, path::Path};

/// The manifest.
#[derive(Serialize)]
pub struct Manifest {
    runtime: Runtime,
    code: Code,
    /// The cases, in the order of their creation.
    pub cases: Vec<Entry>,
}

#[derive(Serialize)]
struct Runtime {
    #[serde(rename = "crate")]
    package: &'static str,
    version: &'static str,
    spec_name: String,
    spec_version: u32,
}

#[derive(Serialize)]
struct Code {
    compressed: File,
    plain: File,
}

#[derive(Serialize)]
struct File {
    file: &'static str,
    bytes: usize,
    blake2b_256: String,
}

/// A case.
#[derive(Serialize)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// What is special about it.
    pub about: String,
    /// `valid` or `invalid`.
    pub expect: &'static str,
    params: Option<String>,
    pov: String,
    pov_compressed: bool,
    parent_head: String,
    relay_parent_number: u32,
    relay_parent_storage_root: String,
    result: Option<String>,
    /// Number of extrinsics in the blocks, inherents included.
    pub extrinsics: usize,
    /// Size of the PoV as sent, bytes.
    pub pov_bytes: usize,
    /// Size of the block data, bytes; `None` if the PoV does not decompress.
    pub block_data_bytes: Option<usize>,
    corruption_of: Option<&'static str>,
    /// Outcome of the native reference: `valid`, or the message of its panic.
    pub reference: String,
}

/// The version of the crate in the lock file.
fn locked_version(package: &str) -> &'static str {
    let lock = include_str!("../Cargo.lock");
    let (_, behind) = lock.split_once(&format!("name = \"{package}\"\nversion = \"")).expect("a locked crate");
    behind.split('"').next().expect("a version")
}

fn hex(bytes: &[u8]) -> String {
    format!("0x{}", hex::encode(bytes))
}

/// Writes a file unless it exists with the same contents, and returns its name.
fn write(folder: &Path, name: String, contents: &[u8]) -> io::Result<String> {
    let path = folder.join(&name);
    if std::fs::read(&path).ok().as_deref() != Some(contents) {
        std::fs::write(path, contents)?;
    }
    Ok(name)
}

fn code(folder: &Path, file: &'static str, code: &[u8]) -> io::Result<File> {
    write(folder, file.into(), code)?;
    Ok(File { file, bytes: code.len(), blake2b_256: hex(BlakeTwo256::hash(code).as_bytes()) })
}

fn entry(folder: &Path, case: Case) -> io::Result<Entry> {
    let ValidationParams { parent_head, block_data, relay_parent_number, relay_parent_storage_root } = &case.params;
    let name = &case.name;
    let params = || write(folder, format!("{name}.params.scale"), &case.params.encode());
    let result =
        |result: &crate::expected::ValidationResult| write(folder, format!("{name}.result.scale"), &result.encode());
    Ok(Entry {
        expect: if case.result.is_some() { "valid" } else { "invalid" },
        params: case.decompresses.then(params).transpose()?,
        pov: write(folder, format!("{name}.pov"), &case.pov)?,
        pov_compressed: case.compressed,
        parent_head: write(folder, format!("{name}.parent-head"), parent_head)?,
        relay_parent_number: *relay_parent_number,
        relay_parent_storage_root: hex(relay_parent_storage_root),
        result: case.result.as_ref().map(result).transpose()?,
        extrinsics: case.extrinsics,
        pov_bytes: case.pov.len(),
        block_data_bytes: case.decompresses.then_some(block_data.len()),
        corruption_of: case.of,
        reference: case.reference,
        about: case.about,
        name: case.name,
    })
}

/// Writes all files to the folder.
pub fn write_all(folder: &Path, runtime: &[u8], cases: Vec<Case>) -> io::Result<Manifest> {
    let plain = decompress(runtime, CODE_BLOB_BOMB_LIMIT).map_err(io::Error::other)?;
    let manifest = Manifest {
        runtime: Runtime {
            package: "penpal-runtime",
            version: locked_version("penpal-runtime"),
            spec_name: VERSION.spec_name.into(),
            spec_version: VERSION.spec_version,
        },
        code: Code {
            compressed: code(folder, "runtime.compact.compressed.wasm", runtime)?,
            plain: code(folder, "runtime.wasm", &plain)?,
        },
        cases: cases.into_iter().map(|case| entry(folder, case)).collect::<io::Result<_>>()?,
    };
    let json = serde_json::to_string_pretty(&manifest)? + "\n";
    write(folder, "manifest.json".into(), json.as_bytes())?;
    Ok(manifest)
}
