//! The bytes behind a `Hash` implementation, in an encoding that is the same on every platform and with every
//! toolchain. The engine id is made of them.

use std::hash::Hasher;

/// A hasher that collects what it is fed instead of mixing it.
///
/// * Integers are little endian, in their own width.
/// * `usize` and `isize` (lengths and the discriminants of enums) are 64 bits wide.
/// * Bytes and strings are taken as they are. What delimits them, a length before a slice and the byte 0xff behind a
///   string, is fed by the standard library as a number.
///
/// A slice of integers is fed as its bytes in memory, hence the restriction to little-endian machines.
#[derive(Debug, Default)]
pub(super) struct HashedBytes(Vec<u8>);

const _: () = assert!(cfg!(target_endian = "little"), "slices of integers would be big endian");

impl HashedBytes {
    /// Everything that was fed.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Hasher for HashedBytes {
    fn write(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }
    fn write_u8(&mut self, n: u8) {
        self.0.push(n);
    }
    fn write_u16(&mut self, n: u16) {
        self.write(&n.to_le_bytes());
    }
    fn write_u32(&mut self, n: u32) {
        self.write(&n.to_le_bytes());
    }
    fn write_u64(&mut self, n: u64) {
        self.write(&n.to_le_bytes());
    }
    fn write_u128(&mut self, n: u128) {
        self.write(&n.to_le_bytes());
    }
    fn write_usize(&mut self, n: usize) {
        self.write_u64(n as u64);
    }
    fn write_i8(&mut self, n: i8) {
        self.write(&n.to_le_bytes());
    }
    fn write_i16(&mut self, n: i16) {
        self.write(&n.to_le_bytes());
    }
    fn write_i32(&mut self, n: i32) {
        self.write(&n.to_le_bytes());
    }
    fn write_i64(&mut self, n: i64) {
        self.write(&n.to_le_bytes());
    }
    fn write_i128(&mut self, n: i128) {
        self.write(&n.to_le_bytes());
    }
    fn write_isize(&mut self, n: isize) {
        self.write_i64(n as i64);
    }
    /// The trait requires a hash; the first 8 bytes, padded with zeros, serve as one.
    fn finish(&self) -> u64 {
        self.0.iter().take(8).rev().fold(0, |hash, byte| hash << 8 | u64::from(*byte))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hash::Hash;

    fn fed(value: impl Hash) -> Vec<u8> {
        let mut bytes = HashedBytes::default();
        value.hash(&mut bytes);
        bytes.0
    }

    /// What std feeds for the types that wasmtime's configuration consists of. If a toolchain changes one of these, the
    /// engine id changes too: see its test.
    #[test]
    fn values_are_fed_in_a_fixed_encoding() {
        assert_eq!(fed(0x01_u8), [1]);
        assert_eq!(fed(0x0102_u16), [2, 1]);
        assert_eq!(fed(-2_i32), [0xfe, 0xff, 0xff, 0xff]);
        assert_eq!(fed(0x0102_u64), [2, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(fed(3_usize), [3, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(fed(true), [1]);
        assert_eq!(fed("ab"), [b'a', b'b', 0xff]);
        assert_eq!(fed([7_u8].as_slice()), [1, 0, 0, 0, 0, 0, 0, 0, 7]);
        assert_eq!(fed(None::<u8>), [0; 8]);
        assert_eq!(fed(Some(9_u8)), [1, 0, 0, 0, 0, 0, 0, 0, 9]);
    }

    #[test]
    fn finish_is_the_first_eight_bytes() {
        let mut bytes = HashedBytes::default();
        bytes.write(&[1, 2]);
        assert_eq!(bytes.finish(), 0x0201);
        bytes.write(&[0; 6]);
        bytes.write_u8(9);
        assert_eq!(bytes.finish(), 0x0201);
    }
}
