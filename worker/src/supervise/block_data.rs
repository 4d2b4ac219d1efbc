//! The block data of an execution: in memory, or in a memory file that the job maps.

use super::memory_file::sealable_file;
use pvf_shared::{Bytes, candidate::COMPRESSED_PREFIX, pull::Sink};
use rustix::fs::{SealFlags, fcntl_add_seals};
use std::{
    fs::File,
    io::{Error, ErrorKind, Result, Write as _},
    os::fd::{AsFd, BorrowedFd},
    sync::Arc,
};

/// How much of its beginning is kept of block data in a file, bytes: enough to tell whether it is compressed.
const BEGINNING: usize = COMPRESSED_PREFIX.len();

/// Block data as submitted.
#[derive(Debug, Clone)]
pub enum BlockData {
    /// In memory.
    Bytes(Bytes),
    /// In a memory file.
    File(BlockDataFile),
}

/// A memory file with block data, sealed against changes.
#[derive(Debug, Clone)]
pub struct BlockDataFile {
    file: Arc<File>,
    len: u64,
    beginning: [u8; BEGINNING],
}

impl From<Bytes> for BlockData {
    fn from(bytes: Bytes) -> Self {
        Self::Bytes(bytes)
    }
}

impl BlockData {
    /// Length, bytes.
    pub(super) fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File(file) => file.len,
        }
    }

    /// The first bytes: enough to tell whether the block data is compressed.
    pub(super) fn beginning(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::File(file) => &file.beginning,
        }
    }

    /// The bytes that go with the request: none if there is a file.
    pub(super) fn inline(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::File(_) => &[],
        }
    }

    pub(super) fn file(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Bytes(_) => None,
            Self::File(file) => Some(file.file.as_fd()),
        }
    }
}

/// A memory file that is being written: each byte of block data that comes is copied once, to where the job maps it.
#[derive(Debug)]
pub struct BlockDataWriter {
    file: File,
    len: u64,
    beginning: [u8; BEGINNING],
}

impl BlockDataWriter {
    /// An empty file.
    ///
    /// # Errors
    /// The machine refuses it.
    pub fn new() -> Result<Self> {
        Ok(Self { file: sealable_file()?, len: 0, beginning: [0; BEGINNING] })
    }

    /// The block data that was written.
    ///
    /// # Errors
    /// The machine refuses to seal the file, or there are no bytes: an empty file cannot be mapped.
    pub fn finish(self) -> Result<BlockDataFile> {
        if self.len == 0 {
            return Err(Error::new(ErrorKind::InvalidInput, "block data of 0 bytes in a file"));
        }
        fcntl_add_seals(&self.file, SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE)?;
        Ok(BlockDataFile { file: Arc::new(self.file), len: self.len, beginning: self.beginning })
    }
}

impl Sink for BlockDataWriter {
    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes)?;
        let begun = BEGINNING.min(self.len as usize);
        let more = bytes.len().min(BEGINNING - begun);
        self.beginning[begun..begun + more].copy_from_slice(&bytes[..more]);
        self.len += bytes.len() as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_in_the_file_and_stays_as_it_is() {
        let mut writer = BlockDataWriter::new().unwrap();
        for part in [&b"01234"[..], b"", b"56789", b"abc"] {
            writer.append(part).unwrap();
        }
        let data = BlockData::File(writer.finish().unwrap());
        assert_eq!((data.len(), data.beginning(), data.inline()), (13, &b"01234567"[..], &b""[..]));
        let BlockData::File(BlockDataFile { file, .. }) = &data else { unreachable!() };
        let mut bytes = [0; 13];
        std::os::unix::fs::FileExt::read_exact_at(&**file, &mut bytes, 0).unwrap();
        assert_eq!(&bytes, b"0123456789abc");
        assert!((&**file).write(b"x").is_err());
        assert!(file.set_len(5).is_err());
    }

    #[test]
    fn there_is_no_file_without_bytes() {
        assert_eq!(BlockDataWriter::new().unwrap().finish().unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}
