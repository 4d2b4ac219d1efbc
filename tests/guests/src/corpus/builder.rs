//! Encoders for what the text format cannot express: compressed code, and modules that are too large as text.

use crate::encode::leb128;

/// The prefix that marks a code as compressed.
const COMPRESSED: [u8; 8] = [0x52, 0xbc, 0x53, 0x76, 0x46, 0xdb, 0x8e, 0x05];

/// The prefix and a zstd frame of `content`. Only runs of one byte are compressed, which needs no compressor: a frame
/// may store a block as it is, and a block of one repeated byte as that byte.
pub(super) fn zstd(content: &[u8]) -> Vec<u8> {
    /// The largest block of the format.
    const BLOCK: usize = 128 * 1024;
    const RAW: u32 = 0;
    const RUN: u32 = 1;

    let mut out = COMPRESSED.to_vec();
    // Magic; no checksum, dictionary or content size; a window of 128 KiB.
    out.extend_from_slice(&[0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x38]);
    let mut blocks = content.chunks(BLOCK).peekable();
    if blocks.peek().is_none() {
        out.extend_from_slice(&block_header(true, RAW, 0));
    }
    while let Some(block) = blocks.next() {
        let last = blocks.peek().is_none();
        if block.iter().all(|byte| *byte == block[0]) {
            out.extend_from_slice(&block_header(last, RUN, block.len()));
            out.push(block[0]);
        } else {
            out.extend_from_slice(&block_header(last, RAW, block.len()));
            out.extend_from_slice(block);
        }
    }
    out
}

fn block_header(last: bool, kind: u32, len: usize) -> [u8; 3] {
    let [a, b, c, _] = (u32::from(last) | kind << 1 | (len as u32) << 3).to_le_bytes();
    [a, b, c]
}

/// Builds a wasm module, section by section in the order of the format.
pub(super) struct Module {
    bytes: Vec<u8>,
}

impl Module {
    /// A module without sections.
    pub(super) fn new() -> Self {
        Self { bytes: b"\0asm\x01\0\0\0".to_vec() }
    }

    /// Adds a section that consists of a list of encoded entries.
    pub(super) fn list(&mut self, id: u8, entries: &[Vec<u8>]) -> &mut Self {
        let mut body = Vec::new();
        leb128(&mut body, entries.len() as u32);
        body.extend(entries.iter().flatten());
        self.bytes.push(id);
        leb128(&mut self.bytes, body.len() as u32);
        self.bytes.append(&mut body);
        self
    }

    /// The module.
    pub(super) fn finish(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }
}

/// An export: kind 0 is a function, 2 a memory, 3 a global.
pub(super) fn export(name: &str, kind: u8, index: u32) -> Vec<u8> {
    let mut out = Vec::new();
    leb128(&mut out, name.len() as u32);
    out.extend_from_slice(name.as_bytes());
    out.push(kind);
    leb128(&mut out, index);
    out
}

/// Appends a number in signed LEB128, the encoding of constants.
pub(super) fn signed(out: &mut Vec<u8>, mut value: i64) {
    loop {
        let byte = value as u8 & 0x7f;
        value >>= 7;
        let done = (value == 0 && byte & 0x40 == 0) || (value == -1 && byte & 0x40 != 0);
        out.push(if done { byte } else { byte | 0x80 });
        if done {
            return;
        }
    }
}
