//! A chain of valid candidates, of one parachain.

use crate::{
    Header, State,
    author::{Authored, Draft, author, collator, with_state},
    expected::{Accumulated, ValidationResult},
    linked::{BlockOf, ExtrinsicOf, Linked},
    pov::{Candidate, Layout},
    relay::{Relay, RelayParent},
};
use codec::Encode;
use serde::Serialize;
use sp_core::sr25519;
use sp_runtime::{
    DigestItem,
    traits::{Block as _, Header as _},
};
use sp_trie::StorageProof;

/// The code that validates a candidate.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Code {
    /// The code of genesis.
    Current,
    /// The code to which the chain upgrades.
    Next,
    /// The code of the second parachain.
    Second,
}

/// A valid candidate.
pub struct Valid<R: Linked = penpal_runtime::Runtime> {
    /// Its name, and that of its files.
    pub name: &'static str,
    /// What is special about it.
    pub about: &'static str,
    /// The candidate.
    pub candidate: Candidate<BlockOf<R>>,
    /// The expected result of the validation.
    pub expected: ValidationResult,
    /// The parent's state.
    pub state: State,
    /// The relay parent.
    pub relay: RelayParent,
    /// The code that validates it.
    pub code: Code,
}

impl<R: Linked> Valid<R> {
    /// The key of the collator that authors the parachain slot `later` slots after this one.
    pub fn collator(&self, later: u64) -> sr25519::Pair {
        collator::<R>(&self.state, &self.relay, later)
    }
}

/// The contents of a block besides the inherents.
pub struct Content<R: Linked> {
    /// The signed extrinsics.
    pub extrinsics: Vec<ExtrinsicOf<R>>,
    /// Digest items of the collator, besides the slot.
    pub digest: Vec<DigestItem>,
    /// The author's peer id.
    pub peer: Option<Vec<u8>>,
}

impl<R: Linked> Content<R> {
    /// Only extrinsics.
    pub fn new(extrinsics: Vec<ExtrinsicOf<R>>) -> Self {
        Self { extrinsics, digest: Vec::new(), peer: None }
    }
}

/// A parachain with its relay chain.
pub struct Chain<R: Linked> {
    header: Header,
    state: State,
    /// The relay chain.
    pub relay: Relay,
    /// The code that validates the next blocks.
    pub code: Code,
    /// The candidates up to now.
    pub made: Vec<Valid<R>>,
}

impl<R: Linked> Chain<R> {
    /// A chain without blocks behind genesis.
    pub fn new(genesis: (State, Header), relay: Relay, code: Code) -> Self {
        let (state, header) = genesis;
        Self { header, state, relay, code, made: Vec::new() }
    }

    /// The newest header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Runs `f` with the newest state as the runtime's storage.
    pub fn inspect<T>(&self, f: impl FnOnce() -> T) -> T {
        with_state(&self.state, &mut Default::default(), f)
    }

    /// Authors blocks with the same relay parent, and combines them to one PoV.
    pub fn pov(&mut self, name: &'static str, about: &'static str, contents: Vec<Content<R>>) -> &ValidationResult {
        eprintln!("block {}: {name}", self.header.number() + 1);
        let parent_head = self.header.encode();
        let relay = self.relay.next_parent(&parent_head);
        let (parent_root, parent_state) = (*self.header.state_root(), self.state.clone());
        let (mut blocks, mut proofs, mut result) = (Vec::new(), Vec::new(), Accumulated::default());
        for Content { extrinsics, digest, peer } in contents {
            let peer = peer.map(|id| id.try_into().expect("a short id"));
            let draft = Draft { relay: relay.clone(), known_head: parent_head.clone(), peer, digest, extrinsics };
            let authored = author::<R>(&self.header, &self.state, draft);
            authored.add_to(&mut result);
            let Authored { block, proof, state } = authored;
            (self.header, self.state) = (block.header().clone(), state);
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
        self.made.push(Valid { name, about, candidate, expected, state: parent_state, relay, code: self.code });
        &self.made.last().expect("just pushed").expected
    }

    /// Authors one block.
    pub fn block(
        &mut self,
        name: &'static str,
        about: &'static str,
        extrinsics: Vec<ExtrinsicOf<R>>,
    ) -> &ValidationResult {
        self.pov(name, about, vec![Content::new(extrinsics)])
    }
}
