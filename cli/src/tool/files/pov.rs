//! PoVs in the files that people have.
//!
//! Collators write a PoV and its context with `--export-pov-to-path`, in two layouts that follow no magic number:
//!
//! * since March 2025, and what validators keep available of a candidate: SCALE of the PoV and of the persisted
//!   validation data (parent head, relay parent number, its storage root, `max_pov_size`);
//! * before: SCALE of the PoV, the parent head, the storage root, and the number.
//!
//! They are told apart by what is left behind the first two fields. A file of the newer layout that lost its last four
//! bytes has as many left as one of the older: therefore the older layout is believed only if the block data has the
//! same context in it.

use super::{
    COMPRESSED, WASM, bad,
    block_data::{BlockData, has_context},
    hex_text, looks_like, read,
};
use crate::tool::failure::Failure;
use parity_scale_codec::{Compact, Decode as _};
use pvf_shared::{
    Bytes,
    candidate::{BlockDataForm, CandidateContext, ValidationParamsExtension},
    ids::StorageRoot,
    job::pov_size,
};
use std::path::{Path, PathBuf};

/// What a PoV may be in, for errors.
const EXPECTED: &str = "expected a PoV as a collator exports it with --export-pov-to-path, the available data of a \
                        candidate, or either of them as hex text (0x…)";

/// Which layout a file has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// Until March 2025.
    Older,
    /// Since March 2025; also the data that validators keep available.
    Newer,
}

/// A PoV with the context in which it is validated.
#[derive(Debug, Clone)]
pub(crate) struct Pov {
    /// The file.
    pub(crate) path: PathBuf,
    /// Its layout.
    pub(crate) layout: Layout,
    /// The block data as the collator sent it.
    pub(crate) block_data: Bytes,
    /// Head data of the parent.
    pub(crate) parent_head: Bytes,
    /// Number of the relay parent.
    pub(crate) relay_parent_number: u32,
    /// Storage root of the relay parent.
    pub(crate) relay_parent_storage_root: [u8; 32],
    /// The relay chain's limit of the PoV when the block was made, bytes.
    pub(crate) max_pov_size: Option<u32>,
    /// What is known of the block data; an error if it does not decompress.
    pub(crate) blocks: Result<BlockData, String>,
    /// The file, without the encoding as hex.
    pub(crate) file: Bytes,
    confirmed: bool,
}

/// The hashes that only candidates of version 3 need.
pub(crate) type Extension = Option<ValidationParamsExtension>;

impl Pov {
    /// Reads the PoV in a file. `what` is the option that names it.
    pub(crate) fn read(what: &str, path: &Path) -> Result<Self, Failure> {
        let bytes = read(what, path)?;
        Self::recognise(path, &bytes).map_err(|why| bad(what, format!("{}: {why}", path.display())))
    }

    /// Finds the PoV in the content of a file.
    pub(crate) fn recognise(path: &Path, bytes: &Bytes) -> Result<Self, String> {
        if let Some(decoded) = hex_text(bytes) {
            return Self::parse(path, &decoded?.into());
        }
        Self::parse(path, bytes)
    }

    fn parse(path: &Path, bytes: &Bytes) -> Result<Self, String> {
        if bytes.starts_with(&WASM) {
            return Err(format!("this is validation code, not a PoV; {EXPECTED}"));
        }
        if bytes.starts_with(&COMPRESSED) {
            return Err(format!(
                "this is bare block data (or compressed code), without the parent head and the relay parent that an \
                 exported PoV has: give it to `pvf execute` with --block-data, --parent-head, --relay-parent-number and \
                 --relay-parent-storage-root; here {EXPECTED}"
            ));
        }
        let Some((block_data, parent_head, rest)) = fields(bytes) else {
            return Err(format!("not a PoV, or a truncated one ({}); {EXPECTED}", looks_like(bytes)));
        };
        let read = BlockData::read(&block_data);
        if let (40, Err(why)) = (rest.len(), &read) {
            return Err(format!(
                "damaged, or not from a collator: {why}; if it is what validators get, they call the candidate invalid"
            ));
        }
        let number = |at: usize| u32::from_le_bytes(rest[at..at + 4].try_into().unwrap_or_default());
        let root = |at: usize| <[u8; 32]>::try_from(&rest[at..at + 32]).unwrap_or_default();
        let pov = |layout, relay_parent_number, relay_parent_storage_root, max_pov_size| Self {
            path: path.to_owned(),
            layout,
            block_data: block_data.clone(),
            parent_head: parent_head.clone(),
            relay_parent_number,
            relay_parent_storage_root,
            max_pov_size,
            confirmed: read.as_ref().is_ok_and(|(_, bytes)| {
                has_context(bytes, &parent_head, relay_parent_number, &relay_parent_storage_root)
            }),
            blocks: read.as_ref().map(|(known, _)| known.clone()).map_err(Clone::clone),
            file: bytes.clone(),
        };
        match rest.len() {
            40 => {
                let newer = pov(Layout::Newer, number(0), root(4), Some(number(36)));
                // Of Cumulus' block data it is known; other parachains may have any.
                match newer.blocks.as_ref().is_ok_and(|blocks| blocks.header.is_some()) && !newer.confirmed() {
                    true => Err("damaged: its block data has another parent head or relay parent than the file".into()),
                    false => Ok(newer),
                }
            }
            36 => {
                let older = pov(Layout::Older, number(32), root(0), None);
                match older.confirmed() {
                    true => Ok(older),
                    false if !block_data.starts_with(&COMPRESSED) => Err(format!(
                        "this looks like SCALE ValidationParams, which `pvf execute` takes with --params; {EXPECTED}"
                    )),
                    false => Err("36 bytes follow the parent head, as in an exported PoV of the older layout, or of \
                                  the newer layout without its last 4 bytes; the block data does not have the \
                                  context that the older layout would mean, so the file is damaged"
                        .into()),
                }
            }
            left => Err(format!(
                "damaged: {left} bytes follow the parent head, and an exported PoV has 40 there (or 36 in its older \
                 layout); {EXPECTED}"
            )),
        }
    }

    /// Whether the block data has the same context as the file.
    pub(crate) fn confirmed(&self) -> bool {
        self.confirmed
    }

    /// What the file is.
    pub(crate) fn found(&self) -> &'static str {
        match self.layout {
            Layout::Newer => "an exported PoV or available data",
            Layout::Older => "an exported PoV of the layout before March 2025",
        }
    }

    /// The file's name.
    pub(crate) fn name(&self) -> String {
        self.path.file_name().unwrap_or(self.path.as_os_str()).to_string_lossy().into_owned()
    }

    /// Its size as a node counts it, bytes.
    pub(crate) fn size(&self) -> u64 {
        size_of(&self.block_data)
    }

    /// The file's name for tables: the hash in the name of an exported PoV is cut.
    pub(crate) fn short_name(&self) -> String {
        match exported_name(&self.path) {
            Some((hash, number)) => {
                let hash = hex::encode(hash);
                format!("0x{}…{}_{number}.pov", &hash[..6], &hash[hash.len() - 4..])
            }
            None => self.name(),
        }
    }

    /// The candidate without its block data.
    pub(crate) fn context(&self, extension: &Extension) -> CandidateContext {
        CandidateContext {
            parent_head: self.parent_head.clone(),
            relay_parent_number: self.relay_parent_number,
            relay_parent_storage_root: StorageRoot(self.relay_parent_storage_root),
            extension: extension.clone(),
            block_data_form: BlockDataForm::MaybeCompressed,
        }
    }

    /// What the user should know about this PoV before it is validated.
    pub(crate) fn warnings(&self, extension: &Extension) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.blocks.as_ref().is_ok_and(|blocks| blocks.has_scheduling_proof) && extension.is_none() {
            warnings.push(
                "its block data has a scheduling proof, so it may be of a candidate of version 3, and the file cannot \
                 say which: without --relay-parent and --scheduling-parent the verdict is worth nothing then"
                    .into(),
            );
        }
        warnings
    }
}

/// Size of a PoV with this block data as a node counts it, bytes. What does not fit 32 bits is over every limit.
pub(crate) fn size_of(block_data: &[u8]) -> u64 {
    pov_size(u32::try_from(block_data.len()).unwrap_or(u32::MAX))
}

/// Block hash and number in the name that collators give a file: `0x<64 digits>_<number>.pov`.
pub(crate) fn exported_name(path: &Path) -> Option<([u8; 32], u32)> {
    let stem = path.file_stem()?.to_str()?;
    let (hash, number) = stem.strip_prefix("0x")?.split_once('_')?;
    Some((hex::decode(hash).ok()?.try_into().ok()?, number.parse().ok()?))
}

/// Block data, parent head, and what is left.
fn fields(bytes: &Bytes) -> Option<(Bytes, Bytes, Bytes)> {
    let (block_data, rest) = field(bytes)?;
    let (parent_head, rest) = field(&rest)?;
    Some((block_data, parent_head, rest))
}

/// A list of bytes, and what is left.
fn field(bytes: &Bytes) -> Option<(Bytes, Bytes)> {
    let mut rest = &bytes[..];
    let Compact(length) = Compact::<u32>::decode(&mut rest).ok()?;
    let at = bytes.len() - rest.len();
    let end = at.checked_add(length as usize).filter(|end| *end <= bytes.len())?;
    Some((bytes.slice(at..end), bytes.slice(end..)))
}

/// What a file is, if it is something with a PoV: for the error where code was expected.
pub(super) fn name_of(bytes: &Bytes) -> Option<&'static str> {
    let (block_data, _, rest) = fields(bytes)?;
    match rest.len() {
        40 => Some("an exported PoV (--pov takes it)"),
        36 if block_data.starts_with(&COMPRESSED) => Some("an exported PoV (--pov takes it)"),
        36 => Some("SCALE ValidationParams (`pvf execute --params` takes it)"),
        _ => None,
    }
}

#[cfg(test)]
#[path = "pov_tests.rs"]
mod tests;
