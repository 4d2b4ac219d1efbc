//! Writes the files of the cases and of the runtime, and `manifest.json`, which describes them.

use crate::{cases::Case, expected::ValidationParams, export};
use asset_hub_westend_runtime::VERSION as SECOND;
use codec::Encode;
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
    /// Valid candidates beyond a limit of the relay chain.
    pub over_limits: Vec<Entry>,
    /// The second parachain.
    pub second: Second,
}

/// A parachain with blocks that contain only inherents.
#[derive(Serialize)]
pub struct Second {
    runtime: Runtime,
    code: File,
    /// Its blocks.
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
    next: File,
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
    code: crate::chain::Code,
    exported: Option<String>,
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

fn runtime(package: &'static str, spec_name: &str, spec_version: u32) -> Runtime {
    Runtime { package, version: locked_version(package), spec_name: spec_name.into(), spec_version }
}

fn hex(bytes: &[u8]) -> String {
    format!("0x{}", hex::encode(bytes))
}

/// Writes a file unless it exists with the same contents, and returns its name.
pub fn write(folder: &Path, name: String, contents: &[u8]) -> io::Result<String> {
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
        code: case.code,
        exported: case.export.as_ref().map(|export| export.write(folder, &case.pov)).transpose()?,
        corruption_of: case.of,
        reference: case.reference,
        about: case.about,
        name: case.name,
    })
}

/// The contents of the folder.
pub struct Contents<'a> {
    /// The runtime.
    pub code: &'a [u8],
    /// The runtime to which the chain upgrades.
    pub next_code: &'a [u8],
    /// The candidates, valid and corrupted.
    pub cases: Vec<Case>,
    /// Valid candidates beyond a limit of the relay chain.
    pub over_limits: Vec<Case>,
    /// The second parachain's runtime.
    pub second_code: &'a [u8],
    /// The second parachain's candidates.
    pub second: Vec<Case>,
}

/// Writes all files to the folder.
pub fn write_all(folder: &Path, contents: Contents<'_>) -> io::Result<Manifest> {
    let plain = decompress(contents.code, CODE_BLOB_BOMB_LIMIT).map_err(io::Error::other)?;
    let entries = |cases: Vec<Case>| cases.into_iter().map(|case| entry(folder, case)).collect::<io::Result<_>>();
    export::clear(folder)?;
    let manifest = Manifest {
        runtime: runtime("penpal-runtime", &penpal_runtime::VERSION.spec_name, penpal_runtime::VERSION.spec_version),
        code: Code {
            compressed: code(folder, "runtime.compact.compressed.wasm", contents.code)?,
            plain: code(folder, "runtime.wasm", &plain)?,
            next: code(folder, "runtime.next.compact.compressed.wasm", contents.next_code)?,
        },
        cases: entries(contents.cases)?,
        over_limits: entries(contents.over_limits)?,
        second: Second {
            runtime: runtime("asset-hub-westend-runtime", &SECOND.spec_name, SECOND.spec_version),
            code: code(folder, "second.compact.compressed.wasm", contents.second_code)?,
            cases: entries(contents.second)?,
        },
    };
    let json = serde_json::to_string_pretty(&manifest)? + "\n";
    write(folder, "manifest.json".into(), json.as_bytes())?;
    Ok(manifest)
}
