//! The valid blocks: a chain from genesis. Each covers something that the others do not.

use crate::{
    Header, State,
    author::{Authored, Draft, author},
    expected::{Accumulated, ValidationResult},
    extrinsics::{Signer, remark, send_upward, send_xcm, set_code, sudo, transfer},
    keys::Key,
    pov::{Candidate, Layout},
    relay::{Relay, RelayParent, SIBLING},
    version::next_version,
};
use codec::Encode;
use cumulus_primitives_core::{
    BlockBundleInfo, ClaimQueueOffset, CoreInfo, CoreSelector,
    Instruction::{ClearOrigin, Transact, UnpaidExecution},
    Junction::Parachain,
    Location, OriginKind,
    WeightLimit::Unlimited,
    Xcm,
    relay_chain::UpgradeGoAhead,
};
use penpal_runtime::{RuntimeCall, UNIT, UncheckedExtrinsic};
use sp_core::{Pair, ecdsa, ed25519};
use sp_keyring::Sr25519Keyring::{self, Alice};
use sp_runtime::{
    AccountId32, DigestItem,
    traits::{BlakeTwo256, Hash as _, Header as _},
};
use sp_trie::StorageProof;

/// Number of transfers in the block with many of them.
const MANY: usize = 400;

/// A valid candidate.
pub struct Valid {
    /// Its name, and that of its files.
    pub name: &'static str,
    /// What is special about it.
    pub about: &'static str,
    /// The candidate.
    pub candidate: Candidate,
    /// The expected result of the validation.
    pub expected: ValidationResult,
    /// The parent's state.
    pub state: State,
    /// The relay parent.
    pub relay: RelayParent,
}

/// The contents of a block besides the inherents.
#[derive(Default)]
struct Content {
    extrinsics: Vec<UncheckedExtrinsic>,
    digest: Vec<DigestItem>,
    peer: Option<Vec<u8>>,
}

struct Chain {
    header: Header,
    state: State,
    relay: Relay,
    signer: Signer,
    made: Vec<Valid>,
}

impl Chain {
    fn sign(&mut self, key: &Key, call: RuntimeCall) -> UncheckedExtrinsic {
        self.signer.sign(key, call)
    }

    /// Authors blocks with the same relay parent, and combines them to one PoV.
    fn pov(&mut self, name: &'static str, about: &'static str, contents: Vec<Content>) -> &ValidationResult {
        eprintln!("block {}: {name}", self.header.number() + 1);
        let parent_head = self.header.encode();
        let relay = self.relay.next_parent(&parent_head);
        let (parent_root, parent_state) = (*self.header.state_root(), self.state.clone());
        let (mut blocks, mut proofs, mut result) = (Vec::new(), Vec::new(), Accumulated::default());
        for Content { extrinsics, digest, peer } in contents {
            let peer = peer.map(|id| id.try_into().expect("a short id"));
            let draft = Draft { relay: relay.clone(), known_head: parent_head.clone(), peer, digest, extrinsics };
            let authored = author(&self.header, &self.state, draft);
            authored.add_to(&mut result);
            let Authored { block, proof, state } = authored;
            (self.header, self.state) = (block.header.clone(), state);
            blocks.push(block);
            proofs.push(proof);
        }
        let candidate = Candidate {
            parent_head,
            parent_root,
            relay_parent_number: relay.number,
            relay_parent_storage_root: relay.storage_root,
            blocks,
            proof: StorageProof::merge(proofs),
            layout: Layout::V1,
        };
        let expected = result.finish();
        self.made.push(Valid { name, about, candidate, expected, state: parent_state, relay });
        &self.made.last().expect("just pushed").expected
    }

    fn block(
        &mut self,
        name: &'static str,
        about: &'static str,
        extrinsics: Vec<UncheckedExtrinsic>,
    ) -> &ValidationResult {
        self.pov(name, about, vec![Content { extrinsics, ..Content::default() }])
    }
}

fn key(who: Sr25519Keyring) -> Key {
    Key::Sr25519(who.pair())
}

/// An account whose key is not known.
fn account(number: usize) -> AccountId32 {
    BlakeTwo256::hash(&(number as u64).encode()).0.into()
}

/// Incompressible bytes.
fn noise(length: usize) -> Vec<u8> {
    let blocks = 0_u64..length.div_ceil(32) as u64;
    let mut bytes: Vec<u8> = blocks.flat_map(|n| BlakeTwo256::hash(&n.encode()).0).collect();
    bytes.truncate(length);
    bytes
}

/// A message in the form that parachains and the relay chain exchange: behind its version.
fn versioned(xcm: &Xcm<()>) -> Vec<u8> {
    (5_u8, xcm).encode()
}

/// A message that asks the recipient to run `call` as root.
fn transact(call: RuntimeCall) -> Xcm<()> {
    Xcm(vec![
        UnpaidExecution { weight_limit: Unlimited, check_origin: None },
        Transact { origin_kind: OriginKind::Superuser, fallback_max_weight: None, call: call.encode().into() },
    ])
}

/// Authors the chain. `code` is the runtime as submitted to the relay chain.
pub fn chain(code: &[u8], state: State, genesis: Header) -> Vec<Valid> {
    let signer = Signer::new(genesis.hash());
    let mut chain = Chain { header: genesis, state, relay: Relay::new(), signer, made: Vec::new() };
    transactions(&mut chain);
    messages(&mut chain);
    two_blocks(&mut chain);
    upgrade(&mut chain, code);
    chain.made
}

fn transactions(chain: &mut Chain) {
    chain.block("empty", "inherents only", vec![]);
    let one = chain.sign(&key(Alice), transfer(account(0), UNIT));
    chain.block("transfer", "one signed transfer", vec![one]);

    let senders: Vec<Key> = Sr25519Keyring::well_known().map(key).collect();
    let transfers = (0..MANY).map(|n| chain.sign(&senders[n % senders.len()], transfer(account(n), UNIT))).collect();
    chain.block("transfers", "400 transfers, signed with sr25519 by twelve accounts", transfers);

    let ed25519 = Key::Ed25519(ed25519::Pair::from_string("//Ed", None).expect("a path"));
    let ecdsa = Key::Ecdsa(ecdsa::Pair::from_string("//Ec", None).expect("a path"));
    let fund = [&ed25519, &ecdsa].map(|k| transfer(k.account(), 100 * UNIT));
    let fund = fund.map(|call| chain.sign(&key(Alice), call)).to_vec();
    chain.block("fund", "two transfers to accounts of other curves", fund);
    let transfers = (0..40).map(|n| chain.sign([&ed25519, &ecdsa][n % 2], transfer(account(n), UNIT))).collect();
    chain.block("other-curves", "40 transfers, signed with ed25519 and ecdsa", transfers);

    let too_much = chain.sign(&key(Alice), transfer(account(1), u128::MAX / 2));
    chain.block("failing-call", "a transfer of more than there is: in the block, with an error event", vec![too_much]);
    let big = chain.sign(&key(Alice), remark(noise(1024 * 1024)));
    chain.block("remark", "a remark of 1 MiB that does not compress", vec![big]);
}

fn messages(chain: &mut Chain) {
    let up = [send_xcm(Location::parent(), Xcm(vec![ClearOrigin])), send_upward(noise(1_000)), send_upward(noise(10))];
    let up = up.map(|call| chain.sign(&key(Alice), sudo(call))).to_vec();
    let result = chain.block("upward", "XCM and two plain messages to the relay chain", up);
    assert_eq!(result.upward_messages.len(), 3);

    let core =
        CoreInfo { selector: CoreSelector(1), claim_queue_offset: ClaimQueueOffset(0), number_of_cores: 2_u16.into() };
    let message = chain.sign(&key(Alice), sudo(send_upward(noise(10))));
    let content = Content {
        extrinsics: vec![message],
        digest: vec![core.to_digest_item()],
        peer: Some(b"a collator's peer id".to_vec()),
    };
    let result = chain.pov("signals", "a message to the relay chain, then signals: core and collator", vec![content]);
    // One more than is sent here: after sending XCM, the runtime asks for the relay chain's XCM version.
    assert_eq!(result.upward_messages.len(), 1 + 1 + 3);

    chain.relay.send_downward(versioned(&transact(remark(noise(100)))));
    chain.relay.send_downward(versioned(&Xcm(vec![ClearOrigin])));
    chain.relay.send_downward(b"not XCM".to_vec());
    let result =
        chain.block("downward", "three messages from the relay chain, of which one runs a call as root", vec![]);
    assert_eq!(result.processed_downward_messages, 3);

    // The first byte is the format: XCMs.
    chain.relay.send_horizontal([vec![0], versioned(&Xcm(vec![ClearOrigin]))].concat());
    chain.relay.send_horizontal([vec![0], versioned(&transact(remark(noise(10))))].concat());
    chain.block("horizontal-in", "two messages from another parachain, which may not run calls", vec![]);

    let out = [Location::new(1, [Parachain(SIBLING.into())]), Location::parent()];
    let out = out.map(|to| chain.sign(&key(Alice), sudo(send_xcm(to, Xcm(vec![ClearOrigin]))))).to_vec();
    let result = chain.block("horizontal-out", "XCM to another parachain and to the relay chain", out);
    assert_eq!((result.horizontal_messages.len(), result.upward_messages.len()), (1, 1));
}

fn two_blocks(chain: &mut Chain) {
    let core =
        CoreInfo { selector: CoreSelector(0), claim_queue_offset: ClaimQueueOffset(1), number_of_cores: 1_u16.into() };
    let contents = [false, true].map(|is_last| {
        let bundle = BlockBundleInfo { index: u8::from(is_last), is_last };
        let calls = [transfer(account(2_000 + usize::from(is_last)), UNIT), sudo(send_upward(noise(10)))];
        Content {
            extrinsics: calls.map(|call| chain.sign(&key(Alice), call)).to_vec(),
            digest: vec![core.to_digest_item(), bundle.to_digest_item()],
            peer: None,
        }
    });
    let result = chain.pov("two-blocks", "two blocks in one PoV, each with a transfer and a message", contents.into());
    assert_eq!(result.upward_messages.len(), 4);
}

fn upgrade(chain: &mut Chain, code: &[u8]) {
    let code = next_version(code);
    let call = chain.sign(&key(Alice), sudo(set_code(code.clone())));
    let result = chain.block(
        "upgrade",
        "asks for new code: the same runtime with the next version, read by the host",
        vec![call],
    );
    assert_eq!(result.new_validation_code.as_ref(), Some(&code));

    chain.relay.go_ahead = Some(UpgradeGoAhead::GoAhead);
    let result =
        chain.block("upgraded", "the relay chain agrees: the parachain's code is replaced in its state", vec![]);
    assert_eq!(result.new_validation_code, None);
}
