//! The ground truth about each code and each candidate: verdicts must agree with it, whatever fails.

use pvf_shared::{
    Bytes,
    blob::BlobRef,
    candidate::{BlockDataForm, CandidateContext},
    ids::{CodeHash, RelayHash, RequestId, StorageRoot},
    params::ExecutorParams,
    priority::ExecuteKind,
    wire::{ExecuteSubmission, SPEAKS, Submission, Work},
};
use std::time::Duration;

/// How preparing a code ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CodeTruth {
    Good,
    /// It cannot be prepared.
    Broken,
    /// Preparing it kills the worker.
    KillsPrepare,
    /// Preparing it times out.
    Slow,
    /// It is prepared, and cannot be linked.
    Unlinkable,
}

/// How executing a candidate ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CandidateTruth {
    Valid,
    Invalid,
    /// Executing it kills the job.
    KillsJob,
    /// Executing it kills the worker.
    KillsWorker,
}

/// Code number `n` of this run.
pub fn code(n: u8) -> CodeTruth {
    match n % 12 {
        7 => CodeTruth::Broken,
        9 => CodeTruth::KillsPrepare,
        10 => CodeTruth::Unlinkable,
        11 => CodeTruth::Slow,
        _ => CodeTruth::Good,
    }
}

/// Candidate number `n`.
pub fn candidate(n: u32) -> CandidateTruth {
    match n % 29 {
        5 | 11 => CandidateTruth::Invalid,
        17 => CandidateTruth::KillsJob,
        23 => CandidateTruth::KillsWorker,
        _ => CandidateTruth::Valid,
    }
}

pub fn code_hash(n: u8) -> CodeHash {
    CodeHash([n; 32])
}

pub fn number_of(code: CodeHash) -> u8 {
    code.0[0]
}

/// The candidate's number is its block data.
pub fn candidate_of(block_data: &BlobRef) -> u32 {
    match block_data {
        BlobRef::Inline(bytes) => u32::from_le_bytes(bytes[..4].try_into().expect("four bytes")),
        BlobRef::Held { .. } => panic!("the simulation sends its block data inline"),
    }
}

/// A submission of this run.
pub fn submission(id: RequestId, code: u8, answer_within: Duration, work: Work) -> Submission {
    Submission {
        id,
        speaks: SPEAKS,
        code: code_hash(code),
        code_bomb_limit: 1 << 20,
        executor_params: ExecutorParams::default(),
        prepare_timeout: None,
        answer_within,
        work,
    }
}

/// The execution of candidate `n`.
pub fn execution(kind: ExecuteKind, n: u32, relay_leaf: Option<u8>, fresh: bool) -> Work {
    Work::Execute(Box::new(ExecuteSubmission {
        kind,
        context: CandidateContext {
            parent_head: Bytes::from_static(b"parent"),
            relay_parent_number: 7,
            relay_parent_storage_root: StorageRoot([1; 32]),
            extension: None,
            block_data_form: BlockDataForm::MaybeCompressed,
        },
        block_data: BlobRef::Inline(Bytes::copy_from_slice(&n.to_le_bytes())),
        pov_bomb_limit: 1 << 20,
        exec_timeout: None,
        relay_leaf: relay_leaf.map(|leaf| RelayHash([leaf; 32])),
        fresh,
    }))
}
