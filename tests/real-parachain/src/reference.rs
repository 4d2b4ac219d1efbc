//! The reference: a native `validate_block`, which determines each candidate's verdict independently of the host under
//! test. The original in `cumulus-pallet-parachain-system` is compiled for wasm only. The reference performs the same
//! steps with the same code of the runtime: decode, build the state from the proof, check the seal, execute the block,
//! compare the validation data.

use crate::{
    Header,
    author::with_state,
    expected::{Accumulated, ValidationParams, ValidationResult},
    linked::{BlockOf, Linked},
};
use codec::{Decode, Encode};
use cumulus_pallet_parachain_system::ValidationData;
use cumulus_primitives_core::{BlockT, CumulusDigestItem, ParachainBlockData};
use frame_support::traits::ExecuteBlock;
use sp_core::H256;
use sp_runtime::traits::{BlakeTwo256, Header as _, LazyBlock};
use sp_state_machine::{OverlayedChanges, TrieBackendBuilder};
use sp_trie::{EMPTY_PREFIX, HashDBT};
use std::{
    cell::RefCell,
    panic::{AssertUnwindSafe, catch_unwind},
};

type Lazy<R> = <BlockOf<R> as BlockT>::LazyBlock;

thread_local! {
    static PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Validates a candidate. An error is the message of the panic that ended the validation.
pub fn validate<R: Linked>(params: &ValidationParams) -> Result<ValidationResult, String> {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|info| {
        let message = info.payload_as_str().unwrap_or("a panic without a message");
        PANIC.with(|panic| *panic.borrow_mut() = message.into());
    }));
    let result = catch_unwind(AssertUnwindSafe(|| run::<R>(params)));
    std::panic::set_hook(hook);
    result.map_err(|_| PANIC.with(|panic| panic.take()))
}

fn check_chain<R: Linked>(blocks: &[Lazy<R>], parent: &Header) {
    assert!(!blocks.is_empty(), "BlockData should have at least one block");
    let mut parent = parent.hash();
    for (index, header) in blocks.iter().map(LazyBlock::header).enumerate() {
        assert_eq!(*header.parent_hash(), parent, "not a chain of blocks");
        match CumulusDigestItem::find_block_bundle_info(header.digest()) {
            Some(info) => {
                assert_eq!(usize::from(info.index), index, "index in the bundle");
                let last = CumulusDigestItem::is_last_block_in_core(header.digest()) == Some(true);
                assert_eq!(last, index + 1 == blocks.len(), "last in the bundle");
            }
            None => assert_eq!(blocks.len(), 1, "more than one block without bundle info"),
        }
        parent = header.hash();
    }
}

fn run<R: Linked>(params: &ValidationParams) -> ValidationResult {
    let data =
        ParachainBlockData::<Lazy<R>>::decode(&mut &params.block_data[..]).expect("Invalid parachain block data");
    let mut parent = Header::decode(&mut &params.parent_head[..]).expect("Invalid parent head");
    let (blocks, proof) = data.into_inner();
    check_chain::<R>(&blocks, &parent);
    let (mut db, _) = proof.to_memory_db::<BlakeTwo256>(parent.state_root()).expect("Compact proof decoding failure.");

    let count = blocks.len();
    let mut result = Accumulated::default();
    for (index, mut block) in blocks.into_iter().enumerate() {
        let backend = TrieBackendBuilder::<_, BlakeTwo256>::new(&db, *parent.state_root()).build();
        let mut overlay = OverlayedChanges::default();
        parent = block.header().clone();
        with_state(&backend, &mut Default::default(), || {
            R::Executor::verify_and_remove_seal(&mut block);
        });
        with_state(&backend, &mut overlay, || R::Executor::execute_verified_block(block));
        with_state(&backend, &mut overlay, || {
            let data = ValidationData::<R>::get().expect("set by the inherent");
            assert_eq!(params.parent_head, data.parent_head.0, "Parent head doesn't match");
            assert_eq!(params.relay_parent_number, data.relay_parent_number, "Relay parent number doesn't match");
            let root = H256(params.relay_parent_storage_root);
            assert_eq!(root, data.relay_parent_storage_root, "Relay parent storage root doesn't match");
            result.add_block::<R>(parent.encode());
        });
        if index + 1 < count {
            let mut changes = overlay.drain_storage_changes(&backend, R::state_version()).expect("a trie in memory");
            drop(backend);
            for (_, (node, references)) in changes.transaction.drain() {
                if references > 0 {
                    db.insert(EMPTY_PREFIX, &node);
                }
            }
        }
    }
    result.finish()
}
