//! What a worker executable asks of the fleet for a request of the node.

use crate::{
    artifact::NodeArtifact,
    code_call::CodeCall,
    protocol::{DescriptorVersion, ExecuteRequest, PrepareJobKind, PrepareRequest},
};
use bytes::Bytes;
use pvf_shared::{
    candidate::{BlockDataForm, CandidateContext, ValidationParamsExtension},
    ids::{CodeHash, StorageRoot},
    params::{ExecutorParams, PvfExecKind},
    priority::ExecuteKind,
};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A code to prepare.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrepareCall {
    /// The code.
    pub code: CodeCall,
    /// CPU time limit.
    pub timeout: Duration,
    /// Whether it is pre-checked.
    pub precheck: bool,
    /// How long the caller waits for the answer.
    pub answer_within: Duration,
}

/// A candidate to execute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecuteCall {
    /// The code.
    pub code: CodeCall,
    /// The candidate without its block data.
    pub candidate: CandidateContext,
    /// Purpose, as far as the time limit tells it.
    pub kind: ExecuteKind,
    /// CPU time limit of the execution.
    pub timeout: Duration,
    /// The most CPU time that the node takes for one within its limit.
    pub node_timeout: Duration,
    /// How long the caller waits for the answer.
    pub answer_within: Duration,
    /// After this time the fallback begins, if there is one.
    pub fallback_after: Duration,
}

impl PrepareCall {
    /// The call of a request, and its code. It has no time for an answer yet.
    pub fn new(request: PrepareRequest) -> (Self, Bytes) {
        let code = CodeCall {
            hash: CodeHash(request.code_hash),
            bomb_limit: request.code_bomb_limit,
            executor_params: request.executor_params,
        };
        let precheck = request.kind == PrepareJobKind::Prechecking;
        (Self { code, timeout: request.timeout, precheck, answer_within: Duration::ZERO }, request.code)
    }
}

impl ExecuteCall {
    /// The call of a request for this artifact, and its block data. It has no time for an answer yet.
    pub fn new(request: ExecuteRequest, artifact: &NodeArtifact, executor_params: ExecutorParams) -> (Self, Bytes) {
        let extension = match request.descriptor_version {
            DescriptorVersion::V3 => Some(ValidationParamsExtension::V3 {
                relay_parent: request.relay_parent,
                scheduling_parent: request.scheduling_parent,
            }),
            DescriptorVersion::V1 | DescriptorVersion::V2 | DescriptorVersion::Unknown(_) => None,
        };
        let candidate = CandidateContext {
            parent_head: request.parent_head,
            relay_parent_number: request.relay_parent_number,
            relay_parent_storage_root: StorageRoot(request.relay_parent_storage_root),
            extension,
            block_data_form: BlockDataForm::MaybeCompressed,
        };
        let Purpose { kind, timeout } = Purpose::of(request.timeout, &executor_params);
        let code = CodeCall { executor_params, ..artifact.call.clone() };
        let call = Self {
            code,
            candidate,
            kind,
            timeout,
            node_timeout: request.timeout,
            answer_within: Duration::ZERO,
            fallback_after: Duration::ZERO,
        };
        (call, request.block_data)
    }
}

/// What an execution is for, as far as its time limit tells: the node says no more of it.
#[derive(Debug, PartialEq, Eq)]
struct Purpose {
    kind: ExecuteKind,
    /// CPU time limit of the execution.
    timeout: Duration,
}

impl Purpose {
    /// Approvals and disputes have the longer limit, and are told apart by nothing.
    ///
    /// A limit that is neither of the session's is that of a second attempt: a node gives an approval that had no result
    /// what is left of the limit by the wall clock. That time was the fleet's or the node's, not the candidate's, which
    /// has the whole limit here; the node's wall clock ends the wait for it as ever.
    fn of(timeout: Duration, params: &ExecutorParams) -> Self {
        let [backing, approval] = [PvfExecKind::Backing, PvfExecKind::Approval].map(|kind| params.exec_timeout(kind));
        if timeout == backing && backing != approval {
            return Self { kind: ExecuteKind::Backing, timeout };
        }
        Self { kind: ExecuteKind::Approval, timeout: timeout.max(approval) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pvf_shared::params::ExecutorParam::PvfExecTimeout;

    #[test]
    fn the_time_limit_tells_backing_from_approvals() {
        let live = ExecutorParams(vec![
            PvfExecTimeout(PvfExecKind::Backing, 2500),
            PvfExecTimeout(PvfExecKind::Approval, 15_000),
        ]);
        let equal = ExecutorParams(vec![
            PvfExecTimeout(PvfExecKind::Backing, 3000),
            PvfExecTimeout(PvfExecKind::Approval, 3000),
        ]);
        for (params, ms, kind, limit_ms) in [
            (&live, 2500, ExecuteKind::Backing, 2500),
            (&live, 15_000, ExecuteKind::Approval, 15_000),
            (&ExecutorParams::default(), 2000, ExecuteKind::Backing, 2000),
            (&ExecutorParams::default(), 12_000, ExecuteKind::Approval, 12_000),
            // Second attempts, with what was left of the time.
            (&live, 12_000, ExecuteKind::Approval, 15_000),
            (&live, 1, ExecuteKind::Approval, 15_000),
            (&ExecutorParams::default(), 2001, ExecuteKind::Approval, 12_000),
            (&ExecutorParams::default(), 1999, ExecuteKind::Approval, 12_000),
            (&ExecutorParams::default(), 20_000, ExecuteKind::Approval, 20_000),
            // The more urgent one where nothing tells them apart.
            (&equal, 3000, ExecuteKind::Approval, 3000),
        ] {
            let expected = Purpose { kind, timeout: Duration::from_millis(limit_ms) };
            assert_eq!(Purpose::of(Duration::from_millis(ms), params), expected, "{ms} ms");
        }
    }

    fn request(descriptor_version: DescriptorVersion) -> ExecuteRequest {
        ExecuteRequest {
            parent_head: Bytes::from_static(b"head"),
            relay_parent_number: 7,
            relay_parent_storage_root: [1; 32],
            max_pov_size: 10 << 20,
            block_data: Bytes::from_static(b"block"),
            timeout: Duration::from_secs(2),
            artifact_checksum: [2; 32],
            relay_parent: [3; 32],
            scheduling_parent: [4; 32],
            descriptor_version,
        }
    }

    #[test]
    fn only_version_3_has_the_extension() {
        let code = Bytes::from_static(b"code");
        let call = CodeCall { hash: CodeHash::of(&code), bomb_limit: 5, executor_params: ExecutorParams::default() };
        let artifact = NodeArtifact { call, code };
        let v3 = ValidationParamsExtension::V3 { relay_parent: [3; 32], scheduling_parent: [4; 32] };
        for (version, extension) in [
            (DescriptorVersion::V1, None),
            (DescriptorVersion::V2, None),
            (DescriptorVersion::V3, Some(v3)),
            (DescriptorVersion::Unknown(3), None),
        ] {
            let (call, block_data) = ExecuteCall::new(request(version), &artifact, ExecutorParams::default());
            assert_eq!(call.candidate.extension, extension);
            assert_eq!(block_data, &b"block"[..]);
            assert_eq!((call.code.hash, call.code.bomb_limit), (artifact.call.hash, 5));
        }
    }
}
