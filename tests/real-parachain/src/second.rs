//! Blocks of a second parachain, Westend's Asset Hub, with inherents only.

use crate::{
    chain::{Chain, Code, Valid},
    genesis::genesis,
    relay::Relay,
};
use asset_hub_westend_runtime::Runtime;
use codec::Encode;
use cumulus_primitives_core::{Instruction::ClearOrigin, ParaId, Xcm};
use serde_json::json;

/// The parachain of the preset.
const PARA: ParaId = ParaId::new(1000);
/// Number of descendants of the relay parent that the runtime asks for.
const DESCENDANTS: u32 = 1;

/// Authors the chain. `code` is the runtime as submitted to the relay chain.
pub fn blocks(code: &[u8]) -> Vec<Valid<Runtime>> {
    // Without the 26,000 accounts with stakes, which the preset has for tests of elections.
    let genesis = genesis::<Runtime>(code, json!({ "staking": { "devStakers": null } }));
    eprintln!("genesis of the second parachain: {:?}", genesis.1.state_root);
    let mut chain = Chain::new(genesis, Relay::new(PARA, DESCENDANTS), Code::Second);
    chain.block("second-first", "the first block of the second parachain", vec![]);
    chain.block("second-empty", "inherents only", vec![]);
    chain.relay.send_downward((5_u8, Xcm::<()>(vec![ClearOrigin])).encode());
    let result = chain.block("second-downward", "a message from the relay chain", vec![]);
    assert_eq!(result.processed_downward_messages, 1);
    chain.block("second-empty-again", "inherents only", vec![]);
    chain.made
}
