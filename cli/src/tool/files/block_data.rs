//! The block data of Cumulus' parachains, as far as it is of use here: how many blocks there are, the header of the
//! first one, and whether it was made for a candidate of version 3. Other parachains have other block data, of which
//! nothing is known.

use super::COMPRESSED;
use parity_scale_codec::{Compact, Decode, Input};
use pvf_shared::{ids::blake2b_256, units::POV_BOMB_LIMIT};

/// The first bytes of block data with a version.
const VERSIONED: &[u8] = b"VERSIONEDPBD";
/// Most items of a header's digest.
const MAX_DIGEST: u32 = 1024;

/// What is known of block data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BlockData {
    /// Number of blocks, if this is block data of Cumulus.
    pub(crate) blocks: Option<u32>,
    /// Whether it has a scheduling proof: it was made for a candidate descriptor of version 3.
    pub(crate) has_scheduling_proof: bool,
    /// The header of the first block.
    pub(crate) header: Option<Header>,
}

/// A block's header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    /// Its number.
    pub(crate) number: u32,
    /// Its encoding.
    pub(crate) encoded: Vec<u8>,
}

impl Header {
    /// The block's hash.
    pub(crate) fn hash(&self) -> [u8; 32] {
        blake2b_256(&[&self.encoded])
    }

    /// Reads a header that fills the bytes.
    pub(crate) fn of(bytes: &[u8]) -> Option<Self> {
        Self::read(bytes).filter(|header| header.encoded.len() == bytes.len())
    }

    /// Reads the header at the begin of the bytes.
    fn read(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        let input = &mut rest;
        let parent = <[u8; 32]>::decode(input).ok()?;
        let Compact(number) = Compact::<u32>::decode(input).ok()?;
        let roots = <[[u8; 32]; 2]>::decode(input).ok()?;
        // Other block data may begin with anything; often with zeros. Block 0 is in no PoV.
        if number == 0 || [parent, roots[0], roots[1]].contains(&[0; 32]) {
            return None;
        }
        let Compact(items) = Compact::<u32>::decode(input).ok()?;
        if items > MAX_DIGEST {
            return None;
        }
        for _ in 0..items {
            match input.read_byte().ok()? {
                // An item of another kind.
                0 => drop(Vec::<u8>::decode(input).ok()?),
                // A message of the consensus engine, a seal, or what the author knew before.
                4..=6 => drop(<([u8; 4], Vec<u8>)>::decode(input).ok()?),
                // The runtime was replaced.
                8 => {}
                _ => return None,
            }
        }
        Some(Self { number, encoded: bytes[..bytes.len() - rest.len()].to_vec() })
    }
}

impl BlockData {
    /// Reads block data, compressed or not; also gives it decompressed.
    ///
    /// # Errors
    /// It does not decompress within the limit that validators have.
    pub(crate) fn read(bytes: &[u8]) -> Result<(Self, Vec<u8>), String> {
        let bytes = match bytes.starts_with(&COMPRESSED) {
            true => sp_maybe_compressed_blob::decompress(bytes, POV_BOMB_LIMIT as usize)
                .map_err(|e| format!("the block data does not decompress to at most {POV_BOMB_LIMIT} bytes: {e}"))?
                .into_owned(),
            false => bytes.to_vec(),
        };
        let (blocks, version, header) = match bytes.strip_prefix(VERSIONED) {
            None => {
                let header = Header::read(&bytes);
                (header.as_ref().map(|_| 1), 0, header)
            }
            Some(mut rest) => {
                let version = rest.read_byte().unwrap_or(0);
                let blocks = Compact::<u32>::decode(&mut rest).ok().map(|Compact(count)| count);
                (blocks, version, Header::read(rest))
            }
        };
        // Since version 2.
        Ok((Self { blocks, has_scheduling_proof: version >= 2, header }, bytes))
    }
}

/// Whether decompressed block data has the relay chain's data about the parachain with this parent: every block of a
/// parachain of Cumulus brings it along. What is searched for is the parent's head, then number and storage root of the
/// relay parent.
pub(super) fn has_context(block_data: &[u8], parent_head: &[u8], number: u32, root: &[u8; 32]) -> bool {
    let wanted = [parent_head, &number.to_le_bytes(), root].concat();
    memchr::memmem::find(block_data, &wanted).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use parity_scale_codec::Encode as _;

    fn header(number: u32) -> Vec<u8> {
        let digest = [vec![6], (*b"aura", vec![1_u8; 8]).encode(), vec![5], (*b"aura", vec![2_u8; 64]).encode()];
        let items = Compact(2_u32).encode();
        [[1; 32].to_vec(), Compact(number).encode(), [2; 32].to_vec(), [3; 32].to_vec(), items, digest.concat()]
            .concat()
    }

    #[test]
    fn each_version_is_read() {
        let oldest = [header(7), b"extrinsics and proof".to_vec()].concat();
        let read = BlockData::read(&oldest).unwrap().0;
        assert_eq!((read.blocks, read.has_scheduling_proof), (Some(1), false));
        assert_eq!(read.header.as_ref().map(|of| (of.number, of.encoded.clone())), Some((7, header(7))));
        for (version, proof) in [(1, false), (2, true), (3, true)] {
            let bundle = [VERSIONED, &[version], &Compact(3_u32).encode(), &header(9)[..], b"rest"].concat();
            let compressed = sp_maybe_compressed_blob::compress_weakly(&bundle, 1 << 20).unwrap();
            for bytes in [&bundle, &compressed] {
                let read = BlockData::read(bytes).unwrap().0;
                assert_eq!((read.blocks, read.has_scheduling_proof), (Some(3), proof));
                assert_eq!(read.header.map(|of| of.number), Some(9));
            }
        }
    }

    #[test]
    fn other_block_data_says_nothing() {
        assert_eq!(BlockData::read(&[0; 5000]).unwrap().0.header, None);
        let read = BlockData::read(b"an adder's block").unwrap().0;
        assert_eq!((read.blocks, read.header), (None, None));
        assert!(BlockData::read(&[&COMPRESSED[..], b"no zstd"].concat()).unwrap_err().contains("does not decompress"));
        assert_eq!(Header::of(&[&header(7)[..], b"more"].concat()), None);
        assert_eq!(Header::of(&header(7)).map(|of| of.number), Some(7));
        for end in 0..header(7).len() {
            assert_eq!(Header::of(&header(7)[..end]), None);
        }
    }
}
