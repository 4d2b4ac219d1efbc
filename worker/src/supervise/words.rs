//! What a fork writes to stderr: a memory file of a fixed size, which costs the worker nothing unless somebody wants to
//! know. What does not fit is lost, and writing it fails.

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

/// The first few KiB that a fork writes to stderr.
pub(super) struct Words(File);

impl Words {
    /// Room for them.
    pub(super) fn new() -> Result<Self> {
        let file = memfd_create("pvf-words", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        ftruncate(&file, MAX_WORDS as u64)?;
        fcntl_add_seals(&file, SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
        Ok(Self(file.into()))
    }

    /// What was written, up to the first zero.
    pub(super) fn read(&self) -> String {
        let mut bytes = [0; MAX_WORDS];
        let mut len = 0;
        while let Ok(n @ 1..) = self.0.read_at(&mut bytes[len..], len as u64) {
            len += n;
            if bytes[len - n..len].contains(&0) {
                break;
            }
        }
        let words = bytes[..len].split(|byte| *byte == 0).next().unwrap_or_default();
        String::from_utf8_lossy(words).into_owned()
    }
}

impl AsFd for Words {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
