//! The part of the SCALE codec that the adder needs: a strict reader and a writer.
//!
//! Input that cannot be decoded panics, which makes the candidate invalid.

use alloc::vec::Vec;

/// Reads values from the front of a byte string.
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the first byte.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The next `len` bytes.
    pub fn take(&mut self, len: usize) -> &'a [u8] {
        let Some((taken, rest)) = self.rest.split_at_checked(len) else {
            panic!("input ends early");
        };
        self.rest = rest;
        taken
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N));
        array
    }

    /// A `u32`: four bytes, little endian.
    pub fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }

    /// A `u64`: eight bytes, little endian.
    pub fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }

    /// A `Vec<u8>`: its length in compact form, then the bytes.
    pub fn bytes(&mut self) -> &'a [u8] {
        let len = self.compact();
        self.take(len as usize)
    }

    /// A compact `u32`. Like the reference codec, the reader accepts only the shortest form of a number.
    fn compact(&mut self) -> u32 {
        let [first] = self.array();
        let (value, least) = match first & 0b11 {
            0 => (u32::from(first >> 2), 0),
            1 => {
                let [second] = self.array();
                (u32::from(u16::from_le_bytes([first, second]) >> 2), 1 << 6)
            }
            2 => {
                let [b, c, d] = self.array();
                (u32::from_le_bytes([first, b, c, d]) >> 2, 1 << 14)
            }
            _ => {
                assert!(first >> 2 == 0, "length does not fit in 32 bits");
                (self.u32(), 1 << 30)
            }
        };
        assert!(value >= least, "length is not in its shortest form");
        value
    }

    /// Asserts that everything has been read.
    pub fn finish(self) {
        assert!(self.rest.is_empty(), "trailing bytes");
    }
}

/// Appends a `Vec<u8>` of less than 2^14 bytes; the adder writes nothing longer.
pub fn write_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    let len = bytes.len();
    assert!(len < 1 << 14, "too long to write");
    if len < 1 << 6 {
        out.push((len as u8) << 2);
    } else {
        out.extend_from_slice(&((len as u16) << 2 | 1).to_le_bytes());
    }
    out.extend_from_slice(bytes);
}
