//! The length of a decompressed code, which the node's own workers report. The code is not trusted, and this process
//! has no sandbox: the decompressor is written in safe Rust, and what it writes is only counted.

use pvf_shared::candidate::COMPRESSED_PREFIX;
use std::io::Read as _;

/// Bytes that are decompressed at once.
const STEP: usize = 64 << 10;

/// The length of a code, bytes, with the compression prefix or without. 0 if it does not decompress within the limit:
/// the fleet decides what that means.
pub(super) fn of(code: &[u8], limit: u32) -> u32 {
    let Some(frame) = code.strip_prefix(&COMPRESSED_PREFIX) else {
        return u32::try_from(code.len()).unwrap_or(u32::MAX);
    };
    let Ok(mut decoder) = ruzstd::decoding::StreamingDecoder::new(frame) else { return 0 };
    let (mut len, mut step) = (0_u64, vec![0; STEP]);
    loop {
        match decoder.read(&mut step) {
            Ok(0) => return u32::try_from(len).unwrap_or(0),
            Ok(read) => len += read as u64,
            Err(_) => return 0,
        }
        if len > u64::from(limit) {
            return 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_counted_within_their_limit() {
        assert_eq!(of(b"\0asm", 2), 4);
        let zeros = vec![0; 1_000_000];
        let frame = ruzstd::encoding::compress_to_vec(&zeros[..], ruzstd::encoding::CompressionLevel::Fastest);
        let compressed = [&COMPRESSED_PREFIX[..], &frame].concat();
        assert_eq!(of(&compressed, 1_000_000), 1_000_000);
        assert_eq!(of(&compressed, 999_999), 0);
        assert_eq!(of(&compressed[..compressed.len() / 2], 1_000_000), 0);
        assert_eq!(of(&COMPRESSED_PREFIX, 1), 0);
    }
}
