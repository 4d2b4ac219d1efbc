//! The adder, the parachain of `pvf demo`: its validation code, and what a collator of it produces.
//!
//! The state is one number. A block names the number it starts from and what it adds; a head commits to the state
//! by its hash. All hashes are BLAKE2b-256.
//!
//! The source of the validation code is in `guest/`. Its compiled form [`ADDER`] is committed, so that a build of
//! `pvf` needs no wasm target. After a change of the source, or of the Rust version, compile it again:
//!
//! ```sh
//! PVF_BLESS=1 cargo test -p pvf-guests committed
//! ```

use parity_scale_codec::Encode as _;

/// The compiled validation code: uncompressed wasm, MVP only.
pub const ADDER: &[u8] = include_bytes!("../adder.wasm");

/// Head data: what the relay chain stores of the parachain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Height of the block.
    pub number: u64,
    /// Hash of the parent's head; zero at genesis.
    pub parent_hash: [u8; 32],
    /// Hash of the state after the block, see [`state_hash`].
    pub state_hash: [u8; 32],
}

impl Head {
    /// The first head: number 0, state 0.
    pub fn genesis() -> Self {
        Self { number: 0, parent_hash: [0; 32], state_hash: state_hash(0) }
    }

    /// The SCALE encoding: 72 bytes.
    pub fn encode(&self) -> Vec<u8> {
        (self.number, self.parent_hash, self.state_hash).encode()
    }

    /// Hash of the encoding.
    pub fn hash(&self) -> [u8; 32] {
        blake2_256(&self.encode())
    }

    /// The head after `block`. The block is not checked: whether it starts from the state that this head commits to
    /// is for the validation code to decide.
    pub fn next(&self, block: &Block) -> Self {
        Self {
            number: self.number.wrapping_add(1),
            parent_hash: self.hash(),
            state_hash: state_hash(block.next_state()),
        }
    }
}

/// One state transition: the block data of a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// The state before the block; valid only if the parent head commits to it.
    pub state: u64,
    /// What the block adds to the state.
    pub increment: u64,
}

impl Block {
    /// The SCALE encoding: 16 bytes.
    pub fn encode(&self) -> Vec<u8> {
        (self.state, self.increment).encode()
    }

    /// The state after the block; the sum wraps around.
    pub fn next_state(&self) -> u64 {
        self.state.wrapping_add(self.increment)
    }
}

/// Hash of a state, as a head contains it.
pub fn state_hash(state: u64) -> [u8; 32] {
    blake2_256(&state.to_le_bytes())
}

/// The SCALE encoding of `ValidationParams`, the argument of `validate_block`.
pub fn params(
    parent_head: &[u8],
    block_data: &[u8],
    relay_parent_number: u32,
    relay_parent_storage_root: [u8; 32],
) -> Vec<u8> {
    (parent_head, block_data, relay_parent_number, relay_parent_storage_root).encode()
}

/// The SCALE encoding of the `ValidationResult` that the adder returns for a valid block: new head data, and nothing
/// else.
pub fn result(head_data: &[u8], hrmp_watermark: u32) -> Vec<u8> {
    // No new code, no upward and no horizontal messages, no downward messages processed.
    (head_data, [0u8; 3], 0u32, hrmp_watermark).encode()
}

fn blake2_256(data: &[u8]) -> [u8; 32] {
    let hash = blake2b_simd::Params::new().hash_length(32).hash(data);
    let mut out = [0; 32];
    out.copy_from_slice(hash.as_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    // The hashes were computed with another implementation of BLAKE2b (Python's).

    #[test]
    fn genesis_has_golden_bytes() {
        let genesis = Head::genesis();
        let state_hash = "81e47a19e6b29b0a65b9591762ce5143ed30d0261e5d24a3201752506b20f15c";
        assert_eq!(hex(&genesis.encode()), format!("{}{state_hash}", "00".repeat(40)));
        assert!(hex(&genesis.hash()).starts_with("c82908ae514a671f7558e82fcc580a030dab4c20ee9e3f20"));
    }

    #[test]
    fn a_chain_of_blocks_has_a_golden_head() {
        let mut head = Head::genesis();
        let mut state = 0;
        // The last sum wraps around.
        for increment in [5, 512, u64::MAX - 9] {
            let block = Block { state, increment };
            head = head.next(&block);
            state = block.next_state();
        }
        assert_eq!(state, 507);
        assert_eq!(
            hex(&head.encode()),
            "030000000000000041fcb7dc5ccbdab005111aeb7ef9bf7871790933fe0a1c029ada5892618dc08c\
             c801dd64afc14432948f7d31c9950b438bf62eea86c57040f81a158dad0c7c21"
        );
    }

    #[test]
    fn a_block_has_golden_bytes() {
        let block = Block { state: 1, increment: 0x0203 };
        assert_eq!(hex(&block.encode()), "01000000000000000302000000000000");
    }

    #[test]
    fn params_and_result_have_golden_bytes() {
        let root = [0x11; 32];
        assert_eq!(
            hex(&params(&[0xaa; 72], &[0xbb; 2], 7, root)),
            format!("2101{}08bbbb07000000{}", "aa".repeat(72), "11".repeat(32))
        );
        assert_eq!(hex(&result(&[0xaa], 7)), "04aa0000000000000007000000");
    }
}
