//! Candidates in the files that collators write with `--export-pov-to-path`.

use crate::{
    chain::{Code, Valid},
    linked::Linked,
    manifest::write,
    relay::MAX_POV_SIZE,
};
use codec::Encode;
use cumulus_primitives_core::{PersistedValidationData, relay_chain::HeadData};
use sp_runtime::traits::{Block as _, Header as _};
use std::{
    io::{self, ErrorKind},
    path::Path,
};

/// The folders, which contain nothing else.
const FOLDERS: [&str; 3] = ["exported", "exported-new", "exported-second"];

/// What an exported file contains besides the PoV.
#[derive(Clone)]
pub struct Export {
    folder: &'static str,
    layouts: &'static [Layout],
    file: String,
    context: PersistedValidationData,
}

/// The layouts of exported files.
#[derive(Clone, Copy)]
enum Layout {
    /// The PoV, the parent's head data, storage root and number of the relay parent.
    One,
    /// The PoV and the persisted validation data.
    Two,
}

impl Layout {
    fn folder(self) -> &'static str {
        match self {
            Self::One => "layout-1",
            Self::Two => "layout-2",
        }
    }

    /// A PoV is a structure with one field, the bytes that are sent.
    fn encode(self, context: &PersistedValidationData, pov: &[u8]) -> Vec<u8> {
        let PersistedValidationData { parent_head, relay_parent_number, relay_parent_storage_root, .. } = context;
        match self {
            Self::One => (pov, parent_head, relay_parent_storage_root, relay_parent_number).encode(),
            Self::Two => (pov, context).encode(),
        }
    }
}

impl Export {
    /// The candidate's. The file is named after its first block.
    pub fn new<R: Linked>(of: &Valid<R>) -> Self {
        let (folder, layouts): (_, &[Layout]) = match of.code {
            Code::Current => ("exported", &[Layout::Two, Layout::One]),
            Code::Next => ("exported-new", &[Layout::Two, Layout::One]),
            Code::Second => ("exported-second", &[Layout::Two]),
        };
        let first = of.candidate.blocks[0].header();
        let context = PersistedValidationData {
            parent_head: HeadData(of.candidate.parent_head.clone()),
            relay_parent_number: of.candidate.relay_parent_number,
            relay_parent_storage_root: of.candidate.relay_parent_storage_root,
            max_pov_size: MAX_POV_SIZE,
        };
        Self { folder, layouts, file: format!("{:?}_{}.pov", first.hash(), first.number()), context }
    }

    /// Writes the files, and returns the path of that in the first layout.
    pub fn write(&self, output: &Path, pov: &[u8]) -> io::Result<String> {
        let mut paths = Vec::new();
        for layout in self.layouts {
            let folder = format!("{}/{}", self.folder, layout.folder());
            std::fs::create_dir_all(output.join(&folder))?;
            let path = format!("{folder}/{}", self.file);
            paths.push(write(output, path, &layout.encode(&self.context, pov))?);
        }
        Ok(paths.swap_remove(0))
    }
}

/// Removes the files of former runs, which were named after other blocks.
pub fn clear(output: &Path) -> io::Result<()> {
    for folder in FOLDERS {
        match std::fs::remove_dir_all(output.join(folder)) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
            _ => {}
        }
    }
    Ok(())
}
