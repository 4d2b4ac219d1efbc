//! Authors a block as a collator does: initialises it on the parent's state, applies inherents and extrinsics,
//! finalises it, seals it, and records the trie nodes that are read as the proof. The runtime is linked natively.

use crate::{
    Header, State,
    expected::Accumulated,
    keys::sign_sr25519,
    linked::{BlockOf, ExtrinsicOf, Linked},
    relay::{MAX_POV_SIZE, RelayParent},
    version::EmbeddedVersion,
};
use codec::Encode;
use cumulus_primitives_core::{PersistedValidationData, relay_chain::ApprovedPeerId};
use cumulus_primitives_parachain_inherent::{INHERENT_IDENTIFIER, ParachainInherentData};
use sp_consensus_aura::{Slot, digests::CompatibleDigestItem, sr25519::AuthoritySignature};
use sp_core::{sr25519, traits::ReadRuntimeVersionExt};
use sp_externalities::{Extensions, set_and_run_with_externalities};
use sp_inherents::InherentData;
use sp_keyring::Sr25519Keyring;
use sp_runtime::{
    DigestItem,
    traits::{BlakeTwo256, Block as _, Header as _},
};
use sp_state_machine::{Backend, Ext, OverlayedChanges, TrieBackendBuilder};
use sp_trie::{StorageProof, recorder::Recorder};

/// Number of relay chain slots (6 s) in a parachain slot (24 s).
const RELAY_SLOTS: u64 = 4;

/// The inputs of a block.
pub struct Draft<R: Linked> {
    /// The relay parent.
    pub relay: RelayParent,
    /// The parent head according to the relay chain: that of the first block in the PoV.
    pub known_head: Vec<u8>,
    /// The author's peer id, for the relay chain's reputation of it.
    pub peer: Option<ApprovedPeerId>,
    /// Digest items of the collator, besides the slot.
    pub digest: Vec<DigestItem>,
    /// The signed extrinsics.
    pub extrinsics: Vec<ExtrinsicOf<R>>,
}

/// A finished block.
pub struct Authored<R: Linked> {
    /// The block, sealed.
    pub block: BlockOf<R>,
    /// All trie nodes that authoring the block read.
    pub proof: StorageProof,
    /// The state after the block.
    pub state: State,
}

/// Runs `f` with `overlay` over `backend` as the runtime's storage.
pub fn with_state<R>(
    backend: &impl Backend<BlakeTwo256>,
    overlay: &mut OverlayedChanges<BlakeTwo256>,
    f: impl FnOnce() -> R,
) -> R {
    let mut extensions = Extensions::new();
    extensions.register(ReadRuntimeVersionExt::new(EmbeddedVersion));
    let mut ext = Ext::new(overlay, backend, Some(&mut extensions));
    set_and_run_with_externalities(&mut ext, f)
}

/// The parachain slot of a relay parent.
pub fn parachain_slot(relay: &RelayParent) -> u64 {
    relay.slot / RELAY_SLOTS
}

/// The key of the collator that authors the parachain slot `later` slots after this one.
pub fn collator<R: Linked>(state: &State, relay: &RelayParent, later: u64) -> sr25519::Pair {
    let authorities = with_state(state, &mut Default::default(), R::authorities);
    let turn = (parachain_slot(relay) + later) % authorities.len() as u64;
    let public: &sr25519::Public = authorities[turn as usize].as_ref();
    Sr25519Keyring::from_public(public).expect("one of the well-known keys").pair()
}

/// Replaces the seal of the header.
pub fn seal(header: &mut Header, collator: &sr25519::Pair) {
    header.digest_mut().logs.retain(|item| !matches!(item, DigestItem::Seal(..)));
    let signature = sign_sr25519(collator, header.hash().as_bytes());
    let item = <DigestItem as CompatibleDigestItem<AuthoritySignature>>::aura_seal(signature.into());
    header.digest_mut().push(item);
}

fn inherents<R: Linked>(draft: &Draft<R>) -> InherentData {
    let relay = &draft.relay;
    let data = ParachainInherentData {
        validation_data: PersistedValidationData {
            parent_head: draft.known_head.clone().into(),
            relay_parent_number: relay.number,
            relay_parent_storage_root: relay.storage_root,
            max_pov_size: MAX_POV_SIZE,
        },
        relay_chain_state: relay.proof.clone(),
        downward_messages: relay.downward.clone(),
        horizontal_messages: [(crate::relay::SIBLING, relay.horizontal.clone())].into(),
        relay_parent_descendants: relay.descendants.clone(),
        collator_peer_id: draft.peer.clone(),
    };
    let time = sp_timestamp::InherentType::new(relay.slot * crate::relay::SLOT_MS);
    let mut inherents = InherentData::new();
    inherents.put_data(INHERENT_IDENTIFIER, &data).expect("the first of its kind");
    inherents.put_data(sp_timestamp::INHERENT_IDENTIFIER, &time).expect("the first of its kind");
    inherents
}

/// Authors the block. Panics if the runtime rejects an input.
pub fn author<R: Linked>(parent: &Header, state: &State, draft: Draft<R>) -> Authored<R> {
    let recorder = Recorder::<BlakeTwo256>::default();
    let backend = TrieBackendBuilder::wrap(state).with_recorder(recorder.clone()).build();
    let mut overlay = OverlayedChanges::default();

    let slot = Slot::from(parachain_slot(&draft.relay));
    let slot = <DigestItem as CompatibleDigestItem<AuthoritySignature>>::aura_pre_digest(slot);
    let digest = sp_runtime::Digest { logs: [slot].into_iter().chain(draft.digest.iter().cloned()).collect() };
    let number = parent.number() + 1;
    let header = Header::new(number, Default::default(), Default::default(), parent.hash(), digest);

    let inherents = inherents(&draft);
    let (mut header, extrinsics) = with_state(&backend, &mut overlay, || {
        R::initialize(&header);
        let mut extrinsics = R::inherent_extrinsics(inherents);
        extrinsics.extend(draft.extrinsics);
        for (index, extrinsic) in extrinsics.iter().enumerate() {
            let outcome = R::apply_extrinsic(extrinsic.clone());
            outcome.unwrap_or_else(|e| panic!("extrinsic {index} of block {number}: {e:?}")).ok();
        }
        (R::finalize_block(), extrinsics)
    });
    seal(&mut header, &collator::<R>(state, &draft.relay, 0));

    let changes = overlay.drain_storage_changes(&backend, R::state_version()).expect("a trie in memory");
    assert_eq!(changes.transaction_storage_root, *header.state_root());
    drop(backend);
    let state = state.update_backend(changes.transaction_storage_root, changes.transaction);
    Authored { block: BlockOf::<R>::new(header, extrinsics), proof: recorder.drain_storage_proof(), state }
}

impl<R: Linked> Authored<R> {
    /// Adds the outputs of the block, which are in its state, to the expected result.
    pub fn add_to(&self, result: &mut Accumulated) {
        with_state(&self.state, &mut Default::default(), || result.add_block::<R>(self.block.header().encode()));
    }
}
