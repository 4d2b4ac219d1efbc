//! The blocks of the first parachain: a chain from genesis. Each covers something that the others do not.

use crate::{
    chain::{self, Code, Content},
    expected::ValidationResult,
    extrinsics::{Signer, remark, send_upward, send_xcm, set_code, sudo, transfer},
    keys::Key,
    over_limits,
    relay::SIBLING,
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
use penpal_runtime::{Runtime, RuntimeCall, UNIT};
use sp_core::{Pair, ecdsa, ed25519};
use sp_keyring::Sr25519Keyring::{self, Alice};
use sp_runtime::{
    AccountId32,
    traits::{BlakeTwo256, Hash as _},
};

/// Number of transfers in the block with many of them.
const MANY: usize = 400;
/// Number of transfers in the block of the new code.
const AFTER_UPGRADE: usize = 60;

/// The chain, and the nonces of its accounts.
pub struct Chain {
    /// The chain.
    pub chain: chain::Chain<Runtime>,
    signer: Signer,
}

/// What was authored.
pub struct Blocks {
    /// The candidates within the limits of the relay chain.
    pub valid: Vec<chain::Valid>,
    /// Those beyond.
    pub over_limits: Vec<chain::Valid>,
    /// The code to which the chain upgrades, as in its request.
    pub next_code: Vec<u8>,
}

impl Chain {
    /// The next extrinsic of the key's account.
    pub fn sign(&mut self, key: &Key, call: RuntimeCall) -> penpal_runtime::UncheckedExtrinsic {
        self.signer.sign(key, call)
    }

    /// Authors one block with these calls of Alice.
    pub fn block(
        &mut self,
        name: &'static str,
        about: &'static str,
        calls: impl IntoIterator<Item = RuntimeCall>,
    ) -> &ValidationResult {
        let extrinsics = calls.into_iter().map(|call| self.signer.sign(&key(Alice), call)).collect();
        self.chain.block(name, about, extrinsics)
    }

    /// Authors two blocks in one PoV, with these calls of Alice.
    pub fn bundle(
        &mut self,
        name: &'static str,
        about: &'static str,
        calls: [Vec<RuntimeCall>; 2],
    ) -> &ValidationResult {
        let core = CoreInfo {
            selector: CoreSelector(0),
            claim_queue_offset: ClaimQueueOffset(1),
            number_of_cores: 1_u16.into(),
        };
        let contents = calls.into_iter().zip([false, true]).map(|(calls, is_last)| {
            let bundle = BlockBundleInfo { index: u8::from(is_last), is_last };
            Content {
                extrinsics: calls.into_iter().map(|call| self.signer.sign(&key(Alice), call)).collect(),
                digest: vec![core.to_digest_item(), bundle.to_digest_item()],
                peer: None,
            }
        });
        self.chain.pov(name, about, contents.collect())
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
    noise_from(0, length)
}

/// Incompressible bytes, others for each `start` that is at least `length` away.
pub fn noise_from(start: u64, length: usize) -> Vec<u8> {
    let blocks = start..start + length.div_ceil(32) as u64;
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
pub fn blocks(code: &[u8], chain: chain::Chain<Runtime>) -> Blocks {
    let signer = Signer::new(chain.header().hash());
    let mut chain = Chain { chain, signer };
    transactions(&mut chain);
    messages(&mut chain);
    two_blocks(&mut chain);
    let next_code = next_version(code);
    upgrade(&mut chain, &next_code);
    after_upgrade(&mut chain);
    let valid = std::mem::take(&mut chain.chain.made);
    over_limits::heavy(&mut chain);
    over_limits::large(&mut chain);
    Blocks { valid, over_limits: chain.chain.made, next_code }
}

/// `count` transfers, signed with sr25519 by twelve accounts.
fn transfers(chain: &mut Chain, name: &'static str, about: &'static str, count: usize) {
    let senders: Vec<Key> = Sr25519Keyring::well_known().map(key).collect();
    let transfers = (0..count).map(|n| chain.sign(&senders[n % senders.len()], transfer(account(n), UNIT))).collect();
    chain.chain.block(name, about, transfers);
}

fn transactions(chain: &mut Chain) {
    chain.block("empty", "inherents only", []);
    chain.block("transfer", "one signed transfer", [transfer(account(0), UNIT)]);
    transfers(chain, "transfers", "400 transfers, signed with sr25519 by twelve accounts", MANY);

    let ed25519 = Key::Ed25519(ed25519::Pair::from_string("//Ed", None).expect("a path"));
    let ecdsa = Key::Ecdsa(ecdsa::Pair::from_string("//Ec", None).expect("a path"));
    let fund = [&ed25519, &ecdsa].map(|k| transfer(k.account(), 100 * UNIT));
    chain.block("fund", "two transfers to accounts of other curves", fund);
    let transfers = (0..40).map(|n| chain.sign([&ed25519, &ecdsa][n % 2], transfer(account(n), UNIT))).collect();
    chain.chain.block("other-curves", "40 transfers, signed with ed25519 and ecdsa", transfers);

    let too_much = transfer(account(1), u128::MAX / 2);
    chain.block("failing-call", "a transfer of more than there is: in the block, with an error event", [too_much]);
    chain.block("remark", "a remark of 1 MiB that does not compress", [remark(noise(1024 * 1024))]);
}

fn messages(chain: &mut Chain) {
    let up = [send_xcm(Location::parent(), Xcm(vec![ClearOrigin])), send_upward(noise(1_000)), send_upward(noise(10))];
    let result = chain.block("upward", "XCM and two plain messages to the relay chain", up.map(sudo));
    assert_eq!(result.upward_messages.len(), 3);

    let core =
        CoreInfo { selector: CoreSelector(1), claim_queue_offset: ClaimQueueOffset(0), number_of_cores: 2_u16.into() };
    let message = chain.sign(&key(Alice), sudo(send_upward(noise(10))));
    let content = Content {
        extrinsics: vec![message],
        digest: vec![core.to_digest_item()],
        peer: Some(b"a collator's peer id".to_vec()),
    };
    let result =
        chain.chain.pov("signals", "a message to the relay chain, then signals: core and collator", vec![content]);
    // One more than is sent here: after sending XCM, the runtime asks for the relay chain's XCM version.
    assert_eq!(result.upward_messages.len(), 1 + 1 + 3);

    chain.chain.relay.send_downward(versioned(&transact(remark(noise(100)))));
    chain.chain.relay.send_downward(versioned(&Xcm(vec![ClearOrigin])));
    chain.chain.relay.send_downward(b"not XCM".to_vec());
    let result = chain.block("downward", "three messages from the relay chain, of which one runs a call as root", []);
    assert_eq!(result.processed_downward_messages, 3);

    // The first byte is the format: XCMs.
    chain.chain.relay.send_horizontal([vec![0], versioned(&Xcm(vec![ClearOrigin]))].concat());
    chain.chain.relay.send_horizontal([vec![0], versioned(&transact(remark(noise(10))))].concat());
    chain.block("horizontal-in", "two messages from another parachain, which may not run calls", []);

    let out = [Location::new(1, [Parachain(SIBLING.into())]), Location::parent()];
    let out = out.map(|to| sudo(send_xcm(to, Xcm(vec![ClearOrigin]))));
    let result = chain.block("horizontal-out", "XCM to another parachain and to the relay chain", out);
    assert_eq!((result.horizontal_messages.len(), result.upward_messages.len()), (1, 1));
}

fn two_blocks(chain: &mut Chain) {
    let calls = [2_000, 2_001].map(|to| vec![transfer(account(to), UNIT), sudo(send_upward(noise(10)))]);
    let result = chain.bundle("two-blocks", "two blocks in one PoV, each with a transfer and a message", calls);
    assert_eq!(result.upward_messages.len(), 4);
}

fn upgrade(chain: &mut Chain, next_code: &[u8]) {
    let result = chain.block(
        "upgrade",
        "asks for new code: the same runtime with the next version, read by the host",
        [sudo(set_code(next_code.to_vec()))],
    );
    assert_eq!(result.new_validation_code.as_deref(), Some(next_code));

    chain.chain.relay.go_ahead = Some(UpgradeGoAhead::GoAhead);
    let result = chain.block("upgraded", "the relay chain agrees: the parachain's code is replaced in its state", []);
    assert_eq!(result.new_validation_code, None);
    chain.chain.code = Code::Next;
}

fn after_upgrade(chain: &mut Chain) {
    chain.block("after-upgrade", "inherents only, validated by the new code", []);
    let about = "60 transfers, validated by the new code";
    transfers(chain, "after-upgrade-transfers", about, AFTER_UPGRADE);
}
