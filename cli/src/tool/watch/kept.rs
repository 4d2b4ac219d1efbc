//! Keeps PoVs that failed.

use crate::tool::files::{folder::list, pov::Pov};
use std::{
    io::{Result, Write as _},
    path::{Path, PathBuf},
};

/// Writes what was validated to a file of this folder that only this user can read, and removes the oldest PoVs beyond
/// `most`.
pub(super) fn write(folder: &Path, pov: &Pov, most: usize) -> Result<PathBuf> {
    let to = folder.join(pov.name());
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(&pov.file)?;
    file.persist(&to).map_err(|error| error.error)?;
    let mut all = Vec::new();
    for path in list(folder)? {
        let written = std::fs::metadata(&path).and_then(|of| of.modified());
        all.extend(written.ok().map(|written| (written, path)));
    }
    all.sort();
    let over = all.len().saturating_sub(most);
    for (_, path) in all.into_iter().take(over).filter(|(_, path)| *path != to) {
        std::fs::remove_file(path)?;
    }
    Ok(to)
}

#[cfg(test)]
mod tests {
    use super::*;
    use parity_scale_codec::Encode as _;

    #[test]
    fn the_newest_povs_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        for n in 0..5_u32 {
            let bytes = (n.encode(), b"head".to_vec(), n, [0_u8; 32], 1_u32).encode();
            let pov = Pov::recognise(Path::new(&format!("/x/{n}.pov")), &bytes.clone().into()).unwrap();
            let to = write(folder.path(), &pov, 2).unwrap();
            assert_eq!(std::fs::read(to).unwrap(), bytes);
        }
        let mut names: Vec<_> =
            list(folder.path()).unwrap().iter().map(|of| of.file_name().unwrap().to_owned()).collect();
        names.sort();
        assert_eq!(names.len(), 2);
        assert_eq!(names[1], "4.pov");
    }
}
