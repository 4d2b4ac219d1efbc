//! Ids, messages, policies and small fleets that the tests use. Numbers name things: worker 2, request 1, code 1.

use super::env::Env;
use crate::Policy;
use pvf_proto::{
    Bytes,
    artifact::{ArtifactDigest, ArtifactInfo, StoredArtifact},
    blob::BlobRef,
    candidate::{BlockDataForm, CandidateContext},
    host::HostIdentity,
    identity::{ClientId, UserName, WorkerId},
    ids::{ArtifactId, BlobHash, CodeHash, EngineId, FencingToken, RelayHash, RequestId, StorageRoot},
    job::ExecuteOutcome,
    keys::KeyFingerprint,
    params::ExecutorParams,
    priority::ExecuteKind,
    verdict::{AmbiguousReason, InternalError, Outcome, WireOutcome},
    wire::{ExecuteSubmission, SPEAKS, SecurityStatus, Submission, Work, WorkerHello, WorkerKind},
};
use std::{cell::RefCell, collections::BTreeMap, sync::Arc, time::Duration};
use uuid::Uuid;

pub(super) const TOKEN: FencingToken = FencingToken(7);
/// The engine of all workers, unless a test says otherwise.
pub(super) const ENGINE: &str = "e";
/// How long clients wait for a verdict, unless a test says otherwise.
pub(super) const TEN_MINUTES: Duration = Duration::from_secs(600);

pub(super) fn request(n: u64) -> RequestId {
    format!("{n:032x}").parse().unwrap()
}

/// A client of a user of its own.
pub(super) fn client(n: u64) -> ClientId {
    session(&format!("user{n}"), n)
}

/// One of several clients of a user.
pub(super) fn session(user: &str, n: u64) -> ClientId {
    ClientId { user: UserName::parse(user).unwrap(), session: Uuid::from_u128(n.into()) }
}

thread_local! {
    /// What [`hello`] says of the kinds of workers. Each test has a thread of its own.
    static KINDS: RefCell<BTreeMap<u64, WorkerKind>> = RefCell::default();
}

/// An execute worker, unless [`hello`] says otherwise.
pub(super) fn worker(n: u64) -> WorkerId {
    let kind = KINDS.with_borrow(|kinds| kinds.get(&n).copied()).unwrap_or(WorkerKind::Execute);
    WorkerId { kind, user: UserName::default(), session: Uuid::from_u128(n.into()) }
}

pub(super) fn engine(name: &str) -> EngineId {
    EngineId::parse(name).unwrap()
}

/// The artifact of a code for the usual engine and the default parameters.
pub(super) fn artifact(code: u8) -> Arc<ArtifactId> {
    artifact_for(code, ENGINE)
}

pub(super) fn artifact_for(code: u8, engine_name: &str) -> Arc<ArtifactId> {
    let prep_hash = ExecutorParams::default().prep_hash();
    Arc::new(ArtifactId { code_hash: CodeHash([code; 32]), prep_hash, engine: engine(engine_name) })
}

/// What the store or a worker reports about an artifact; `n` tells two versions apart.
pub(super) fn info(n: u8) -> ArtifactInfo {
    ArtifactInfo { bytes: 1000, digest: ArtifactDigest([n; 32]) }
}

/// Registration of worker `n`, of this kind: one slot, on a machine of its own.
pub(super) fn hello(n: u64, kind: WorkerKind) -> WorkerHello {
    KINDS.with_borrow_mut(|kinds| kinds.insert(n, kind));
    WorkerHello {
        speaks: SPEAKS,
        slots: 1,
        engine: engine(ENGINE),
        host: format!("host{n}"),
        identity: HostIdentity::default(),
        version: "t".into(),
        host_functions: "f".into(),
        cpu_baseline: "v3".into(),
        security: SecurityStatus::default(),
        holds: vec![],
        running: vec![],
        also_compiles_for: vec![],
        signs_with: Some(KeyFingerprint::Unsigned),
        trusts: trusted_keys(),
        held: vec![],
    }
}

/// The keys of the fleet, which [`hello`] has.
pub(super) fn trusted_keys() -> Vec<KeyFingerprint> {
    vec![KeyFingerprint::Unsigned]
}

/// A submission of client 1 about the code `code`.
pub(super) fn submission(n: u64, code: u8, work: Work) -> Submission {
    Submission {
        id: request(n),
        speaks: SPEAKS,
        code: CodeHash([code; 32]),
        code_bomb_limit: 1000,
        executor_params: ExecutorParams::default(),
        prepare_timeout: None,
        answer_within: TEN_MINUTES,
        work,
    }
}

fn execution(kind: ExecuteKind) -> ExecuteSubmission {
    let context = CandidateContext {
        parent_head: Bytes::new(),
        relay_parent_number: 1,
        relay_parent_storage_root: StorageRoot([0; 32]),
        extension: None,
        block_data_form: BlockDataForm::MaybeCompressed,
    };
    ExecuteSubmission {
        kind,
        context,
        block_data: BlobRef::Inline(Bytes::from_static(b"pov")),
        pov_bomb_limit: 1000,
        exec_timeout: None,
        relay_leaf: None,
        fresh: true,
    }
}

/// A heads-up that is answered when a worker has the code.
pub(super) const HEADS_UP: Work = Work::HeadsUp { wait_prepared: false };

/// An execution that no other request joins.
pub(super) fn execute(kind: ExecuteKind) -> Work {
    Work::Execute(Box::new(execution(kind)))
}

/// An execution of candidate `n` that other requests may join.
pub(super) fn candidate(kind: ExecuteKind, n: u8) -> Work {
    let block_data = BlobRef::Inline(Bytes::copy_from_slice(&[n]));
    Work::Execute(Box::new(ExecuteSubmission { fresh: false, block_data, ..execution(kind) }))
}

/// An execution with a PoV of so many bytes in the message.
pub(super) fn with_pov(len: usize) -> Work {
    let block_data = BlobRef::Inline(Bytes::from(vec![0; len]));
    Work::Execute(Box::new(ExecuteSubmission { block_data, ..execution(ExecuteKind::Backing) }))
}

/// An execution of candidate `n`, whose PoV its clients hold.
pub(super) fn with_held_pov(n: u8) -> Work {
    let block_data = BlobRef::Held { hash: BlobHash([n; 32]), len: 100_000 };
    Work::Execute(Box::new(ExecuteSubmission { fresh: false, block_data, ..execution(ExecuteKind::Backing) }))
}

/// An execution that belongs to a relay-chain leaf.
pub(super) fn on_leaf(kind: ExecuteKind, leaf: u8) -> Work {
    Work::Execute(Box::new(ExecuteSubmission { relay_leaf: Some(RelayHash([leaf; 32])), ..execution(kind) }))
}

pub(super) fn valid() -> ExecuteOutcome {
    ExecuteOutcome::Valid(BlobRef::Inline(Bytes::from_static(b"r")))
}

pub(super) fn is_valid(outcome: &WireOutcome) -> bool {
    *outcome == Outcome::Valid(BlobRef::Inline(Bytes::from_static(b"r")))
}

/// A job process that was killed.
pub(super) fn job_death() -> AmbiguousReason {
    AmbiguousReason::JobDeath("signal 9".into())
}

/// An infrastructure failure of a worker.
pub(super) fn kernel_error() -> InternalError {
    InternalError::Kernel("emfile".into())
}

/// No job is staged, and no client counts as gone.
pub(super) fn unstaged() -> Policy {
    Policy { ahead: 0, ..staged() }
}

/// One job is staged for each slot, and no client counts as gone.
pub(super) fn staged() -> Policy {
    Policy { client_silence: Duration::from_secs(100_000), ..Policy::default() }
}

/// A prepare worker (1) and two execute workers (2, 3) of one slot, on three machines.
pub(super) fn small_fleet() -> Env {
    let mut env = Env::with(unstaged());
    env.worker(1, WorkerKind::Prepare, 1);
    env.worker(2, WorkerKind::Execute, 1);
    env.worker(3, WorkerKind::Execute, 1);
    env
}

/// A small fleet whose coordinator knows the artifact of code 1.
pub(super) fn warm_fleet() -> Env {
    let mut env = small_fleet();
    env.submit(99, 1, HEADS_UP);
    env.looked_up(1, Some(StoredArtifact::Prepared(info(1))));
    assert_eq!(env.verdict_of(99), Outcome::HeadsUpPrepared);
    env
}

/// One execute worker (2) of one slot whose coordinator is asked for request 1 and has found its artifact: the
/// returned job runs there.
pub(super) fn one_busy_worker(policy: Policy) -> (Env, super::env::Job) {
    let mut env = Env::with(policy);
    env.worker(2, WorkerKind::Execute, 1);
    env.submit(1, 1, execute(ExecuteKind::Backing));
    env.looked_up(1, Some(StoredArtifact::Prepared(info(1))));
    let job = env.dispatched();
    (env, job)
}
