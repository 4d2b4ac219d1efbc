//! The files of this repository, for tests that read them.

use std::path::{Path, PathBuf};

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Folders that contain no sources: build output, and what fuzzing leaves behind.
const GENERATED: [&str; 8] = [
    ".git",
    "target",
    "tests/fuzz/artifacts",
    "tests/fuzz/corpus-work",
    "tests/fuzz/coverage",
    "tests/fuzz/target",
    "tests/real-node/target",
    "tests/real-parachain/target",
];

/// All files in a folder of the repository.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let root = root();
    let is_generated = |path: &Path| GENERATED.iter().any(|folder| path == root.join(folder));
    let (mut found, mut folders) = (vec![], vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if !path.is_dir() {
                found.push(path);
            } else if !is_generated(&path) {
                folders.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The Rust files in a folder, with their text.
pub(crate) fn sources(folder: &Path) -> Vec<(PathBuf, String)> {
    let rust = files(folder).into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    rust.map(|path| (path.clone(), std::fs::read_to_string(&path).unwrap())).collect()
}

/// The text without the comments that fill whole lines.
pub(crate) fn code_of(text: &str) -> String {
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}
