//! The adder parachain seen from outside: its code, and what a collator needs to feed it.
//!
//! The state is one number. A block names the number it starts from and what it adds; a head commits
//! to the state by its hash. All hashes are BLAKE2b-256. The encodings here mirror the guest in
//! `adder/`, and golden bytes in the tests hold both to the same format.

use crate::encode::scale_bytes;

/// The compiled guest: uncompressed wasm, MVP only.
pub const ADDER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/adder.wasm"));

/// What the relay chain keeps of the chain; `number` blocks lead to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Height of the block.
    pub number: u64,
    /// Hash of the head before; zero at genesis.
    pub parent_hash: [u8; 32],
    /// Hash of the state after the block, see [`state_hash`].
    pub state_hash: [u8; 32],
}

impl Head {
    /// The head that everything starts from: number 0, state 0.
    pub fn genesis() -> Self {
        Self { number: 0, parent_hash: [0; 32], state_hash: state_hash(0) }
    }

    /// The SCALE encoding: 72 bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(72);
        out.extend_from_slice(&self.number.to_le_bytes());
        out.extend_from_slice(&self.parent_hash);
        out.extend_from_slice(&self.state_hash);
        out
    }

    /// Hash of the encoding.
    pub fn hash(&self) -> [u8; 32] {
        blake2_256(&self.encode())
    }

    /// The head that a valid `block` on top of this one leads to. Whether the block is valid, that is
    /// starts from the state this head commits to, is for the guest to say.
    pub fn next(&self, block: &Block) -> Self {
        Self {
            number: self.number.wrapping_add(1),
            parent_hash: self.hash(),
            state_hash: state_hash(block.next_state()),
        }
    }
}

/// One state transition: this is the block data (the PoV) of a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// The state before; must be what the parent head commits to.
    pub state: u64,
    /// What is added to it.
    pub increment: u64,
}

impl Block {
    /// The SCALE encoding: 16 bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(16);
        out.extend_from_slice(&self.state.to_le_bytes());
        out.extend_from_slice(&self.increment.to_le_bytes());
        out
    }

    /// The state after; the sum wraps around.
    pub fn next_state(&self) -> u64 {
        self.state.wrapping_add(self.increment)
    }
}

/// Hash of a state, as a head holds it.
pub fn state_hash(state: u64) -> [u8; 32] {
    blake2_256(&state.to_le_bytes())
}

/// SCALE encoding of `ValidationParams`, what a PVF is called with.
pub fn params(
    parent_head: &[u8],
    block_data: &[u8],
    relay_parent_number: u32,
    relay_parent_storage_root: [u8; 32],
) -> Vec<u8> {
    let mut out = Vec::with_capacity(parent_head.len() + block_data.len() + 44);
    scale_bytes(&mut out, parent_head);
    scale_bytes(&mut out, block_data);
    out.extend_from_slice(&relay_parent_number.to_le_bytes());
    out.extend_from_slice(&relay_parent_storage_root);
    out
}

/// SCALE encoding of a `ValidationResult` that moves the head and does nothing else: what the adder
/// returns for a good block.
pub fn result(head_data: &[u8], hrmp_watermark: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(head_data.len() + 16);
    scale_bytes(&mut out, head_data);
    // No new code, no upward and no horizontal messages, no downward messages processed.
    out.extend_from_slice(&[0; 3 + 4]);
    out.extend_from_slice(&hrmp_watermark.to_le_bytes());
    out
}

fn blake2_256(data: &[u8]) -> [u8; 32] {
    let hash = blake2b_simd::Params::new().hash_length(32).hash(data);
    let mut out = [0; 32];
    out.copy_from_slice(hash.as_bytes());
    out
}

#[cfg(test)]
mod tests {
    use wasm_instrument::parity_wasm::elements::{
        External, ImportCountType, ImportEntry, Internal, Module, deserialize_buffer,
    };

    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn the_guest_is_mvp_and_imports_functions_of_env_only() {
        // This parser knows nothing but the MVP.
        let module: Module = deserialize_buffer(ADDER).expect("the adder is wasm MVP");
        let imports = module.import_section().expect("it calls the host").entries();
        assert_eq!(module.import_count(ImportCountType::Function), imports.len());
        let mut names: Vec<_> = imports.iter().map(ImportEntry::field).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            [
                "ext_allocator_free_version_1",
                "ext_allocator_malloc_version_1",
                "ext_hashing_blake2_256_version_1",
                "ext_logging_log_version_1",
            ]
        );
        for import in imports {
            assert_eq!(import.module(), "env");
            assert!(matches!(import.external(), External::Function(_)));
        }
    }

    #[test]
    fn the_guest_exports_what_a_host_looks_for() {
        let module: Module = deserialize_buffer(ADDER).expect("the adder is wasm MVP");
        let exports = module.export_section().expect("it has exports").entries();
        let export = |name| exports.iter().find(|it| it.field() == name).map(|it| *it.internal());
        assert!(matches!(export("validate_block"), Some(Internal::Function(_))));
        assert!(matches!(export("memory"), Some(Internal::Memory(0))));
        assert!(matches!(export("__heap_base"), Some(Internal::Global(_))));
    }

    #[test]
    fn the_guest_names_no_place_of_this_machine() {
        let place = env!("CARGO_MANIFEST_DIR").as_bytes();
        assert!(!ADDER.windows(place.len()).any(|window| window == place));
    }

    // The hashes here were computed with another implementation of BLAKE2b (Python's).

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
        // The last one wraps around.
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
