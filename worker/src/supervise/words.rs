//! What a fork writes to stderr: a memory file of a fixed size, which costs the worker nothing as long as nobody writes
//! there. What does not fit is lost, and writing it fails.

use super::pipes::STDERR_KEPT;
use crate::job::protocol::MAX_WORDS;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use std::{
    fs::File,
    io::Result,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::FileExt as _,
    },
};

/// What a fork writes to stderr.
pub(super) struct Words(File);

impl Words {
    /// Room for them.
    pub(super) fn new() -> Result<Self> {
        let file = memfd_create("pvf-words", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        ftruncate(&file, MAX_WORDS as u64)?;
        fcntl_add_seals(&file, SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
        Ok(Self(file.into()))
    }

    /// The last of them.
    pub(super) fn read(&self) -> String {
        // Both ends have one position, which is where the fork stopped to write.
        let end = rustix::fs::tell(&self.0).unwrap_or(0).min(MAX_WORDS as u64);
        let mut bytes = [0; STDERR_KEPT];
        let len = (end as usize).min(STDERR_KEPT);
        let words = &mut bytes[..len];
        match self.0.read_exact_at(words, end - len as u64) {
            Ok(()) => String::from_utf8_lossy(words).into_owned(),
            Err(_) => String::new(),
        }
    }
}

impl AsFd for Words {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
