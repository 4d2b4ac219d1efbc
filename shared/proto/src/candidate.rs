//! Argument and result of a validation function (`ValidationParams`, `ValidationResult`) in their exact SCALE encoding.
//!
//! The layout is that of the relay chain's parachain primitives, see `docs/design/consensus.md`.

use crate::ids::StorageRoot;
use bytes::Bytes;
use parity_scale_codec::{Compact, Decode, Encode, Error, Input, Output};
use serde::{Deserialize, Serialize};

/// Most upward messages in a candidate's result.
pub const MAX_UPWARD_MESSAGES: usize = 16_384;
/// Most horizontal messages in a candidate's result.
pub const MAX_HORIZONTAL_MESSAGES: usize = 16_384;

/// The argument of `validate_block`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ValidationParams {
    /// Head data of the parent.
    pub parent_head: Vec<u8>,
    /// The block, decompressed.
    pub block_data: Vec<u8>,
    /// Number of the relay parent.
    pub relay_parent_number: u32,
    /// Storage root of the relay parent.
    pub relay_parent_storage_root: [u8; 32],
}

/// Extension that follows the encoded [`ValidationParams`] for candidate descriptors of version 3 only.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub enum ValidationParamsExtension {
    /// Descriptor version 3.
    #[codec(index = 3)]
    V3 {
        /// Hash of the relay parent.
        #[serde(with = "serde_bytes")]
        relay_parent: [u8; 32],
        /// Hash of the scheduling parent.
        #[serde(with = "serde_bytes")]
        scheduling_parent: [u8; 32],
    },
}

/// The bytes that the job writes into the guest's memory.
pub fn encode_params(params: &ValidationParams, extension: Option<&ValidationParamsExtension>) -> Vec<u8> {
    let mut out = params.encode();
    if let Some(extension) = extension {
        extension.encode_to(&mut out);
    }
    out
}

/// The inverse of [`encode_params`]; trailing bytes are an error.
pub fn decode_params(mut bytes: &[u8]) -> Result<(ValidationParams, Option<ValidationParamsExtension>), Error> {
    let params = ValidationParams::decode(&mut bytes).map_err(|e| e.chain("ValidationParams"))?;
    if bytes.is_empty() {
        return Ok((params, None));
    }
    let extension =
        ValidationParamsExtension::decode(&mut bytes).map_err(|e| e.chain("ValidationParams extension (version 3)"))?;
    if !bytes.is_empty() {
        return Err(Error::from("ValidationParams: bytes left over at the end"));
    }
    Ok((params, Some(extension)))
}

/// A message to another parachain.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct HorizontalMessage {
    /// The receiving parachain's id.
    pub recipient: u32,
    /// The message.
    #[serde(with = "serde_bytes")]
    pub data: Vec<u8>,
}

/// What `validate_block` returns for a valid candidate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValidationResult {
    /// The new head data.
    #[serde(with = "serde_bytes")]
    pub head_data: Vec<u8>,
    /// New validation code of the parachain, if the candidate announces an upgrade.
    pub new_validation_code: Option<serde_bytes::ByteBuf>,
    /// Messages to the relay chain.
    pub upward_messages: Vec<serde_bytes::ByteBuf>,
    /// Messages to other parachains.
    pub horizontal_messages: Vec<HorizontalMessage>,
    /// Number of downward messages that were processed.
    pub processed_downward_messages: u32,
    /// Relay-chain block up to which inbound horizontal messages were processed.
    pub hrmp_watermark: u32,
}

impl Encode for ValidationResult {
    fn encode_to<T: Output + ?Sized>(&self, dest: &mut T) {
        self.head_data.encode_to(dest);
        self.new_validation_code.as_ref().map(|c| c.as_slice()).encode_to(dest);
        Compact(self.upward_messages.len() as u32).encode_to(dest);
        for message in &self.upward_messages {
            message.as_slice().encode_to(dest);
        }
        self.horizontal_messages.encode_to(dest);
        self.processed_downward_messages.encode_to(dest);
        self.hrmp_watermark.encode_to(dest);
    }
}

/// Reads a sequence. A count over `max` is refused before any element is read or allocated.
fn bounded<I: Input, T>(
    input: &mut I,
    max: usize,
    what: &'static str,
    read: impl Fn(&mut I) -> Result<T, Error>,
) -> Result<Vec<T>, Error> {
    let count = Compact::<u32>::decode(input)?.0 as usize;
    if count > max {
        return Err(Error::from(what));
    }
    (0..count).map(|_| read(input)).collect()
}

impl Decode for ValidationResult {
    fn decode<I: Input>(input: &mut I) -> Result<Self, Error> {
        Ok(Self {
            head_data: Vec::decode(input)?,
            new_validation_code: Option::<Vec<u8>>::decode(input)?.map(Into::into),
            upward_messages: bounded(input, MAX_UPWARD_MESSAGES, "more than 16384 upward messages", |i| {
                Vec::<u8>::decode(i).map(Into::into)
            })?,
            horizontal_messages: bounded(
                input,
                MAX_HORIZONTAL_MESSAGES,
                "more than 16384 horizontal messages",
                HorizontalMessage::decode,
            )?,
            processed_downward_messages: u32::decode(input)?,
            hrmp_watermark: u32::decode(input)?,
        })
    }
}

/// The first bytes of block data, or of a code, that is compressed with zstd.
pub const COMPRESSED_PREFIX: [u8; 8] = [0x52, 0xbc, 0x53, 0x76, 0x46, 0xdb, 0x8e, 0x05];

/// Form of the block data of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BlockDataForm {
    /// A PoV as received from the network. The job decompresses it if it has the compression prefix.
    MaybeCompressed,
    /// The bytes for `validate_block` as they are, even if they begin with the compression prefix.
    Decompressed,
}

/// Everything that the validation of a candidate needs besides the block data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CandidateContext {
    /// Head data of the parent.
    pub parent_head: Bytes,
    /// Number of the relay parent.
    pub relay_parent_number: u32,
    /// Storage root of the relay parent.
    pub relay_parent_storage_root: StorageRoot,
    /// Extension for candidate descriptors of version 3.
    pub extension: Option<ValidationParamsExtension>,
    /// Form of the block data.
    pub block_data_form: BlockDataForm,
}

impl CandidateContext {
    /// The bytes for the guest, given the decompressed block data.
    pub fn encode_with(&self, block_data: Vec<u8>) -> Vec<u8> {
        let params = ValidationParams {
            parent_head: self.parent_head.to_vec(),
            block_data,
            relay_parent_number: self.relay_parent_number,
            relay_parent_storage_root: self.relay_parent_storage_root.0,
        };
        encode_params(&params, self.extension.as_ref())
    }

    /// The bytes for the guest before and after the encoded block data.
    pub fn around_block_data(&self) -> (Vec<u8>, Vec<u8>) {
        let before = self.parent_head[..].encode();
        let mut behind = self.encode_with(Vec::new());
        // An empty block is encoded as its length, one byte.
        behind.drain(..before.len() + 1);
        (before, behind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result() -> ValidationResult {
        ValidationResult {
            head_data: vec![1, 2],
            new_validation_code: Some(vec![3].into()),
            upward_messages: vec![vec![4].into(), vec![].into()],
            horizontal_messages: vec![HorizontalMessage { recipient: 2000, data: vec![5] }],
            processed_downward_messages: 6,
            hrmp_watermark: 7,
        }
    }

    #[test]
    fn golden_encoding_of_params() {
        let params = ValidationParams {
            parent_head: vec![1],
            block_data: vec![2, 3],
            relay_parent_number: 4,
            relay_parent_storage_root: [5; 32],
        };
        let root = "05".repeat(32);
        assert_eq!(hex::encode(encode_params(&params, None)), format!("0401080203{}{root}", "04000000"));
        let v3 = ValidationParamsExtension::V3 { relay_parent: [6; 32], scheduling_parent: [7; 32] };
        let bytes = encode_params(&params, Some(&v3));
        assert_eq!(hex::encode(&bytes), format!("040108020304000000{root}03{}{}", "06".repeat(32), "07".repeat(32)));
        assert_eq!(decode_params(&bytes).unwrap(), (params, Some(v3)));
    }

    #[test]
    fn the_parts_around_the_block_data_complete_the_encoding() {
        for extension in
            [None, Some(ValidationParamsExtension::V3 { relay_parent: [6; 32], scheduling_parent: [7; 32] })]
        {
            let context = CandidateContext {
                parent_head: vec![1; 70].into(),
                relay_parent_number: 4,
                relay_parent_storage_root: StorageRoot([5; 32]),
                extension,
                block_data_form: BlockDataForm::Decompressed,
            };
            let (mut bytes, behind) = context.around_block_data();
            bytes.extend(vec![9_u8; 20_000].encode());
            bytes.extend(behind);
            assert_eq!(bytes, context.encode_with(vec![9; 20_000]));
        }
    }

    #[test]
    fn params_with_trailing_or_missing_bytes_are_refused() {
        let params = ValidationParams {
            parent_head: vec![],
            block_data: vec![],
            relay_parent_number: 0,
            relay_parent_storage_root: [0; 32],
        };
        let mut bytes = params.encode();
        assert!(decode_params(&bytes[..bytes.len() - 1]).is_err());
        bytes.push(2);
        assert!(decode_params(&bytes).unwrap_err().to_string().contains("extension"));
        *bytes.last_mut().unwrap() = 3;
        bytes.extend([0; 65]);
        assert!(decode_params(&bytes).is_err());
    }

    #[test]
    fn golden_encoding_of_a_result() {
        let encoded = result().encode();
        assert_eq!(hex::encode(&encoded), "080102010403080404000 4d00700000405 06000000 07000000".replace(' ', ""));
        assert_eq!(ValidationResult::decode(&mut &encoded[..]).unwrap(), result());
    }

    #[test]
    fn message_counts_are_bounded() {
        let with = |n: u32| {
            let mut out = vec![0, 0];
            Compact(n).encode_to(&mut out);
            out.extend(std::iter::repeat_n(0, n as usize));
            out.extend([0; 9]);
            ValidationResult::decode(&mut &out[..])
        };
        assert_eq!(with(16_384).unwrap().upward_messages.len(), 16_384);
        assert!(with(16_385).is_err());
    }
}
