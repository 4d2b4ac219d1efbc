//! Why a bundle cannot be read or written.

use std::{io, path::PathBuf};

/// Why a bundle cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// The file is something else.
    #[error("not a replay bundle")]
    NotABundle,
    /// The format is newer than this build.
    #[error("version {found} of the format, but this build reads at most {supported}: upgrade it")]
    NewerVersion {
        /// Version of the bundle.
        found: u16,
        /// Version of this build.
        supported: u16,
    },
    /// A part is too large.
    #[error("{part}: {len} bytes are over the limit of {limit} bytes")]
    TooLarge {
        /// The part.
        part: &'static str,
        /// Its size, bytes.
        len: u64,
        /// The largest size, bytes.
        limit: u64,
    },
    /// Bytes are missing, or there are too many.
    #[error("the file has {len} bytes, but what it says of itself takes {expected}: it was cut off or changed")]
    Length {
        /// Size of the file, bytes.
        len: u64,
        /// The size that its header and case give, bytes.
        expected: u64,
    },
    /// A part is not what the bundle says it is.
    #[error("{part}: the bytes do not have the hash {hash} that the bundle names: they were changed")]
    Hash {
        /// The part.
        part: &'static str,
        /// The hash, hex.
        hash: String,
    },
    /// A part does not decode.
    #[error("{part}: {why}")]
    Malformed {
        /// The part.
        part: &'static str,
        /// What is wrong.
        why: String,
    },
    /// The file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
}

impl BundleError {
    /// Names the file of an I/O error; for `map_err`.
    pub(super) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}
