//! The blocks of a real parachain, read from the folder that `tests/real-parachain/run` makes.

use parity_scale_codec::DecodeAll as _;
use pvf::ExecuteRequest;
use pvf_shared::{
    Bytes,
    candidate::{BlockDataForm, CandidateContext, ValidationParams, ValidationResult, encode_params},
    ids::StorageRoot,
    priority::ExecuteKind,
};
use pvf_testkit::fixtures::context;
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// A folder with a runtime, candidates and their expected results.
pub struct Folder {
    path: PathBuf,
    manifest: Manifest,
}

#[derive(Deserialize)]
struct Manifest {
    runtime: Runtime,
    code: Code,
    cases: Vec<Case>,
}

/// A parachain runtime.
#[derive(Debug, Deserialize)]
pub struct Runtime {
    /// The crate that it is built from.
    #[serde(rename = "crate")]
    pub package: String,
    /// The crate's version.
    pub version: String,
    /// The runtime's `spec_name`.
    pub spec_name: String,
    /// The runtime's `spec_version`.
    pub spec_version: u32,
}

#[derive(Deserialize)]
struct Code {
    compressed: File,
    plain: File,
}

#[derive(Deserialize)]
struct File {
    file: String,
    bytes: usize,
    blake2b_256: String,
}

/// A candidate.
#[derive(Debug, Deserialize)]
pub struct Case {
    /// Its name; that of a corrupted candidate begins with the block that it was made from.
    pub name: String,
    /// Description.
    pub about: String,
    /// The verdict that every validator must give.
    pub expect: Expect,
    params: Option<String>,
    pov: String,
    parent_head: String,
    relay_parent_number: u32,
    relay_parent_storage_root: String,
    result: Option<String>,
    /// Extrinsics of its block, inherents included.
    pub extrinsics: usize,
    /// Size of the PoV as a collator sends it, bytes.
    pub pov_bytes: usize,
}

/// The verdict that every validator must give on a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Expect {
    /// Valid.
    Valid,
    /// Invalid.
    Invalid,
}

impl Folder {
    /// Reads the manifest and checks the code's size and hash. An error names the file.
    pub fn open(path: &Path) -> Result<Self, String> {
        let manifest = read(&path.join("manifest.json"))?;
        let manifest = serde_json::from_slice(&manifest).map_err(|e| format!("{}: {e}", path.display()))?;
        let folder = Self { path: path.to_owned(), manifest };
        for file in [&folder.manifest.code.compressed, &folder.manifest.code.plain] {
            let code = read(&folder.path.join(&file.file))?;
            let hash = format!("0x{}", hex::encode(pvf_shared::ids::CodeHash::of(&code).0));
            if (code.len(), &hash) != (file.bytes, &file.blake2b_256) {
                return Err(format!("{}: does not match the manifest: run tests/real-parachain/run again", file.file));
            }
        }
        Ok(folder)
    }

    /// The folder that `tests/real-parachain/run` writes by default.
    pub fn default_path() -> PathBuf {
        cache_folder().unwrap_or_default().join("real-parachain")
    }

    /// The parachain's runtime.
    pub fn runtime(&self) -> &Runtime {
        &self.manifest.runtime
    }

    /// The validation code: as it is submitted to the relay chain, and decompressed.
    pub fn codes(&self) -> Result<[Bytes; 2], String> {
        let [compressed, plain] =
            [&self.manifest.code.compressed, &self.manifest.code.plain].map(|code| read(&self.path.join(&code.file)));
        Ok([compressed?.into(), plain?.into()])
    }

    /// All candidates.
    pub fn cases(&self) -> &[Case] {
        &self.manifest.cases
    }

    /// The expected result of a valid candidate; `None` for an invalid one.
    pub fn result(&self, case: &Case) -> Result<Option<ValidationResult>, String> {
        let Some(file) = &case.result else { return Ok(None) };
        let bytes = read(&self.path.join(file))?;
        ValidationResult::decode_all(&mut &bytes[..]).map(Some).map_err(|e| format!("{file}: {e}"))
    }

    /// The argument of `validate_block`; `None` where the PoV does not decompress.
    pub fn params(&self, case: &Case) -> Result<Option<Vec<u8>>, String> {
        let Some(file) = &case.params else { return Ok(None) };
        let bytes = read(&self.path.join(file))?;
        let params = ValidationParams::decode_all(&mut &bytes[..]).map_err(|e| format!("{file}: {e}"))?;
        Ok(Some(encode_params(&params, None)))
    }

    /// The candidate with its PoV as a collator sends it.
    pub fn as_sent(&self, case: &Case) -> Result<ExecuteRequest, String> {
        let pov = read(&self.path.join(&case.pov))?;
        self.request(case, BlockDataForm::MaybeCompressed, pov)
    }

    /// The candidate with decompressed block data; `None` where the PoV does not decompress.
    pub fn decompressed(&self, case: &Case) -> Result<Option<ExecuteRequest>, String> {
        let Some(params) = self.params(case)? else { return Ok(None) };
        let params = ValidationParams::decode_all(&mut &params[..]).map_err(|e| e.to_string())?;
        self.request(case, BlockDataForm::Decompressed, params.block_data).map(Some)
    }

    fn request(&self, case: &Case, form: BlockDataForm, block_data: Vec<u8>) -> Result<ExecuteRequest, String> {
        let root = case.relay_parent_storage_root.trim_start_matches("0x");
        let mut relay_parent_storage_root = [0; 32];
        hex::decode_to_slice(root, &mut relay_parent_storage_root)
            .map_err(|e| format!("{}: relay_parent_storage_root: {e}", case.name))?;
        let context = CandidateContext {
            relay_parent_number: case.relay_parent_number,
            relay_parent_storage_root: StorageRoot(relay_parent_storage_root),
            block_data_form: form,
            ..context(read(&self.path.join(&case.parent_head))?)
        };
        Ok(ExecuteRequest::new(ExecuteKind::Backing, context, block_data))
    }
}

/// Where the opt-in recipes put what they build; `None` without a home folder.
pub fn cache_folder() -> Option<PathBuf> {
    let var = |name| std::env::var_os(name).map(PathBuf::from);
    var("PVF_CACHE").or_else(|| Some(var("HOME")?.join(".cache/pvf-fleet")))
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|e| format!("{}: {e} (tests/real-parachain/run makes it)", path.display()))
}
