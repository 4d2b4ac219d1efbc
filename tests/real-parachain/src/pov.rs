//! Blocks and their proof in the form that a collator sends.

use crate::{Header, expected::ValidationParams};
use codec::Encode;
use cumulus_primitives_core::{ParachainBlockData, SchedulingProof, relay_chain};
use penpal_runtime::{Block, UncheckedExtrinsic};
use sp_core::H256;
use sp_maybe_compressed_blob::compress_weakly;
use sp_runtime::traits::{BlakeTwo256, Header as _};
use sp_trie::{CompactProof, StorageProof};

/// Limit of the compressor, bytes; larger than any PoV.
const POV_LIMIT: usize = 40 * 1024 * 1024;

/// The layouts of block data that `validate_block` reads.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// One block, and the proof.
    V0,
    /// Any number of blocks, and one proof.
    V1,
    /// As V1, and a scheduling proof, which this runtime decodes and ignores.
    V2,
}

/// The parts of a PoV, and the parameters of its validation.
#[derive(Clone)]
pub struct Candidate<B = Block> {
    /// Head data of the parent.
    pub parent_head: Vec<u8>,
    /// Root of the parent's state, to which the proof belongs.
    pub parent_root: H256,
    /// Number of the relay parent.
    pub relay_parent_number: u32,
    /// Storage root of the relay parent.
    pub relay_parent_storage_root: H256,
    /// The blocks.
    pub blocks: Vec<B>,
    /// Proof of the state that the blocks read.
    pub proof: StorageProof,
    /// The layout.
    pub layout: Layout,
}

impl<B: Clone + Encode> Candidate<B> {
    /// The proof in compact form, as it is sent.
    pub fn compact(&self) -> CompactProof {
        self.proof.to_compact_proof::<BlakeTwo256>(self.parent_root).expect("at least the root")
    }

    /// The argument of `validate_block`.
    pub fn params(&self) -> ValidationParams {
        self.params_with(block_data(self.layout, self.blocks.clone(), self.compact()))
    }

    /// The argument of `validate_block` with other block data.
    pub fn params_with(&self, block_data: Vec<u8>) -> ValidationParams {
        ValidationParams {
            parent_head: self.parent_head.clone(),
            block_data,
            relay_parent_number: self.relay_parent_number,
            relay_parent_storage_root: self.relay_parent_storage_root.0,
        }
    }
}

impl Candidate {
    /// The only block.
    pub fn block(&mut self) -> &mut Block {
        &mut self.blocks[0]
    }

    /// Its header.
    pub fn header(&mut self) -> &mut Header {
        &mut self.block().header
    }

    /// Its extrinsics.
    pub fn extrinsics(&mut self) -> &mut Vec<UncheckedExtrinsic> {
        &mut self.block().extrinsics
    }
}

/// Encodes block data.
pub fn block_data<B: Encode>(layout: Layout, mut blocks: Vec<B>, proof: CompactProof) -> Vec<u8> {
    match layout {
        Layout::V0 => ParachainBlockData::V0 { block: [blocks.remove(0)], proof },
        Layout::V1 => ParachainBlockData::V1 { blocks, proof },
        Layout::V2 => ParachainBlockData::V2 { blocks, proof, scheduling_proof: scheduling_proof() },
    }
    .encode()
}

fn scheduling_proof() -> SchedulingProof {
    let root = H256::repeat_byte(7);
    let header = |number| relay_chain::Header::new(number, root, root, root, Default::default());
    SchedulingProof {
        header_chain: vec![header(2)],
        internal_scheduling_parent_header: header(1),
        signed_scheduling_info: None,
    }
}

/// Compresses as a collator does.
pub fn compress(block_data: &[u8]) -> Vec<u8> {
    compress_weakly(block_data, POV_LIMIT).expect("below the limit")
}
