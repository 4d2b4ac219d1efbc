//! Pulling bytes in chunks from one who holds them. One request for each chunk, and one answer for each request.

use crate::{
    content::Content,
    units::KIB,
    wire::{WireError, decode_frame},
};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// The largest chunk, bytes.
pub const MAX_CHUNK: usize = 512 * KIB;

/// The most that an answer is longer than its chunk, bytes.
pub const CHUNK_ENVELOPE: usize = 64;

/// Asks for a chunk. It is sent as a bus request to one who holds the content, and answered by [`PullReply`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pull {
    /// What is pulled.
    pub content: Content,
    /// Where the chunk begins, bytes.
    pub offset: u64,
    /// The most bytes that the chunk may have. 0 asks for the length of the content.
    pub len: u32,
}

/// The answer to [`Pull`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PullReply {
    /// Bytes from the offset on: as many as were asked for, or to the end of the content, or as fit into a message, but
    /// then at least 512.
    Chunk {
        /// Length of the whole content, bytes.
        total: u64,
        /// The bytes.
        bytes: Bytes,
    },
    /// The receiver does not hold the content, or no longer.
    Missing,
    /// The content ends at the offset, or before it.
    OutOfRange {
        /// Length of the whole content, bytes.
        total: u64,
    },
    /// The receiver cannot decode the request.
    NotUnderstood(String),
}

/// [`PullReply`] with the bytes where they are in the message.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum BorrowedReply<'a> {
    Chunk {
        total: u64,
        #[serde(borrow, with = "serde_bytes")]
        bytes: &'a [u8],
    },
    Missing,
    OutOfRange {
        total: u64,
    },
    NotUnderstood(String),
}

/// Decodes an answer as [`decode`](super::decode) does, without a copy of the chunk: it shares the memory of `message`.
///
/// # Errors
/// As [`decode`](super::decode).
pub fn decode_pull_reply(message: &Bytes) -> Result<PullReply, WireError> {
    Ok(match decode_frame(message)? {
        BorrowedReply::Chunk { total, bytes } => PullReply::Chunk { total, bytes: message.slice_ref(bytes) },
        BorrowedReply::Missing => PullReply::Missing,
        BorrowedReply::OutOfRange { total } => PullReply::OutOfRange { total },
        BorrowedReply::NotUnderstood(why) => PullReply::NotUnderstood(why),
    })
}

/// Adds the messages of this module to the golden ones.
#[cfg(test)]
pub(super) fn add_golden(golden: &mut super::golden::GoldenMessages) {
    use crate::ids::{BlobHash, CodeHash};
    golden.add("pull code", &Pull { content: Content::Code(CodeHash([1; 32])), offset: 0, len: 524_288 });
    golden.add("pull blob", &Pull { content: Content::Blob(BlobHash([6; 32])), offset: 524_288, len: 7 });
    golden.add("pulled", &PullReply::Chunk { total: 524_291, bytes: Bytes::from_static(b"end") });
    golden.add("pull missing", &PullReply::Missing);
    golden.add("pull out of range", &PullReply::OutOfRange { total: 9 });
    golden.add("pull not understood", &PullReply::NotUnderstood("why".into()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{decode, encode};
    use proptest::prelude::*;

    fn replies() -> impl Strategy<Value = PullReply> {
        let bytes = proptest::collection::vec(any::<u8>(), 0..300).prop_map(Bytes::from);
        prop_oneof![
            (any::<u64>(), bytes).prop_map(|(total, bytes)| PullReply::Chunk { total, bytes }),
            Just(PullReply::Missing),
            any::<u64>().prop_map(|total| PullReply::OutOfRange { total }),
            ".{0,20}".prop_map(PullReply::NotUnderstood),
        ]
    }

    proptest! {
        #[test]
        fn both_decoders_agree(reply in replies(), flip in any::<(prop::sample::Index, u8)>()) {
            let message = encode(&reply);
            prop_assert_eq!(decode_pull_reply(&message).unwrap(), reply);
            let mut damaged = message.to_vec();
            let at = flip.0.index(damaged.len());
            damaged[at] ^= flip.1;
            let damaged = Bytes::from(damaged);
            // An array of numbers is not taken for bytes by the decoder that does not copy.
            if let Ok(reply) = decode_pull_reply(&damaged) {
                prop_assert_eq!(decode::<PullReply>(&damaged).unwrap(), reply);
            }
        }

        #[test]
        fn arbitrary_bytes_decode_or_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode::<Pull>(&bytes);
            let _ = decode_pull_reply(&bytes.into());
        }
    }

    #[test]
    fn a_chunk_is_decoded_where_it_is() {
        let message = encode(&PullReply::Chunk { total: 9, bytes: Bytes::from_static(b"chunk") });
        let PullReply::Chunk { bytes, .. } = decode_pull_reply(&message).unwrap() else { panic!("not a chunk") };
        let memory = message.as_ptr_range();
        assert!(memory.start < bytes.as_ptr() && bytes.as_ptr_range().end <= memory.end);
    }

    #[test]
    fn the_envelope_is_as_small_as_stated() {
        let bytes = Bytes::from(vec![7; MAX_CHUNK]);
        let message = encode(&PullReply::Chunk { total: u64::MAX, bytes });
        assert!(message.len() <= MAX_CHUNK + CHUNK_ENVELOPE, "{} bytes", message.len() - MAX_CHUNK);
    }
}
