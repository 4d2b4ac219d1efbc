//! Bundles as files: written whole or not at all, readable for this user only, and in a folder within limits.
//!
//! A bundle is written to a file of another name in the same folder, which is renamed when it is complete. What is
//! beyond a limit is removed, the oldest first, but never the bundle that was just written. Files that are no bundles
//! are left alone.

use super::{Bundle, BundleError, BundleId, MAX_FILE};
use bytes::Bytes;
use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime},
};

/// Extension of the files.
pub const EXTENSION: &str = "pvfbundle";
/// Extension of files that are being written.
const UNFINISHED: &str = "pvfbundle-tmp";
/// A file that is older was left by a process that died.
const ABANDONED: Duration = Duration::from_secs(3600);

/// How many bundles a folder keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Most bundles (default 100).
    pub count: usize,
    /// Most bytes of all bundles (default 1 GiB).
    pub bytes: u64,
    /// Longest time since a bundle was written (default 30 days).
    pub age: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        Self { count: 100, bytes: 1 << 30, age: Duration::from_secs(30 * 24 * 3600) }
    }
}

/// A folder with bundles.
#[derive(Debug, Clone)]
pub struct BundleFolder {
    path: PathBuf,
    retention: Retention,
}

/// A bundle in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Its file.
    pub path: PathBuf,
    /// Its id by the name of the file.
    pub id: BundleId,
    /// Size of the file, bytes.
    pub bytes: u64,
    /// When it was written.
    pub written: SystemTime,
}

impl BundleFolder {
    /// The folder at this path, which is created with the first bundle.
    pub fn new(path: impl Into<PathBuf>, retention: Retention) -> Self {
        Self { path: path.into(), retention }
    }

    /// Writes a bundle, then removes what is beyond the limits. Returns the file. A bundle that is there already is
    /// replaced: it has the same case, and older notes.
    ///
    /// # Errors
    /// The bundle cannot be written. That others cannot be removed is logged.
    pub fn write(&self, bundle: &Bundle) -> Result<PathBuf, BundleError> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.path).map_err(BundleError::io(&self.path))?;
        let path = self.path.join(format!("{}.{EXTENSION}", bundle.id()));
        write_file(&path, bundle)?;
        if let Err(error) = self.prune_except(Some(&path)) {
            tracing::warn!(%error, "cannot remove old replay bundles");
        }
        Ok(path)
    }

    /// The bundles, the newest first. A folder that does not exist has none.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn list(&self) -> Result<Vec<Kept>, BundleError> {
        let mut kept: Vec<_> = self.files(EXTENSION)?.into_iter().filter_map(|(path, of)| kept(path, &of)).collect();
        kept.sort_by_key(|one| std::cmp::Reverse((one.written, one.id)));
        Ok(kept)
    }

    /// Removes what is beyond the limits, and what processes that died have left. Returns the bundles that were
    /// removed.
    ///
    /// # Errors
    /// The folder cannot be read, or a file cannot be removed.
    pub fn prune(&self) -> Result<Vec<Kept>, BundleError> {
        self.prune_except(None)
    }

    fn prune_except(&self, written: Option<&Path>) -> Result<Vec<Kept>, BundleError> {
        let now = SystemTime::now();
        let older = |than: Duration, time: SystemTime| now.duration_since(time).is_ok_and(|age| age > than);
        for (path, of) in self.files(UNFINISHED)? {
            if of.modified().is_ok_and(|time| older(ABANDONED, time)) {
                remove(&path)?;
            }
        }
        let mut kept = self.list()?;
        // The one that was written counts first, however many were written at the same time.
        kept.sort_by_key(|bundle| Some(&*bundle.path) != written);
        let Retention { count, bytes, age } = self.retention;
        let mut total = 0;
        let within = kept.iter().enumerate().take_while(|(n, bundle)| {
            total += bundle.bytes;
            written == Some(&bundle.path) || (*n < count && total <= bytes && !older(age, bundle.written))
        });
        let removed = kept.split_off(within.count());
        removed.iter().try_for_each(|bundle| remove(&bundle.path))?;
        Ok(removed)
    }

    /// The regular files with this extension.
    fn files(&self, extension: &str) -> Result<Vec<(PathBuf, fs::Metadata)>, BundleError> {
        let entries = match fs::read_dir(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
            entries => entries.map_err(BundleError::io(&self.path))?,
        };
        let mut files = Vec::new();
        for entry in entries {
            let entry = entry.map_err(BundleError::io(&self.path))?;
            let path = entry.path();
            // One that is gone was removed by another process.
            if path.extension().is_some_and(|of| of == extension)
                && let Ok(metadata) = entry.metadata()
                && metadata.is_file()
            {
                files.push((path, metadata));
            }
        }
        Ok(files)
    }
}

/// A file whose name is the id of a bundle.
fn kept(path: PathBuf, metadata: &fs::Metadata) -> Option<Kept> {
    let name = path.file_stem()?.to_str()?;
    let id: BundleId = name.parse().ok()?;
    let written = metadata.modified().ok()?;
    (id.to_string() == name).then_some(Kept { id, bytes: metadata.len(), written, path })
}

fn remove(path: &Path) -> Result<(), BundleError> {
    match fs::remove_file(path) {
        // Another process removes the same ones.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result.map_err(BundleError::io(path)),
    }
}

/// Writes a bundle to this file, which only this user can read: all of it, or nothing.
///
/// # Errors
/// A part is too large, or the file cannot be written.
pub fn write_file(path: &Path, bundle: &Bundle) -> Result<(), BundleError> {
    let parts = bundle.parts()?;
    let unfinished = unfinished(path);
    let written = write_new(&unfinished, &parts).and_then(|()| fs::rename(&unfinished, path));
    written.map_err(|error| {
        let _ = fs::remove_file(&unfinished);
        BundleError::io(path)(error)
    })
}

/// A name beside this file that no other writer has.
fn unfinished(path: &Path) -> PathBuf {
    static WRITTEN: AtomicU64 = AtomicU64::new(0);
    let n = WRITTEN.fetch_add(1, Ordering::Relaxed);
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    path.with_file_name(format!(".{}-{n}-{}.{UNFINISHED}", process::id(), since_epoch.as_nanos()))
}

fn write_new(path: &Path, parts: &[Bytes]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    for part in parts {
        file.write_all(part)?;
    }
    file.sync_all()
}

/// Reads a bundle.
///
/// # Errors
/// The file cannot be read, or is no bundle that this build can read.
pub fn read_file(path: &Path) -> Result<Bundle, BundleError> {
    let io = || BundleError::io(path);
    // Before it is opened: a named pipe would be waited for.
    if !fs::metadata(path).map_err(io())?.is_file() {
        return Err(BundleError::NotABundle);
    }
    let file = File::open(path).map_err(io())?;
    let metadata = file.metadata().map_err(io())?;
    let too_large = |len| BundleError::TooLarge { part: "file", len, limit: MAX_FILE };
    if metadata.len() > MAX_FILE {
        return Err(too_large(metadata.len()));
    }
    let mut bytes = Vec::with_capacity(metadata.len() as usize);
    let len = file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(io())? as u64;
    if len > MAX_FILE {
        return Err(too_large(len));
    }
    Bundle::decode(&bytes.into())
}
