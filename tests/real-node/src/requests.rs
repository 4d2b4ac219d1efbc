//! The node's own types from commands.

use crate::commands::{Execute, Pvf};
use codec::{Decode, Encode as _};
use polkadot_node_core_pvf::{PrepareJobKind, PvfPrepData};
use polkadot_node_core_pvf_common::execute::ValidationContext;
use polkadot_node_primitives::PoV;
use polkadot_node_subsystem::messages::PvfExecKind;
use polkadot_parachain_primitives::primitives::BlockData;
use polkadot_primitives::{CandidateReceiptV2, ExecutorParams, Hash, PersistedValidationData};
use std::{sync::Arc, time::Duration};

/// The limit of a decompressed code that the relay chain's default configuration gives.
const CODE_BOMB_LIMIT: u32 = 30 << 20;
/// A relay parent, and a scheduling parent.
const PARENTS: [[u8; 32]; 2] = [[0x11; 32], [0x22; 32]];

fn read(path: &std::path::Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()))
}

fn from_hex(what: &str, text: &str) -> Result<Vec<u8>, String> {
    hex::decode(text.trim_start_matches("0x")).map_err(|e| format!("{what}: {e}"))
}

fn params(pvf: &Pvf) -> Result<ExecutorParams, String> {
    let bytes = from_hex("params", &pvf.params)?;
    ExecutorParams::decode(&mut &bytes[..]).map_err(|e| format!("params: {e}"))
}

/// A code for a preparation.
pub fn pvf(pvf: &Pvf, kind: PrepareJobKind) -> Result<PvfPrepData, String> {
    let timeout = Duration::from_millis(pvf.prepare_timeout_ms);
    Ok(PvfPrepData::from_code(read(&pvf.code)?, params(pvf)?, timeout, kind, CODE_BOMB_LIMIT))
}

/// A receipt whose descriptor has no more in it than a PVF host looks at.
fn receipt(v3: bool) -> Result<CandidateReceiptV2, String> {
    let [relay_parent, scheduling_parent] = PARENTS;
    let zeros = [0_u8; 32];
    let scheduling = if v3 { scheduling_parent } else { zeros };
    let mut bytes = Vec::new();
    2000_u32.encode_to(&mut bytes);
    bytes.extend(relay_parent);
    // Version, core, session, offset of the scheduling session, and reserved bytes.
    bytes.extend([u8::from(v3), 0, 0, 1, 0, 0, 0, 0]);
    bytes.extend([0; 24]);
    // Hashes of the validation data, the PoV and the erasure coding.
    bytes.extend([zeros; 3].concat());
    bytes.extend(scheduling);
    // Reserved bytes; hashes of the head and of the code; that of the commitments.
    bytes.extend([zeros; 4].concat());
    CandidateReceiptV2::decode(&mut &bytes[..]).map_err(|e| format!("receipt: {e}"))
}

/// A candidate for a validation.
pub fn candidate(execute: &Execute) -> Result<(PvfPrepData, ValidationContext, PvfExecKind), String> {
    let root = from_hex("relay_parent_storage_root", &execute.relay_parent_storage_root)?;
    let pvd = PersistedValidationData {
        parent_head: from_hex("parent_head", &execute.parent_head)?.into(),
        relay_parent_number: execute.relay_parent_number,
        relay_parent_storage_root: Hash::from_slice(&root),
        max_pov_size: 10 << 20,
    };
    let context = ValidationContext {
        candidate_receipt: receipt(execute.v3)?,
        pvd: Arc::new(pvd),
        pov: Arc::new(PoV { block_data: BlockData(read(&execute.block_data)?) }),
        executor_params: params(&execute.pvf)?,
        exec_timeout: Duration::from_millis(execute.timeout_ms),
        v3_seen: execute.v3,
    };
    let kind = match execute.kind.as_str() {
        "dispute" => PvfExecKind::Dispute,
        "approval" => PvfExecKind::Approval,
        "backing" => PvfExecKind::Backing(context.relay_parent()),
        other => return Err(format!("kind: {other:?} is none of dispute, approval, backing")),
    };
    Ok((pvf(&execute.pvf, PrepareJobKind::Compilation)?, context, kind))
}
