//! The rules of the chain: the format of a head and of a block, and when a block is valid on a head.

use alloc::vec::Vec;

use crate::{host, scale};

/// Head data: what the relay chain stores of the parachain.
struct Head {
    number: u64,
    parent_hash: [u8; 32],
    state_hash: [u8; 32],
}

impl Head {
    fn decode(encoded: &[u8]) -> Self {
        let mut input = scale::Reader::new(encoded);
        let head = Self { number: input.u64(), parent_hash: input.array(), state_hash: input.array() };
        input.finish();
        head
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(72);
        out.extend_from_slice(&self.number.to_le_bytes());
        out.extend_from_slice(&self.parent_hash);
        out.extend_from_slice(&self.state_hash);
        out
    }
}

/// A state transition. The state it starts from is the whole proof of validity.
struct Block {
    state: u64,
    increment: u64,
}

impl Block {
    fn decode(encoded: &[u8]) -> Self {
        let mut input = scale::Reader::new(encoded);
        let block = Self { state: input.u64(), increment: input.u64() };
        input.finish();
        block
    }
}

/// Validates encoded `ValidationParams` to an encoded `ValidationResult`, or panics.
pub fn validate(params: &[u8]) -> Vec<u8> {
    let mut input = scale::Reader::new(params);
    let parent_head = input.bytes();
    let block_data = input.bytes();
    let relay_parent_number = input.u32();
    let _relay_parent_storage_root: [u8; 32] = input.array();
    // No `finish`: a newer host may append extensions to the parameters.

    let next = execute(parent_head, &Block::decode(block_data));
    result(&next, relay_parent_number)
}

/// The head after `block` on top of the encoded head `parent`.
fn execute(parent: &[u8], block: &Block) -> Head {
    let head = Head::decode(parent);
    assert!(host::hash(&block.state.to_le_bytes()) == head.state_hash, "wrong parent state");
    Head {
        number: head.number.wrapping_add(1),
        parent_hash: host::hash(parent),
        state_hash: host::hash(&block.state.wrapping_add(block.increment).to_le_bytes()),
    }
}

/// The encoded `ValidationResult` with new head data and nothing else.
fn result(head: &Head, relay_parent_number: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    scale::write_bytes(&mut out, &head.encode());
    out.push(0); // new_validation_code: None
    out.push(0); // upward_messages: empty
    out.push(0); // horizontal_messages: empty
    out.extend_from_slice(&0u32.to_le_bytes()); // processed_downward_messages
    out.extend_from_slice(&relay_parent_number.to_le_bytes()); // hrmp_watermark
    out
}
