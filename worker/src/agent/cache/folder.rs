//! The folder of one worker process below the cache folder of its machine: private, and recognisable as used as long as
//! the process lives, however it ends.
//!
//! The process holds an exclusive lock (`flock`) on its folder, which the kernel releases when the process ends. A
//! folder whose lock is free belongs to a process that was killed, and is removed when a worker starts.
//! `systemd-tmpfiles` leaves locked folders alone as well.

use std::{
    fs::{self, DirBuilder, File, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// The beginning of the names of workers' folders. Earlier versions used another one and took no lock.
const PREFIX: &str = "pvf-worker-";
/// How often a new folder may be removed by another worker's sweep between its creation and its lock.
const ATTEMPTS: u32 = 8;

/// A private folder that is removed when this is dropped.
#[derive(Debug)]
pub(super) struct CacheFolder {
    /// The folder that workers share.
    base: PathBuf,
    current: Mutex<Locked>,
}

#[derive(Debug)]
struct Locked {
    path: PathBuf,
    /// Open as long as the folder is used: it holds the lock.
    lock: File,
}

impl CacheFolder {
    /// Creates a folder in `base`, which is created as well if it does not exist, after the folders of workers that
    /// have ended are removed.
    ///
    /// # Errors
    /// The folder cannot be created or locked; the error names `base`.
    pub(super) fn create(base: &Path) -> io::Result<Self> {
        let created = || {
            // Jobs are told the path of their artifact, and may have another current folder.
            let base = std::path::absolute(base)?;
            create_base(&base)?;
            sweep(&base);
            let current = Mutex::new(create_locked(&base)?);
            Ok(Self { base, current })
        };
        created().map_err(|error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", base.display())))
    }

    fn current(&self) -> MutexGuard<'_, Locked> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its path.
    pub(super) fn path(&self) -> PathBuf {
        self.current().path.clone()
    }

    /// Its path; another folder is created if it was removed.
    pub(super) fn existing(&self) -> io::Result<PathBuf> {
        let mut current = self.current();
        if !current.is_in_place()? {
            create_base(&self.base)?;
            let new = create_locked(&self.base)?;
            tracing::warn!(removed = %current.path.display(), created = %new.path.display(),
                "the folder for copies of artifacts was removed: creating another one");
            *current = new;
        }
        Ok(current.path.clone())
    }
}

impl Drop for CacheFolder {
    fn drop(&mut self) {
        // If that fails the next worker sweeps it.
        let _ = fs::remove_dir_all(&self.current().path);
    }
}

impl Locked {
    /// Whether the path still leads to the folder that is locked.
    fn is_in_place(&self) -> io::Result<bool> {
        let locked = self.lock.metadata()?;
        Ok(fs::symlink_metadata(&self.path).is_ok_and(|at| (at.dev(), at.ino()) == (locked.dev(), locked.ino())))
    }
}

fn create_base(base: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(base)
}

fn create_locked(base: &Path) -> io::Result<Locked> {
    for _ in 0..ATTEMPTS {
        let path = base.join(format!("{PREFIX}{}", super::unique_name()));
        DirBuilder::new().mode(0o700).create(&path)?;
        // A sweep of another worker may come first: it takes the lock and removes the folder.
        let lock = match File::open(&path) {
            Ok(lock) => lock,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => continue,
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let locked = Locked { path, lock };
        if locked.is_in_place()? {
            return Ok(locked);
        }
    }
    Err(io::Error::other("new folders are removed before they can be locked"))
}

/// Removes the folders of workers of this user that have ended.
fn sweep(base: &Path) {
    let own = rustix::process::geteuid().as_raw();
    let entries = fs::read_dir(base).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_name().as_encoded_bytes().starts_with(PREFIX.as_bytes())) {
        // Neither a symbolic link nor a folder of another user.
        if !entry.metadata().is_ok_and(|metadata| metadata.is_dir() && metadata.uid() == own) {
            continue;
        }
        let Ok(lock) = File::open(entry.path()) else { continue };
        if lock.try_lock().is_err() {
            continue;
        }
        match fs::remove_dir_all(entry.path()) {
            Ok(()) => tracing::info!(folder = %entry.path().display(), "removed the copies of a worker that has ended"),
            Err(error) => tracing::warn!(folder = %entry.path().display(), %error,
                "cannot remove the copies of a worker that has ended"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    fn names(base: &Path) -> Vec<PathBuf> {
        let mut names: Vec<_> = fs::read_dir(base).unwrap().map(|entry| entry.unwrap().path()).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn a_folder_is_private_and_goes_with_its_owner() {
        let base = tempfile::tempdir().unwrap();
        let base = base.path().join("not/there/yet");
        let folder = CacheFolder::create(&base).unwrap();
        assert_eq!(fs::metadata(folder.path()).unwrap().permissions().mode() & 0o777, 0o700);
        fs::write(folder.path().join("copy"), "code").unwrap();
        drop(folder);
        assert_eq!(names(&base), Vec::<PathBuf>::new());
    }

    #[test]
    fn only_folders_of_workers_that_have_ended_are_swept() {
        let base = tempfile::tempdir().unwrap();
        let base = base.path();
        let running = CacheFolder::create(base).unwrap();
        let dead = base.join(format!("{PREFIX}dead"));
        fs::create_dir(&dead).unwrap();
        fs::write(dead.join("copy"), "code").unwrap();
        // What is not a worker's stays.
        fs::create_dir(base.join("other")).unwrap();
        fs::write(base.join(format!("{PREFIX}file")), "").unwrap();
        symlink(base.join("other"), base.join(format!("{PREFIX}link"))).unwrap();
        let started = CacheFolder::create(base).unwrap();
        let mut expected = vec![running.path(), started.path(), base.join("other")];
        expected.extend(["file", "link"].map(|name| base.join(format!("{PREFIX}{name}"))));
        expected.sort_unstable();
        assert_eq!(names(base), expected);
    }

    #[test]
    fn a_folder_that_was_removed_or_replaced_is_created_again() {
        let base = tempfile::tempdir().unwrap();
        let folder = CacheFolder::create(base.path()).unwrap();
        let first = folder.path();
        assert_eq!(folder.existing().unwrap(), first);
        fs::remove_dir_all(&first).unwrap();
        let second = folder.existing().unwrap();
        assert!(second != first && second.is_dir());
        // Another folder in its place is not the one that is locked.
        fs::rename(&second, base.path().join("moved")).unwrap();
        fs::create_dir(&second).unwrap();
        let third = folder.existing().unwrap();
        assert!(third != second && third.is_dir());
        fs::remove_dir_all(base.path()).unwrap();
        assert!(folder.existing().unwrap().is_dir());
        // The new one is locked as well.
        let _other = CacheFolder::create(base.path()).unwrap();
        assert!(folder.path().is_dir());
    }

    #[test]
    fn an_error_names_the_folder() {
        let error = CacheFolder::create(Path::new("/dev/null/cache")).unwrap_err();
        assert!(error.to_string().contains("/dev/null/cache"), "{error}");
    }
}
