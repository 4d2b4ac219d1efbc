//! A model of the relay chain: a state with the entries that a collator proves, its root, and the pending messages to
//! the parachain.

use crate::keys::sign_sr25519;
use codec::Encode;
use cumulus_primitives_core::{
    AbridgedHostConfiguration, AbridgedHrmpChannel, InboundDownwardMessage, InboundHrmpMessage, ParaId,
    relay_chain::{self, AsyncBackingParams, HrmpChannelId, UpgradeGoAhead, well_known_keys as keys},
};
use cumulus_primitives_parachain_inherent::MessageQueueChain;
use sp_consensus_babe::digests::{CompatibleDigestItem, PreDigest, SecondaryPlainPreDigest};
use sp_core::H256;
use sp_keyring::Sr25519Keyring::Alice;
use sp_runtime::{
    Digest, DigestItem,
    traits::{BlakeTwo256, Header as _},
};
use sp_state_machine::{InMemoryBackend, prove_read};
use sp_trie::StorageProof;
use std::collections::BTreeMap;

/// Limit of a PoV's compressed size, bytes.
pub const MAX_POV_SIZE: u32 = relay_chain::MAX_POV_SIZE;
/// Another parachain, with a channel in each direction.
pub const SIBLING: ParaId = ParaId::new(2001);
/// Length of a relay chain slot, milliseconds.
pub const SLOT_MS: u64 = 6_000;
/// Number of relay chain slots in a parachain slot, which takes 24 s.
const SLOTS_A_BLOCK: u32 = 4;
/// The first relay parent's slot (in the year 2024) and number.
const FIRST: (u64, u32) = (284_000_000, 20_000_000);

/// The relay chain, which grows by one parachain slot at a time.
pub struct Relay {
    para: ParaId,
    descendants: u32,
    slot: u64,
    number: u32,
    downward_chain: MessageQueueChain,
    horizontal_chain: MessageQueueChain,
    downward: Vec<InboundDownwardMessage>,
    horizontal: Vec<InboundHrmpMessage>,
    /// The relay chain's signal about a pending upgrade, for the next relay parent only.
    pub go_ahead: Option<UpgradeGoAhead>,
}

/// The relay chain block on which a parachain block is built.
#[derive(Clone)]
pub struct RelayParent {
    /// Its slot.
    pub slot: u64,
    /// Its number.
    pub number: u32,
    /// Root of its state.
    pub storage_root: H256,
    /// Proof of the entries that the runtime reads in that state.
    pub proof: StorageProof,
    /// Messages from the relay chain that the parachain has not processed yet.
    pub downward: Vec<InboundDownwardMessage>,
    /// Messages from the sibling that the parachain has not processed yet.
    pub horizontal: Vec<InboundHrmpMessage>,
    /// Its header and those of its descendants; empty if the runtime asks for none.
    pub descendants: Vec<relay_chain::Header>,
}

impl Relay {
    /// The relay chain before the first relay parent. The runtime of `para` asks for this number of descendants of the
    /// relay parent.
    pub fn new(para: ParaId, descendants: u32) -> Self {
        Self {
            para,
            descendants,
            slot: FIRST.0,
            number: FIRST.1,
            downward_chain: MessageQueueChain::default(),
            horizontal_chain: MessageQueueChain::default(),
            downward: Vec::new(),
            horizontal: Vec::new(),
            go_ahead: None,
        }
    }

    /// Queues a message from the relay chain.
    pub fn send_downward(&mut self, msg: Vec<u8>) {
        let message = InboundDownwardMessage { sent_at: self.number + 1, msg };
        self.downward_chain.extend_downward(&message);
        self.downward.push(message);
    }

    /// Queues a message from the sibling. A relay chain block has at most one, so each message is sent one block later.
    pub fn send_horizontal(&mut self, data: Vec<u8>) {
        let sent_at = self.number + 1 + self.horizontal.len() as u32;
        let message = InboundHrmpMessage { sent_at, data };
        self.horizontal_chain.extend_hrmp(&message);
        self.horizontal.push(message);
    }

    /// The next relay parent, one parachain slot later. In its state, `para_head` is the parachain's included head.
    pub fn next_parent(&mut self, para_head: &[u8]) -> RelayParent {
        self.slot += u64::from(SLOTS_A_BLOCK);
        self.number += SLOTS_A_BLOCK;
        let (storage_root, proof) = self.state(para_head);
        self.go_ahead = None;
        RelayParent {
            slot: self.slot,
            number: self.number,
            storage_root,
            proof,
            downward: std::mem::take(&mut self.downward),
            horizontal: std::mem::take(&mut self.horizontal),
            descendants: self.headers(storage_root),
        }
    }

    /// The header of the relay parent with this storage root, and those of its descendants, one per slot.
    fn headers(&self, storage_root: H256) -> Vec<relay_chain::Header> {
        let count = if self.descendants == 0 { 0 } else { self.descendants + 1 };
        let mut parent = H256::repeat_byte(6);
        let mut headers = Vec::new();
        for later in 0..count {
            let root = if later == 0 { storage_root } else { H256::repeat_byte(7) };
            let header = sealed(self.number + later, self.slot + u64::from(later), root, parent);
            parent = header.hash();
            headers.push(header);
        }
        headers
    }

    fn state(&self, para_head: &[u8]) -> (H256, StorageProof) {
        let channel = |mqc_head: &MessageQueueChain| AbridgedHrmpChannel {
            max_capacity: 1_000,
            max_total_size: 102_400,
            max_message_size: 102_400,
            msg_count: 0,
            total_size: 0,
            mqc_head: Some(mqc_head.head()),
        };
        let (inbound, outbound) = (
            HrmpChannelId { sender: SIBLING, recipient: self.para },
            HrmpChannelId { sender: self.para, recipient: SIBLING },
        );
        let capacity = keys::relay_dispatch_queue_remaining_capacity(self.para).key.to_vec();
        let mut state = BTreeMap::from([
            (keys::ACTIVE_CONFIG.to_vec(), configuration().encode()),
            (keys::CURRENT_SLOT.to_vec(), self.slot.encode()),
            (keys::para_head(self.para), relay_chain::HeadData(para_head.to_vec()).encode()),
            (keys::dmq_mqc_head(self.para), self.downward_chain.head().encode()),
            (capacity, (174_762_u32, 1_048_576_u32).encode()),
            (keys::hrmp_ingress_channel_index(self.para), vec![SIBLING].encode()),
            (keys::hrmp_egress_channel_index(self.para), vec![SIBLING].encode()),
            (keys::hrmp_channels(inbound), channel(&self.horizontal_chain).encode()),
            (keys::hrmp_channels(outbound), channel(&MessageQueueChain::default()).encode()),
        ]);
        if let Some(signal) = self.go_ahead {
            state.insert(keys::upgrade_go_ahead_signal(self.para), signal.encode());
        }
        if self.descendants > 0 {
            let authorities = vec![(sp_consensus_babe::AuthorityId::from(Alice.public()), 1_u64)].encode();
            state.insert(keys::AUTHORITIES.to_vec(), authorities.clone());
            state.insert(keys::NEXT_AUTHORITIES.to_vec(), authorities);
        }
        // Entries that the runtime reads, also absent ones: the proof covers their absence.
        let mut read: Vec<Vec<u8>> = state.keys().cloned().collect();
        read.push(keys::upgrade_go_ahead_signal(self.para));
        read.push(keys::upgrade_restriction_signal(self.para));
        // Entries of other parachains, which make the trie deep enough for a partial proof.
        for other in 3000..3100 {
            state.insert(keys::para_head(other.into()), vec![other as u8; 200].encode());
            state.insert(keys::dmq_mqc_head(other.into()), H256::repeat_byte(other as u8).encode());
        }
        let backend = InMemoryBackend::<BlakeTwo256>::from((state, sp_core::storage::StateVersion::V1));
        let root = *backend.root();
        (root, prove_read(backend, read).expect("a trie in memory"))
    }
}

/// A header of the relay chain, sealed by its only BABE authority.
fn sealed(number: u32, slot: u64, state_root: H256, parent: H256) -> relay_chain::Header {
    let slot = SecondaryPlainPreDigest { authority_index: 0, slot: slot.into() };
    let digest = Digest { logs: vec![DigestItem::babe_pre_digest(PreDigest::SecondaryPlain(slot))] };
    let mut header = relay_chain::Header::new(number, H256::repeat_byte(8), state_root, parent, digest);
    let signature = sign_sr25519(&Alice.pair(), header.hash().as_bytes());
    header.digest.push(DigestItem::babe_seal(signature.into()));
    header
}

/// The limits of the real relay chains.
fn configuration() -> AbridgedHostConfiguration {
    AbridgedHostConfiguration {
        max_code_size: 5 * 1024 * 1024,
        max_head_data_size: 20_480,
        max_upward_queue_count: 174_762,
        max_upward_queue_size: 1_048_576,
        max_upward_message_size: 65_531,
        max_upward_message_num_per_candidate: 16,
        hrmp_max_message_num_per_candidate: 10,
        validation_upgrade_cooldown: 14_400,
        validation_upgrade_delay: 600,
        async_backing_params: AsyncBackingParams { max_candidate_depth: 3, allowed_ancestry_len: 2 },
    }
}
