//! A fork's stderr: a memory file of a fixed size, which costs the worker nothing unless the fork writes to it. Writes
//! that do not fit fail.

use crate::sandbox::MAX_STDERR;
use pvf_shared::record::MAX_LOG;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use std::{
    fs::File,
    io::Result,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::FileExt as _,
    },
};

/// The memory file that a fork has as stderr.
pub(super) struct StderrCapture(File);

impl StderrCapture {
    /// An empty file of [`MAX_STDERR`] bytes, sealed so that the fork can neither grow nor shrink it.
    pub(super) fn new() -> Result<Self> {
        let file = memfd_create("pvf-stderr", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        ftruncate(&file, MAX_STDERR as u64)?;
        fcntl_add_seals(&file, SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
        Ok(Self(file.into()))
    }

    /// The last [`MAX_LOG`] bytes that were written: what the guest logged, and reports of panics.
    pub(super) fn tail(&self) -> String {
        // Both ends share one file position, which is where the fork's last write ended.
        let end = rustix::fs::tell(&self.0).unwrap_or(0).min(MAX_STDERR as u64);
        let len = (end as usize).min(MAX_LOG);
        let mut tail = vec![0; len];
        match self.0.read_exact_at(&mut tail, end - len as u64) {
            Ok(()) => String::from_utf8_lossy(&tail).into_owned(),
            Err(_) => String::new(),
        }
    }
}

impl AsFd for StderrCapture {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
