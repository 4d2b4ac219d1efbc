//! Memory files with what a process is to read: the worker does not have to write while the process reads.

use crate::job::protocol::ProgressCell;
use serde::Serialize;
use std::{
    fs::File,
    io::{Error, Result, Seek as _, SeekFrom, Write as _},
};

/// A memory file with these bytes, positioned at its start.
pub(super) fn memory_file(bytes: &[u8]) -> Result<File> {
    let fd = rustix::fs::memfd_create("pvf-job", rustix::fs::MemfdFlags::CLOEXEC)?;
    let mut file = File::from(fd);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file)
}

/// An empty memory file that can be sealed.
pub(super) fn sealable_file() -> Result<File> {
    let flags = rustix::fs::MemfdFlags::CLOEXEC | rustix::fs::MemfdFlags::ALLOW_SEALING;
    Ok(File::from(rustix::fs::memfd_create("pvf-block-data", flags)?))
}

/// A memory file with this request behind an empty [`ProgressCell`], positioned at the request.
pub(super) fn request_with_progress(request: &impl Serialize) -> Result<File> {
    const CELL: usize = size_of::<ProgressCell>();
    let mut bytes = vec![0; CELL];
    rmp_serde::encode::write_named(&mut bytes, request).map_err(Error::other)?;
    let mut file = memory_file(&bytes)?;
    file.seek(SeekFrom::Start(CELL as u64))?;
    Ok(file)
}

/// A memory file with this request, encoded as MessagePack.
pub(super) fn request_file(request: &impl Serialize) -> Result<File> {
    memory_file(&rmp_serde::to_vec_named(request).map_err(Error::other)?)
}
