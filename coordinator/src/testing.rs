//! Fixtures of the unit tests: a real bus and a real store, both within this process.

use futures::StreamExt as _;
use pvf_shared::{
    Bytes,
    artifact::ArtifactDigest,
    blob::BlobRef,
    bus::{Bus as _, Message, Subscription, local::LocalBus},
    candidate::{BlockDataForm, CandidateContext},
    host::HostIdentity,
    identity::{ClientId, UserName, WorkerId},
    ids::{ArtifactId, BlobHash, CodeHash, EngineId, FencingToken, FleetName, JobId, RequestId, StorageRoot, Term},
    job::{AttemptEnd, ExecuteJob, ExecuteOutcome, JobOutcome, JobSpec, JobUsage},
    keys::KeyFingerprint,
    params::ExecutorParams,
    priority::ExecuteKind,
    store::{ArtifactKeys, BlobStore, seal::Compiled},
    subjects,
    wire::{
        self, Dispatch, ExecuteSubmission, JobReport, Opinion, SPEAKS, SecurityStatus, Submission, ToWorker,
        WireMessage, Work, WorkerHello, WorkerKind,
    },
};
use std::{future::Future, sync::Arc, time::Duration};

/// Ends a test that would hang.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

pub(crate) async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future).await.expect("the test hangs")
}

pub(crate) fn memory_store() -> BlobStore {
    BlobStore::open("memory://", ArtifactKeys::unsigned()).unwrap()
}

pub(crate) fn folder_store(folder: &tempfile::TempDir) -> BlobStore {
    BlobStore::open(folder.path().to_str().unwrap(), ArtifactKeys::unsigned()).unwrap()
}

/// The term of the only coordinator of a test.
pub(crate) fn term() -> Term {
    Term { token: FencingToken(7), id: uuid::Uuid::from_u128(7) }
}

pub(crate) fn fleet() -> FleetName {
    FleetName::default()
}

/// What a client or worker receives.
pub(crate) struct Inbox(Subscription);

impl Inbox {
    pub(crate) async fn of_worker(bus: &LocalBus, worker: &WorkerId) -> Self {
        Self(bus.subscribe(&subjects::worker_commands(&fleet(), worker)).await.unwrap())
    }

    pub(crate) async fn of_client(bus: &LocalBus, client: &ClientId) -> Self {
        Self(bus.subscribe(&subjects::client_verdicts(&fleet(), client)).await.unwrap())
    }

    pub(crate) async fn next<T: WireMessage>(&mut self) -> (T, Message) {
        let message = in_time(self.0.next()).await.expect("the bus is there");
        (wire::decode(&message.payload).unwrap(), message)
    }
}

pub(crate) async fn answer<T: WireMessage>(bus: &LocalBus, message: &Message, with: &T) {
    let to = message.reply.as_ref().expect("a request has a reply subject");
    bus.publish(to, wire::encode(with)).await.unwrap();
}

fn context() -> CandidateContext {
    CandidateContext {
        parent_head: Bytes::new(),
        relay_parent_number: 1,
        relay_parent_storage_root: StorageRoot([0; 32]),
        extension: None,
        block_data_form: BlockDataForm::MaybeCompressed,
    }
}

/// A client of the local bus.
pub(crate) fn new_client() -> ClientId {
    ClientId::new(UserName::default())
}

/// A worker of the local bus.
pub(crate) fn new_worker(kind: WorkerKind) -> WorkerId {
    WorkerId::new(kind, UserName::default())
}

/// A new submission: an execution of the code `b"code"`.
pub(crate) fn execution(block_data: &'static [u8]) -> Submission {
    let work = ExecuteSubmission {
        kind: ExecuteKind::Approval,
        context: context(),
        block_data: BlobRef::Inline(Bytes::from_static(block_data)),
        pov_bomb_limit: 1000,
        exec_timeout: None,
        relay_leaf: None,
        fresh: false,
    };
    Submission {
        id: RequestId::new(),
        speaks: SPEAKS,
        code: CodeHash::of(b"code"),
        code_bomb_limit: 1000,
        executor_params: ExecutorParams::default(),
        prepare_timeout: None,
        answer_within: Duration::from_secs(600),
        work: Work::Execute(Box::new(work)),
    }
}

/// The artifact of the code `b"code"` for the engine of [`hello`].
pub(crate) fn artifact() -> ArtifactId {
    let prep_hash = ExecutorParams::default().prep_hash();
    ArtifactId { code_hash: CodeHash::of(b"code"), prep_hash, engine: EngineId::parse("e").unwrap() }
}

/// An artifact's content.
pub(crate) fn compiled() -> Compiled {
    Compiled { code: Bytes::from_static(b"compiled"), has_start: false }
}

/// Two opinions that differ.
pub(crate) fn opinions() -> Vec<Opinion> {
    let of = |host: &str, end, reason: Option<&str>, result| Opinion {
        attempt: 1,
        worker: new_worker(WorkerKind::Execute),
        host: host.into(),
        engine: artifact().engine,
        host_functions: "f".into(),
        version: "v".into(),
        end,
        reason: reason.map(str::to_owned),
        result,
    };
    let valid = of("host1", AttemptEnd::Valid, None, Some(BlobHash::of(b"result")));
    vec![valid, of("host2", AttemptEnd::Invalid, Some("trap"), None)]
}

/// The registration of a worker with one slot.
pub(crate) fn hello() -> WorkerHello {
    WorkerHello {
        speaks: SPEAKS,
        slots: 1,
        engine: EngineId::parse("e").unwrap(),
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

pub(crate) fn dispatch(job: u64, block_data: Bytes) -> ToWorker {
    let spec = ExecuteJob {
        artifact: artifact(),
        digest: Some(ArtifactDigest([1; 32])),
        context: context(),
        block_data: BlobRef::Inline(block_data),
        executor_params: ExecutorParams::default(),
        cpu_limit: Duration::from_secs(2),
        pov_bomb_limit: 1000,
    };
    ToWorker::Dispatch(Box::new(Dispatch {
        token: FencingToken(7),
        job: JobId(job),
        attempt: 1,
        urgency: 0,
        request: None,
        spec: JobSpec::Execute(Box::new(spec)),
        holders: vec![],
        acknowledged: vec![],
        validation: None,
    }))
}

pub(crate) fn recall(job: u64) -> ToWorker {
    ToWorker::Recall { token: FencingToken(7), job: JobId(job), attempt: 1 }
}

pub(crate) fn cancel(job: u64) -> ToWorker {
    ToWorker::Cancel { token: FencingToken(7), job: JobId(job), attempt: 1 }
}

/// The report of an execution that found the candidate valid.
pub(crate) fn valid(dispatch: &Dispatch) -> JobReport {
    let result = BlobRef::Inline(Bytes::from_static(b"result"));
    JobReport {
        token: dispatch.token,
        job: dispatch.job,
        attempt: dispatch.attempt,
        outcome: JobOutcome::Execute(ExecuteOutcome::Valid(result)),
        usage: JobUsage { cpu: Duration::from_millis(20), wall: Duration::from_millis(30), ..JobUsage::default() },
    }
}

pub(crate) fn local_bus(max_payload: usize) -> Arc<LocalBus> {
    Arc::new(LocalBus::with_max_payload(max_payload))
}
