//! Blocks with an error in header, seal or extrinsics.
//!
//! The seal is checked first. A case that must reach a later check is sealed again by the right collator; the other
//! cases show that the seal covers the changed part.

use crate::{
    author::{parachain_slot, seal},
    cases::{Case, Meant::Invalid},
    chain::Valid,
    pov::Candidate,
};
use codec::Encode;
use penpal_runtime::{RuntimeCall, UNIT, UncheckedExtrinsic, VERSION};
use sp_consensus_aura::{Slot, digests::CompatibleDigestItem, sr25519::AuthoritySignature};
use sp_core::{H256, sr25519};
use sp_runtime::{
    DigestItem, MultiSignature,
    generic::Preamble,
    traits::{BlakeTwo256, Hash},
};

fn flip(hash: &mut H256) {
    hash.0[17] ^= 0x10;
}

/// Updates the header's extrinsics root.
fn fit_root(candidate: &mut Candidate) {
    let encoded = candidate.extrinsics().iter().map(Encode::encode).collect();
    let root = BlakeTwo256::ordered_trie_root(encoded, VERSION.extrinsics_root_state_version());
    candidate.header().extrinsics_root = root;
}

fn signature(extrinsic: &mut UncheckedExtrinsic) -> &mut [u8] {
    match &mut extrinsic.0.preamble {
        Preamble::Signed(_, MultiSignature::Sr25519(signature), _) => signature.as_mut(),
        _ => panic!("not signed with sr25519"),
    }
}

fn is_seal(item: &DigestItem) -> bool {
    matches!(item, DigestItem::Seal(..))
}

/// Wrong headers with a valid seal, and some with the old one.
pub fn headers(of: &Valid) -> Vec<Case> {
    let key = of.collator(0);
    let sealed = |name: &str, about: &str, change: &dyn Fn(&mut Candidate)| {
        of.changed(name, about, Invalid, |candidate| {
            change(candidate);
            seal(candidate.header(), &key);
        })
    };
    let unsealed = |name: &str, about: &str, change: &dyn Fn(&mut Candidate)| of.changed(name, about, Invalid, change);
    vec![
        unsealed("state-root-unsealed", "a bit of the state root", &|c| flip(&mut c.header().state_root)),
        sealed("state-root", "a bit of the state root, sealed", &|c| flip(&mut c.header().state_root)),
        unsealed("extrinsics-root-unsealed", "a bit of the extrinsics root", &|c| {
            flip(&mut c.header().extrinsics_root)
        }),
        sealed("extrinsics-root", "a bit of the extrinsics root, sealed", &|c| flip(&mut c.header().extrinsics_root)),
        sealed("parent-hash", "a bit of the parent's hash, sealed", &|c| flip(&mut c.header().parent_hash)),
        sealed("number", "the next block's number, sealed", &|c| c.header().number += 1),
        sealed("digest-missing", "without the item that names the relay parent, sealed", &|c| {
            c.header().digest.logs.retain(|item| !matches!(item, DigestItem::Consensus(..)));
        }),
        sealed("digest-extra", "an item that the runtime does not make, sealed", &|c| {
            c.header().digest.logs.push(DigestItem::Other(vec![1]));
        }),
        sealed("digest-bit", "a bit of the item that names the relay parent, sealed", &|c| {
            for item in &mut c.header().digest.logs {
                if let DigestItem::Consensus(_, data) = item {
                    data[5] ^= 1;
                }
            }
        }),
    ]
}

/// Wrong seals.
pub fn seals(of: &Valid) -> Vec<Case> {
    let other = of.collator(1);
    let resealed = |candidate: &mut Candidate, key: &sr25519::Pair| seal(candidate.header(), key);
    let case = |name: &str, about: &str, change: &dyn Fn(&mut Candidate)| of.changed(name, about, Invalid, change);
    vec![
        case("seal-bit", "a bit of the seal", &|c| {
            for item in &mut c.header().digest.logs {
                if let DigestItem::Seal(_, data) = item {
                    data[40] ^= 2;
                }
            }
        }),
        case("seal-missing", "without a seal", &|c| c.header().digest.logs.retain(|item| !is_seal(item))),
        case("seal-twice", "the seal twice", &|c| {
            let logs = &mut c.header().digest.logs;
            let item = logs.iter().find(|item| is_seal(item)).expect("sealed").clone();
            logs.push(item);
        }),
        case("seal-of-another", "sealed by the collator whose turn it is not", &|c| resealed(c, &other)),
        case("slot-of-another", "another slot, sealed by the collator whose turn it is then", &|c| {
            let slot = Slot::from(parachain_slot(&of.relay) + 1);
            let item = <DigestItem as CompatibleDigestItem<AuthoritySignature>>::aura_pre_digest(slot);
            c.header().digest.logs[0] = item;
            resealed(c, &other);
        }),
    ]
}

/// Wrong extrinsics in the block with one transfer, under a matching and sealed header unless the case says otherwise.
pub fn extrinsics(of: &Valid) -> Vec<Case> {
    let key = of.collator(0);
    let fitting = |name: &str, about: &str, change: &dyn Fn(&mut Candidate)| {
        of.changed(name, about, Invalid, |candidate| {
            change(candidate);
            fit_root(candidate);
            seal(candidate.header(), &key);
        })
    };
    let plain = |name: &str, about: &str, change: &dyn Fn(&mut Candidate)| of.changed(name, about, Invalid, change);
    let last = |c: &mut Candidate| c.extrinsics().len() - 1;
    let of_pallet = |c: &mut Candidate, validation_data: bool| {
        let found = c.extrinsics().iter().position(|x| match x.0.function {
            RuntimeCall::ParachainSystem(_) => validation_data,
            RuntimeCall::Timestamp(_) => !validation_data,
            _ => false,
        });
        found.expect("every block has it")
    };
    vec![
        plain("extrinsic-bit", "a bit of the transfer's signature, the header as it was", &|c| {
            let last = last(c);
            signature(&mut c.extrinsics()[last])[20] ^= 4;
        }),
        fitting("signature-bit", "a bit of the transfer's signature", &|c| {
            let last = last(c);
            signature(&mut c.extrinsics()[last])[20] ^= 4;
        }),
        fitting("call-changed", "another amount under the same signature", &|c| {
            if let RuntimeCall::Balances(pallet_balances::Call::transfer_allow_death { value, .. }) =
                &mut c.extrinsics().last_mut().expect("the transfer").0.function
            {
                *value += UNIT;
            }
        }),
        plain("extrinsic-removed-plainly", "without the transfer, the header as it was", &|c| {
            c.extrinsics().pop();
        }),
        fitting("extrinsic-removed", "without the transfer", &|c| {
            c.extrinsics().pop();
        }),
        fitting("extrinsic-twice", "the transfer twice", &|c| {
            let again = c.extrinsics().last().expect("the transfer").clone();
            c.extrinsics().push(again);
        }),
        fitting("inherent-last", "the inherents behind the transfer", &|c| c.extrinsics().rotate_right(1)),
        fitting("no-timestamp", "without the timestamp", &|c| {
            let at = of_pallet(c, false);
            c.extrinsics().remove(at);
        }),
        fitting("no-validation-data", "without the validation data", &|c| {
            let at = of_pallet(c, true);
            c.extrinsics().remove(at);
        }),
        fitting("no-inherents", "without any inherent", &|c| {
            c.extrinsics().drain(..2);
        }),
        fitting("validation-data-twice", "the validation data twice", &|c| {
            let at = of_pallet(c, true);
            let again = c.extrinsics()[at].clone();
            c.extrinsics().insert(at, again);
        }),
        fitting("relay-proof-cut", "a relay chain state proof that lacks its root", &|c| {
            let at = of_pallet(c, true);
            let extrinsic = &mut c.extrinsics()[at].0;
            if let RuntimeCall::ParachainSystem(cumulus_pallet_parachain_system::Call::set_validation_data {
                data,
                ..
            }) = &mut extrinsic.function
            {
                let root = data.validation_data.relay_parent_storage_root;
                let nodes = std::mem::replace(&mut data.relay_chain_state, sp_trie::StorageProof::empty());
                data.relay_chain_state =
                    sp_trie::StorageProof::new(nodes.into_iter_nodes().filter(|node| BlakeTwo256::hash(node) != root));
            }
        }),
    ]
}

/// Errors that are found late, in the block with many transfers.
pub fn late(of: &Valid) -> Vec<Case> {
    let key = of.collator(0);
    vec![
        of.changed("state-root", "a bit of the state root, sealed", Invalid, |c| {
            flip(&mut c.header().state_root);
            seal(c.header(), &key);
        }),
        of.changed(
            "last-signature-bit",
            "a bit of the last transfer's signature, with a fitting header",
            Invalid,
            |c| {
                signature(c.extrinsics().last_mut().expect("a transfer"))[20] ^= 4;
                fit_root(c);
                seal(c.header(), &key);
            },
        ),
        of.changed(
            "two-swapped",
            "two transfers of one account in the wrong order, with a fitting header",
            Invalid,
            |c| {
                // The inherents, then each of the twelve accounts in turn.
                c.extrinsics().swap(2 + 100, 2 + 112);
                fit_root(c);
                seal(c.header(), &key);
            },
        ),
    ]
}

/// Wrong bundles of two blocks.
pub fn bundles(of: &Valid) -> Vec<Case> {
    let key = of.collator(0);
    let case = |name: &str, about: &str, change: &dyn Fn(&mut Candidate)| of.changed(name, about, Invalid, change);
    vec![
        case("second-state-root", "a bit of the second block's state root, sealed", &|c| {
            flip(&mut c.blocks[1].header.state_root);
            seal(&mut c.blocks[1].header, &key);
        }),
        case("first-only", "the first block alone, which says that another follows", &|c| c.blocks.truncate(1)),
        case("second-only", "the second block alone", &|c| {
            c.blocks.remove(0);
        }),
        case("swapped", "the blocks in the wrong order", &|c| c.blocks.swap(0, 1)),
        case("none", "no block", &|c| c.blocks.clear()),
    ]
}
