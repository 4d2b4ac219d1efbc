//! State and header of the parachain's block 0, from the runtime's own preset.

use crate::{Header, State, linked::Linked};
use serde_json::Value;
use sp_core::{H256, storage::well_known_keys};
use sp_genesis_builder::{LOCAL_TESTNET_RUNTIME_PRESET, PresetId};
use sp_runtime::traits::{BlakeTwo256, Hash, Header as _};
use sp_state_machine::BasicExternalities;

/// Merges `patch` into `base`, as chain specifications are patched (RFC 7396).
fn merge(base: &mut Value, patch: Value) {
    match (base, patch) {
        (Value::Object(base), Value::Object(patch)) => {
            for (key, value) in patch {
                merge(base.entry(key).or_insert(Value::Null), value);
            }
        }
        (base, patch) => *base = patch,
    }
}

fn preset<R: Linked>(id: Option<&str>) -> Value {
    let id: Option<PresetId> = id.map(Into::into);
    // A preset may read the storage: that before genesis is empty.
    let json = BasicExternalities::execute_with_storage(&mut Default::default(), || R::get_preset(&id));
    let json = json.expect("a preset that the runtime has");
    serde_json::from_slice(&json).expect("JSON")
}

/// State and header of block 0, from the preset with changes. There are two collators, Alice and Bob, so that the wrong
/// one can seal a block.
pub fn genesis<R: Linked>(code: &[u8], changes: Value) -> (State, Header) {
    let mut config = preset::<R>(None);
    merge(&mut config, preset::<R>(Some(LOCAL_TESTNET_RUNTIME_PRESET)));
    merge(&mut config, changes);
    let config = serde_json::to_vec(&config).expect("JSON");

    let mut storage = Default::default();
    BasicExternalities::execute_with_storage(&mut storage, || {
        R::build_state(config).expect("a complete configuration");
    });
    storage.top.insert(well_known_keys::CODE.to_vec(), code.to_vec());

    let version = R::state_version();
    let state = State::from((storage, version));
    let no_extrinsics = BlakeTwo256::ordered_trie_root(Vec::new(), version);
    let header = Header::new(0, no_extrinsics, *state.root(), H256::zero(), Default::default());
    (state, header)
}
