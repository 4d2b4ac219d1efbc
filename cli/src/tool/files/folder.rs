//! The files of `--pov FILE|DIR` and `--params FILE|DIR`.

use super::{
    bad,
    pov::{Pov, exported_name},
};
use crate::tool::failure::Failure;
use pvf_shared::telemetry::to_stderr;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// Most files of one folder.
const MAX_FILES: usize = 10_000;
/// Most bytes of all PoVs together: they are kept in memory.
const MAX_BYTES: u64 = 2 << 30;
/// The name's ending of files that collators export.
const EXTENSION: &str = "pov";

/// The ending of files with parameters, as `pvf demo --files` writes them.
const PARAMS: &str = "params";

/// The files that these arguments name: a file as it is, of a folder those that end in `.pov`, by block number.
pub(crate) fn files(what: &str, paths: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    named(what, paths, EXTENSION)
}

/// The same for parameters: of a folder those that end in `.params`, by name.
pub(crate) fn params(what: &str, paths: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    named(what, paths, PARAMS)
}

fn named(what: &str, paths: &[PathBuf], ending: &str) -> Result<Vec<PathBuf>, Failure> {
    let mut all = Vec::new();
    for path in paths {
        if !path.is_dir() {
            all.push(path.clone());
            continue;
        }
        let mut inside =
            list_with(path, ending).map_err(|e| bad(what, format!("cannot read {}: {e}", path.display())))?;
        if inside.is_empty() {
            return Err(bad(what, format!("{} has no file that ends in .{ending}", path.display())));
        }
        if inside.len() > MAX_FILES {
            return Err(bad(what, format!("{} has more than {MAX_FILES} files", path.display())));
        }
        inside.sort_by_key(|path| (number(path), path.clone()));
        all.append(&mut inside);
    }
    Ok(all)
}

/// The files of a folder that may be PoVs.
pub(crate) fn list(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    list_with(folder, EXTENSION)
}

fn list_with(folder: &Path, ending: &str) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == ending) && path.is_file() {
            files.push(path);
        }
    }
    Ok(files)
}

/// Reads all PoVs that these arguments name, and says on stderr what they are.
pub(crate) fn povs(what: &str, paths: &[PathBuf]) -> Result<Vec<Pov>, Failure> {
    let files = files(what, paths)?;
    let bytes: u64 = files.iter().filter_map(|path| Some(std::fs::metadata(path).ok()?.len())).sum();
    if bytes > MAX_BYTES {
        return Err(bad(what, format!("{} MiB of PoVs; at most {} MiB at once", bytes >> 20, MAX_BYTES >> 20)));
    }
    let povs = files.iter().map(|path| Pov::read(what, path)).collect::<Result<Vec<_>, _>>()?;
    let mut kinds = BTreeMap::<&str, usize>::new();
    povs.iter().for_each(|pov| *kinds.entry(pov.found()).or_default() += 1);
    for (kind, count) in kinds {
        to_stderr(format_args!("{what}: {count} of {} files: {kind}", povs.len()));
    }
    Ok(povs)
}

fn number(path: &Path) -> Option<u32> {
    exported_name(path).map(|(_, number)| number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_a_folder_are_in_the_order_of_blocks() {
        let folder = tempfile::tempdir().unwrap();
        let name = |n: u32| format!("0x{}_{n}.pov", "ab".repeat(32));
        for file in [name(10), name(9), "notes.txt".into()] {
            std::fs::write(folder.path().join(file), "x").unwrap();
        }
        let found = files("--pov", &[folder.path().to_owned()]).unwrap();
        let names: Vec<_> = found.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, [name(9), name(10)]);
        assert_eq!(exported_name(&found[0]), Some(([0xab; 32], 9)));
        assert!(params("--params", &[folder.path().to_owned()]).unwrap_err().to_string().contains(".params"));
        std::fs::write(folder.path().join("block-1.params"), "x").unwrap();
        assert_eq!(params("--params", &[folder.path().to_owned()]).unwrap().len(), 1);
        let empty = tempfile::tempdir().unwrap();
        assert!(files("--pov", &[empty.path().to_owned()]).unwrap_err().to_string().contains(".pov"));
    }
}
