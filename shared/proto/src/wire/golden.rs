//! Golden bytes of every message. A change of `golden.txt` is a change of the protocol and requires a new version.
//!
//! `golden.txt` has one line for each message: its name and its bytes in hex. `PVF_BLESS=1 cargo test -p pvf-proto`
//! rewrites it.

use super::*;
use crate::{
    artifact::*,
    blob::*,
    candidate::{BlockDataForm, CandidateContext, ValidationParamsExtension},
    host::HostIdentity,
    identity::{ClientId, UserName, WorkerId},
    ids::*,
    job::*,
    keys::KeyFingerprint,
    params::{ExecutorParam, ExecutorParams, PvfExecKind},
    priority::ExecuteKind,
    verdict::*,
};
use std::{collections::BTreeMap, fmt::Debug, time::Duration};
use uuid::Uuid;

mod compiling;
mod held;
mod operators;
mod opinions;
mod optional;
mod usage;

use usage::{execution_usage, preparation_usage, record, usage};

const GOLDEN: &str = include_str!("golden.txt");

/// Encoded messages in hex, by name.
#[derive(Default)]
pub(super) struct GoldenMessages(BTreeMap<String, String>);

impl GoldenMessages {
    pub(super) fn add<T: WireMessage + PartialEq + Debug>(&mut self, name: &str, message: &T) {
        let bytes = encode(message);
        assert_eq!(&decode::<T>(&bytes).unwrap(), message, "{name} does not round-trip");
        assert!(self.0.insert(name.into(), hex::encode(&bytes)).is_none(), "{name} is used twice");
    }
}

fn uuid(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

fn worker() -> WorkerId {
    WorkerId { kind: WorkerKind::Execute, user: UserName::default(), session: uuid(3) }
}

fn artifact() -> ArtifactId {
    ArtifactId {
        code_hash: CodeHash([1; 32]),
        prep_hash: PrepHash([2; 32]),
        engine: EngineId::parse("wt36-x").unwrap(),
    }
}

fn params() -> ExecutorParams {
    ExecutorParams(vec![
        ExecutorParam::StackLogicalMax(65_536),
        ExecutorParam::PvfExecTimeout(PvfExecKind::Backing, 2000),
        ExecutorParam::WasmExtBulkMemory,
    ])
}

fn context() -> CandidateContext {
    CandidateContext {
        parent_head: Bytes::from_static(b"head"),
        relay_parent_number: 7,
        relay_parent_storage_root: StorageRoot([3; 32]),
        extension: Some(ValidationParamsExtension::V3 { relay_parent: [4; 32], scheduling_parent: [5; 32] }),
        block_data_form: BlockDataForm::MaybeCompressed,
    }
}

fn submission(work: Work) -> FromClient {
    FromClient::Submit(Box::new(Submission {
        id: RequestId(uuid(1)),
        speaks: SPEAKS,
        code: CodeHash([1; 32]),
        code_bomb_limit: 10,
        executor_params: params(),
        prepare_timeout: Some(Duration::from_millis(11)),
        answer_within: Duration::from_secs(12),
        work,
    }))
}

fn verdict(outcome: WireOutcome) -> Verdict {
    Verdict {
        request: RequestId(uuid(1)),
        outcome,
        code_hash: CodeHash([1; 32]),
        artifact: Some(ArtifactSummary { id: artifact(), bytes: 13, cached: true }),
        timings: Timings { total: Duration::from_millis(14), ..Timings::default() },
        worker: Some(worker()),
        attempts: 1,
        usage: VerdictUsage::default(),
        second_opinion: None,
    }
}

fn job_report(outcome: JobOutcome) -> Box<JobReport> {
    let usage = match &outcome {
        JobOutcome::Prepare(_) => preparation_usage(),
        JobOutcome::Execute(_) => execution_usage(),
    };
    Box::new(JobReport { token: FencingToken(17), job: JobId(18), attempt: 2, outcome, usage })
}

fn report(outcome: JobOutcome) -> FromWorker {
    FromWorker::Report(job_report(outcome))
}

fn running_job() -> RunningJob {
    RunningJob { token: FencingToken(17), job: JobId(18), attempt: 2 }
}

fn security() -> SecurityStatus {
    SecurityStatus { secure: false, missing: vec!["landlock".into()] }
}

fn dispatch(spec: JobSpec) -> ToWorker {
    let request = Some(RequestId(uuid(1)));
    ToWorker::Dispatch(Box::new(Dispatch {
        token: FencingToken(17),
        job: JobId(18),
        attempt: 2,
        urgency: 3,
        request,
        spec,
        holders: vec![ClientId { user: UserName::default(), session: uuid(4) }],
        acknowledged: vec![running_job()],
        validation: None,
    }))
}

fn status() -> FleetStatus {
    let worker = WorkerStatus {
        id: worker(),
        kind: WorkerKind::Prepare,
        slots: 2,
        running: 1,
        engine: artifact().engine,
        host: "h".into(),
        version: "v".into(),
        security: security(),
        draining: true,
        trouble: None,
        signs_with: Some(KeyFingerprint::Key([25; 8])),
        trusts: vec![],
    };
    FleetStatus {
        token: FencingToken(17),
        version: "v".into(),
        workers: vec![worker],
        prepare: Capacity { workers: 1, slots: 2 },
        execute: Capacity { workers: 3, slots: 4 },
        requests: 1,
        request_bytes: 6,
        clients: 7,
        prepare_queue: [1, 2, 3],
        execute_queue: [4, 5, 6, 7],
        artifacts: 8,
        artifact_bytes: 9,
        prepared: 4,
        executed: 5,
        coalesced: 10,
        overloaded: 11,
        inconsistencies: 0,
        not_compiled_for: vec![],
        trusted_keys: vec![KeyFingerprint::Key([25; 8])],
        sandboxes: None,
    }
}

fn clients(golden: &mut GoldenMessages) {
    golden.add("submit precheck", &submission(Work::Precheck));
    golden.add("submit heads-up", &submission(Work::HeadsUp { wait_prepared: false }));
    golden.add("submit heads-up and wait", &submission(Work::HeadsUp { wait_prepared: true }));
    let execute = ExecuteSubmission {
        kind: ExecuteKind::Dispute,
        context: context(),
        block_data: BlobRef::Inline(Bytes::from_static(b"pov")),
        pov_bomb_limit: 19,
        exec_timeout: None,
        relay_leaf: Some(RelayHash([20; 32])),
        fresh: true,
    };
    golden.add("submit execute", &submission(Work::Execute(Box::new(execute))));
    let request = RequestId(uuid(1));
    golden.add("ask", &FromClient::Ask { requests: vec![request], heard: vec![] });
    golden.add("cancel", &FromClient::Cancel { request });
    let activated = Some(ActiveLeaf { hash: RelayHash([21; 32]), ancestors: vec![RelayHash([22; 32])] });
    golden.add(
        "leaves",
        &FromClient::Leaves { update: ActiveLeavesUpdate { activated, deactivated: vec![RelayHash([23; 32])] } },
    );
    golden.add("status request", &StatusQuestion { host: Some("h".into()) });
    golden.add("accepted", &SubmitReply::Accepted);
    for (name, refusal) in [
        ("range", Refusal::OutOfRange { field: "f".into(), value: 0, min: 1, max: 2, unit: "ms".into() }),
        ("overloaded", Refusal::Overloaded { what: "queue".into(), retry_after: Duration::from_secs(1) }),
        ("malformed", Refusal::Malformed("why".into())),
        ("not allowed", Refusal::NotAllowed { user: "u".into(), kind: "dispute".into() }),
        ("version", Refusal::UnsupportedVersion { client: VersionRange { min: 5, max: 6 }, fleet: SPEAKS }),
    ] {
        golden.add(&format!("refused {name}"), &SubmitReply::Refused(refusal));
    }
    golden.add("ask reply", &AskReply { unknown: vec![request], compiling: vec![] });
    golden.add("status", &status());
    golden.add("announcement", &Announcement { version: "v".into() });
}

fn verdicts(golden: &mut GoldenMessages) {
    let why = || "why".to_owned();
    for (name, outcome) in [
        ("valid inline", Outcome::Valid(BlobRef::Inline(Bytes::from_static(b"result")))),
        ("valid held", Outcome::Valid(BlobRef::Held { hash: BlobHash([6; 32]), len: 9 })),
        ("precheck", Outcome::PrecheckOk),
        ("heads-up", Outcome::HeadsUpTaken),
        ("heads-up prepared", Outcome::HeadsUpPrepared),
        ("reported", Outcome::Invalid(InvalidReason::WorkerReported(why()))),
        ("timeout", Outcome::Invalid(InvalidReason::HardTimeout { limit_ms: 1 })),
        ("pov", Outcome::Invalid(InvalidReason::PovDecompression)),
        ("worker death", Outcome::PossiblyInvalid(AmbiguousReason::WorkerDeath)),
        ("job death", Outcome::PossiblyInvalid(AmbiguousReason::JobDeath(why()))),
        ("job error", Outcome::PossiblyInvalid(AmbiguousReason::JobError(why()))),
        ("construction", Outcome::PossiblyInvalid(AmbiguousReason::RuntimeConstruction(why()))),
        ("corrupted", Outcome::PossiblyInvalid(AmbiguousReason::CorruptedArtifact(why()))),
        ("preparation", Outcome::PreparationFailed(PrepareError::OutOfMemory)),
        ("internal", Outcome::Internal(InternalError::Bus(why()))),
        ("deadline", Outcome::Expired),
    ] {
        golden.add(&format!("verdict {name}"), &ToClient::Verdict(Box::new(verdict(outcome))));
    }
    let with_usage = Verdict { usage: usage(), ..verdict(Outcome::PrecheckOk) };
    golden.add("verdict with usage", &ToClient::Verdict(Box::new(with_usage)));
    golden.add("job record", &record());
}

fn workers(golden: &mut GoldenMessages) {
    let running = vec![running_job()];
    let hello = WorkerHello {
        speaks: SPEAKS,
        slots: 4,
        engine: artifact().engine,
        host: "h".into(),
        identity: HostIdentity::default(),
        version: "v".into(),
        host_functions: String::new(),
        cpu_baseline: "x86_64-v3".into(),
        security: security(),
        holds: vec![Holding::Warm(artifact()), Holding::OnDisk(artifact())],
        running: running.clone(),
        also_compiles_for: vec![],
        signs_with: None,
        trusts: vec![KeyFingerprint::Key([25; 8]), KeyFingerprint::Unsigned],
        held: vec![],
    };
    let prepare = WorkerHello {
        also_compiles_for: vec![artifact().engine],
        signs_with: Some(KeyFingerprint::Key([25; 8])),
        trusts: vec![],
        ..hello.clone()
    };
    golden.add("hello", &FromWorker::Hello(Box::new(hello)));
    golden.add("hello prepare", &FromWorker::Hello(Box::new(prepare)));
    let holdings = vec![Holding::Gone(artifact())];
    let draining = Heartbeat { running, draining: true, holdings, ..Heartbeat::default() };
    golden.add("heartbeat", &FromWorker::Heartbeat(draining));
    let fetching = Heartbeat { running: vec![running_job()], fetching: vec![running_job()], ..Heartbeat::default() };
    golden.add("heartbeat fetching", &FromWorker::Heartbeat(fetching));
    golden.add("goodbye", &FromWorker::Goodbye);
    let info = ArtifactInfo { bytes: 13, digest: ArtifactDigest([24; 32]) };
    let why = || "why".to_owned();
    let prepare = |o| report(JobOutcome::Prepare(o));
    golden.add("report prepared", &prepare(PrepareOutcome::Prepared(info)));
    for (name, error) in [
        ("prevalidation", PrepareError::Prevalidation(why())),
        ("preparation", PrepareError::Preparation(why())),
        ("job error", PrepareError::JobError(why())),
        ("memory", PrepareError::OutOfMemory),
        ("decompress", PrepareError::CouldNotDecompress(why())),
        ("timeout", PrepareError::TimedOut { limit_ms: 1 }),
        ("io", PrepareError::Io(why())),
        ("died", PrepareError::JobDied(why())),
        ("kernel", PrepareError::Kernel(why())),
        ("construction", PrepareError::RuntimeConstruction(why())),
    ] {
        golden.add(&format!("report prepare {name}"), &prepare(PrepareOutcome::Failed(error)));
    }
    for (name, error) in [
        ("bus", InternalError::Bus(why())),
        ("store", InternalError::Store(why())),
        ("kernel", InternalError::Kernel(why())),
        ("missing", InternalError::ArtifactMissing(why())),
        ("draining", InternalError::WorkerDraining(why())),
        ("input", InternalError::InputBlob(why())),
        ("disagreement", InternalError::Disagreement(why())),
    ] {
        golden.add(&format!("report prepare internal {name}"), &prepare(PrepareOutcome::Internal(error.clone())));
        golden.add(
            &format!("report execute internal {name}"),
            &report(JobOutcome::Execute(ExecuteOutcome::Internal(error))),
        );
    }
    let execute = |o| report(JobOutcome::Execute(o));
    golden.add("report valid", &execute(ExecuteOutcome::Valid(BlobRef::Inline(Bytes::from_static(b"result")))));
    golden.add("report invalid", &execute(ExecuteOutcome::Invalid(InvalidReason::PovDecompression)));
    golden.add("report ambiguous", &execute(ExecuteOutcome::Ambiguous(AmbiguousReason::WorkerDeath)));
    golden.add("welcome", &WorkerReply::Welcome { token: FencingToken(17) });
    golden.add("worker ack", &WorkerReply::Ack);
    golden.add("worker drain", &WorkerReply::Drain);
    golden.add("say hello", &WorkerReply::SayHello);
    golden.add("worker refused", &WorkerReply::Refused(WorkerRefusal::Other(why())));
    let keys = |n| vec![KeyFingerprint::Key([n; 8])];
    let wrong_keys = WorkerRefusal::WrongKeys { worker: keys(25), fleet: keys(26) };
    golden.add("worker refused keys", &WorkerReply::Refused(wrong_keys));
    let prepare = PrepareJob {
        artifact: artifact(),
        executor_params: params(),
        cpu_limit: Duration::from_secs(60),
        code_bomb_limit: 10,
        precheck: true,
        threads: 2,
    };
    golden.add("dispatch prepare", &dispatch(JobSpec::Prepare(Box::new(prepare))));
    let execute = ExecuteJob {
        artifact: artifact(),
        digest: Some(info.digest),
        context: context(),
        block_data: BlobRef::Inline(Bytes::from_static(b"pov")),
        executor_params: params(),
        cpu_limit: Duration::from_secs(2),
        pov_bomb_limit: 19,
    };
    golden.add("dispatch execute", &dispatch(JobSpec::Execute(Box::new(execute.clone()))));
    let block_data = BlobRef::Held { hash: BlobHash([6; 32]), len: 9 };
    golden.add("dispatch execute held", &dispatch(JobSpec::Execute(Box::new(ExecuteJob { block_data, ..execute }))));
    golden.add("recall job", &ToWorker::Recall { token: FencingToken(17), job: JobId(18), attempt: 2 });
    golden.add("cancel job", &ToWorker::Cancel { token: FencingToken(17), job: JobId(18), attempt: 2 });
    golden.add("acknowledge", &ToWorker::Acknowledge { reports: vec![running_job()] });
    golden.add("taken", &DispatchReply::Taken);
    let outcome = JobOutcome::Execute(ExecuteOutcome::Invalid(InvalidReason::PovDecompression));
    golden.add("done", &DispatchReply::Done(job_report(outcome)));
    golden.add("dispatch refused", &DispatchReply::Refused(CommandRefusal::Other(why())));
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the golden file is written on request")]
fn every_message_has_its_golden_bytes() {
    let mut golden = GoldenMessages::default();
    clients(&mut golden);
    verdicts(&mut golden);
    workers(&mut golden);
    pull::add_golden(&mut golden);
    compiling::add_golden(&mut golden);
    held::add_golden(&mut golden);
    operators::add_golden(&mut golden);
    opinions::add_golden(&mut golden);
    let text: String = golden.0.iter().map(|(name, hex)| format!("{name}: {hex}\n")).collect();
    if std::env::var_os("PVF_BLESS").is_some() {
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/src/wire/golden.txt"), text).unwrap();
        return;
    }
    for (actual, expected) in text.lines().zip(GOLDEN.lines()) {
        assert_eq!(actual, expected);
    }
    assert_eq!(text.lines().count(), GOLDEN.lines().count(), "messages were added or removed");
}

#[test]
fn another_version_is_refused_with_both_versions() {
    let newer = rmp_serde::to_vec_named(&FrameOut { v: VERSION + 1, by: None, m: &"from the future" }).unwrap();
    let error = decode::<FromClient>(&newer).unwrap_err();
    assert_eq!(error, WireError::NewerVersion { received: VERSION + 1, supported: VERSION });
    let older = rmp_serde::to_vec_named(&FrameOut { v: SPEAKS.min - 1, by: None, m: &"from the past" }).unwrap();
    let error = decode::<FromClient>(&older).unwrap_err();
    assert_eq!(error, WireError::OlderVersion { received: SPEAKS.min - 1, supported: SPEAKS });
}

#[test]
fn truncated_and_foreign_bytes_are_malformed() {
    let message = encode(&submission(Work::Precheck));
    for cut in 0..message.len() {
        assert!(matches!(decode::<FromClient>(&message[..cut]), Err(WireError::Malformed { .. })), "cut at {cut}");
    }
    let long = "\x1b[2J".repeat(20_000);
    let unknown = rmp_serde::to_vec_named(&FrameOut { v: VERSION, by: None, m: &long }).unwrap();
    let error = decode::<FromClient>(&unknown).unwrap_err().to_string();
    assert!(error.len() <= MAX_REASON_LEN + 100 && !error.contains('\x1b'), "{} bytes", error.len());
    for bytes in [&b""[..], b"\xc1", b"\xdd\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff"] {
        assert!(decode::<FromClient>(bytes).is_err());
    }
}
