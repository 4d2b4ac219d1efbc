//! The two variable-length encodings that guests and their parameters consist of: SCALE's compact numbers and wasm's
//! LEB128.

/// Appends a number in SCALE's compact form. Decoders reject any but the shortest form.
pub(crate) fn scale_compact(out: &mut Vec<u8>, value: u32) {
    match value {
        0..0x40 => out.push((value as u8) << 2),
        0x40..0x4000 => out.extend_from_slice(&((value as u16) << 2 | 0b01).to_le_bytes()),
        0x4000..0x4000_0000 => out.extend_from_slice(&(value << 2 | 0b10).to_le_bytes()),
        _ => {
            out.push(0b11);
            out.extend_from_slice(&value.to_le_bytes());
        }
    }
}

/// Appends a number in unsigned LEB128.
pub(crate) fn leb128(out: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compact_numbers_change_form_at_the_boundaries_of_scale() {
        let encode = |value| {
            let mut out = Vec::new();
            scale_compact(&mut out, value);
            out
        };
        assert_eq!(encode(0), [0x00]);
        assert_eq!(encode(63), [0xfc]);
        assert_eq!(encode(64), [0x01, 0x01]);
        assert_eq!(encode(16383), [0xfd, 0xff]);
        assert_eq!(encode(16384), [0x02, 0x00, 0x01, 0x00]);
        assert_eq!(encode((1 << 30) - 1), [0xfe, 0xff, 0xff, 0xff]);
        assert_eq!(encode(1 << 30), [0x03, 0x00, 0x00, 0x00, 0x40]);
    }

    #[test]
    fn leb128_splits_at_seven_bits() {
        let encode = |value| {
            let mut out = Vec::new();
            leb128(&mut out, value);
            out
        };
        assert_eq!(encode(0), [0x00]);
        assert_eq!(encode(127), [0x7f]);
        assert_eq!(encode(128), [0x80, 0x01]);
        assert_eq!(encode(u32::MAX), [0xff, 0xff, 0xff, 0xff, 0x0f]);
    }
}
