//! The files of a folder that are new or have changed.

use crate::tool::{files::folder::list, text::escaped};
use pvf_shared::telemetry::to_stderr;
use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

/// How long a file that cannot be read is tried again after it has changed last.
pub(super) const WHILE_WRITTEN: Duration = Duration::from_secs(5);
/// How long a PoV is tried again of which the host had no result.
pub(super) const WITHOUT_RESULT: Duration = Duration::from_secs(60);

/// Size and time of a file.
type Stamp = (u64, Option<SystemTime>);

/// A file to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// The file.
    pub(super) path: PathBuf,
    stamp: Stamp,
}

/// What is known of a file.
#[derive(Debug, Clone, Copy)]
struct Known {
    stamp: Stamp,
    /// Since when it is tried again, without a change of the file.
    tried_since: Option<Instant>,
}

/// A folder that is watched.
pub(super) struct Watched {
    folder: PathBuf,
    known: HashMap<PathBuf, Known>,
}

impl Watched {
    /// Watches a folder, without the files that are there already if `new_only`.
    pub(super) fn new(folder: &Path, new_only: bool) -> Self {
        let mut watched = Self { folder: folder.to_owned(), known: HashMap::new() };
        if new_only {
            let _ = watched.look();
        }
        watched
    }

    /// The files that are new or have changed, or that are to be tried again, the oldest first.
    ///
    /// # Errors
    /// The folder cannot be read. One that does not exist is empty.
    pub(super) fn look(&mut self) -> io::Result<Vec<Found>> {
        let paths = match list(&self.folder) {
            Ok(paths) => paths,
            Err(error) if error.kind() == io::ErrorKind::NotFound => vec![],
            Err(error) => return Err(error),
        };
        // What is gone is not waited for.
        self.known.retain(|path, _| paths.contains(path));
        let mut found = Vec::new();
        for path in paths {
            // It may be gone since.
            let Ok(of) = std::fs::metadata(&path) else { continue };
            let stamp = (of.len(), of.modified().ok());
            let known = self.known.get(&path);
            if known.is_none_or(|known| known.stamp != stamp || known.tried_since.is_some()) {
                let tried_since = known.filter(|known| known.stamp == stamp).and_then(|of| of.tried_since);
                self.known.insert(path.clone(), Known { stamp, tried_since });
                found.push(Found { path, stamp });
            }
        }
        found.sort_by(|a, b| (a.stamp.1, &a.path).cmp(&(b.stamp.1, &b.path)));
        Ok(found)
    }

    /// Whether a file is tried again, which it is for so long; says so on stderr at the first time.
    pub(super) fn try_again(&mut self, found: &Found, patience: Duration, why: &str) -> bool {
        let Some(known) = self.known.get_mut(&found.path) else { return false };
        if known.tried_since.is_none() {
            let name = found.path.file_name().unwrap_or_default().to_string_lossy();
            // It may quote a guest.
            let why = escaped(why);
            to_stderr(format_args!("{}: {why}; it is tried again for {} s", escaped(&name), patience.as_secs()));
        }
        let since = *known.tried_since.get_or_insert_with(Instant::now);
        let again = since.elapsed() < patience;
        if !again {
            known.tried_since = None;
        }
        again
    }

    /// A file is done with.
    pub(super) fn done(&mut self, found: &Found) {
        if let Some(known) = self.known.get_mut(&found.path) {
            known.tried_since = None;
        }
    }

    /// Whether a file is to be tried again.
    pub(super) fn waits(&self) -> bool {
        self.known.values().any(|known| known.tried_since.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_once_and_again_when_they_change() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("later");
        let mut watched = Watched::new(&folder, false);
        assert_eq!(watched.look().unwrap(), []);
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("a.pov"), "half").unwrap();
        std::fs::write(folder.join("notes.txt"), "no PoV").unwrap();
        let found = watched.look().unwrap();
        assert_eq!(found.len(), 1);
        // It could not be read: it is found again, until it can.
        assert!(watched.try_again(&found[0], WHILE_WRITTEN, "not complete") && watched.waits());
        assert_eq!(watched.look().unwrap(), found);
        std::fs::write(folder.join("a.pov"), "whole file").unwrap();
        assert_eq!(watched.look().unwrap().len(), 1);
        assert_eq!((watched.look().unwrap(), watched.waits()), (vec![], false));
        // One that can be read at the second try, without a change.
        std::fs::write(folder.join("b.pov"), "late").unwrap();
        let late = watched.look().unwrap().remove(0);
        assert!(watched.try_again(&late, WHILE_WRITTEN, "not complete"));
        let late = watched.look().unwrap().remove(0);
        watched.done(&late);
        assert_eq!((watched.look().unwrap(), watched.waits()), (vec![], false));
        // One that is removed while it is waited for.
        std::fs::write(folder.join("c.pov"), "half").unwrap();
        let gone = watched.look().unwrap().remove(0);
        assert!(watched.try_again(&gone, WHILE_WRITTEN, "not complete"));
        std::fs::remove_file(folder.join("c.pov")).unwrap();
        assert_eq!((watched.look().unwrap(), watched.waits()), (vec![], false));
        assert_eq!(Watched::new(&folder, true).look().unwrap(), []);
    }
}
