//! Builders of ids, candidates, jobs and messages. A test changes what it is about and leaves the rest:
//! `WorkerHello { slots: 2, ..hello() }`.

use pvf_proto::{
    Bytes,
    blob::BlobRef,
    candidate::{BlockDataForm, CandidateContext},
    host::HostIdentity,
    identity::{ClientId, UserName, WorkerId},
    ids::{ArtifactId, CodeHash, EngineId, FencingToken, RequestId, StorageRoot},
    job::{ExecuteJob, PrepareJob},
    keys::KeyFingerprint,
    params::{ExecutorParams, PvfExecKind, PvfPrepKind},
    priority::ExecuteKind,
    units::{DEFAULT_CODE_BOMB_LIMIT, POV_BOMB_LIMIT},
    wire::{ExecuteSubmission, FleetStatus, SPEAKS, SecurityStatus, Submission, Work, WorkerHello, WorkerKind},
};
use std::time::Duration;
use uuid::Uuid;

/// A request id, the same for the same number.
pub fn request_id(n: u64) -> RequestId {
    RequestId(Uuid::from_u128(n.into()))
}

/// A client's id, the same for the same number.
pub fn client_id(n: u64) -> ClientId {
    ClientId { user: UserName::default(), session: Uuid::from_u128(n.into()) }
}

/// A worker's id, the same for the same kind and number.
pub fn worker_id(kind: WorkerKind, n: u64) -> WorkerId {
    WorkerId { kind, user: UserName::default(), session: Uuid::from_u128(n.into()) }
}

/// An engine id.
pub fn engine(name: &str) -> EngineId {
    EngineId::parse(name).unwrap_or_else(|e| panic!("{name:?} is not an engine id: {e}"))
}

/// The artifact id of this code with these parameters.
pub fn artifact_id(code: &[u8], params: &ExecutorParams, engine: EngineId) -> ArtifactId {
    ArtifactId { code_hash: CodeHash::of(code), prep_hash: params.prep_hash(), engine }
}

/// A candidate on this parent, at relay block 7.
pub fn context(parent_head: impl Into<Bytes>) -> CandidateContext {
    CandidateContext {
        parent_head: parent_head.into(),
        relay_parent_number: 7,
        relay_parent_storage_root: StorageRoot([1; 32]),
        extension: None,
        block_data_form: BlockDataForm::MaybeCompressed,
    }
}

/// The registration of an idle worker with one slot and an empty cache.
pub fn hello() -> WorkerHello {
    WorkerHello {
        speaks: SPEAKS,
        slots: 1,
        engine: engine("wt36.0.20-x86_64-v3-0011223344556677"),
        host: "host".into(),
        identity: HostIdentity::default(),
        version: "test".into(),
        host_functions: "f".into(),
        cpu_baseline: "v3".into(),
        security: SecurityStatus::default(),
        holds: vec![],
        running: vec![],
        also_compiles_for: vec![],
        signs_with: Some(KeyFingerprint::Unsigned),
        trusts: vec![KeyFingerprint::Unsigned],
        held: vec![],
    }
}

/// The state of a fleet without workers and without work, of which the sandboxes are not known.
pub fn fleet_status() -> FleetStatus {
    FleetStatus {
        token: FencingToken(1),
        version: "test".into(),
        workers: vec![],
        prepare: (0, 0).into(),
        execute: (0, 0).into(),
        requests: 0,
        request_bytes: 0,
        clients: 0,
        prepare_queue: [0; 3],
        execute_queue: [0; 4],
        artifacts: 0,
        artifact_bytes: 0,
        prepared: 0,
        executed: 0,
        coalesced: 0,
        overloaded: 0,
        inconsistencies: 0,
        not_compiled_for: vec![],
        trusted_keys: vec![],
        sandboxes: None,
    }
}

/// A request for a code, with default parameters and 60 s to answer.
pub fn submission(id: RequestId, code: CodeHash, work: Work) -> Submission {
    Submission {
        id,
        speaks: SPEAKS,
        code,
        code_bomb_limit: DEFAULT_CODE_BOMB_LIMIT,
        executor_params: ExecutorParams::default(),
        prepare_timeout: None,
        answer_within: Duration::from_secs(60),
        work,
    }
}

/// An execution that may be coalesced with an identical one.
pub fn execution(kind: ExecuteKind, block_data: BlobRef) -> ExecuteSubmission {
    ExecuteSubmission {
        kind,
        context: context(&b"parent head"[..]),
        block_data,
        pov_bomb_limit: POV_BOMB_LIMIT,
        exec_timeout: None,
        relay_leaf: None,
        fresh: false,
    }
}

/// A preparation of this code on one thread, with the time limit of its parameters.
pub fn prepare_job(code: &[u8], params: ExecutorParams, engine: EngineId) -> PrepareJob {
    PrepareJob {
        artifact: artifact_id(code, &params, engine),
        cpu_limit: params.prep_timeout(PvfPrepKind::Prepare),
        executor_params: params,
        code_bomb_limit: DEFAULT_CODE_BOMB_LIMIT,
        precheck: false,
        threads: 1,
    }
}

/// An execution of this code with empty block data, with the backing time limit of its parameters.
pub fn execute_job(code: &[u8], params: ExecutorParams, engine: EngineId) -> ExecuteJob {
    ExecuteJob {
        artifact: artifact_id(code, &params, engine),
        digest: None,
        context: context(&b"parent head"[..]),
        block_data: BlobRef::Inline(Bytes::new()),
        cpu_limit: params.exec_timeout(PvfExecKind::Backing),
        executor_params: params,
        pov_bomb_limit: POV_BOMB_LIMIT,
    }
}
