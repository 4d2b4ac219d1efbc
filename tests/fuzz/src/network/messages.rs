//! Well-formed messages with arbitrary contents: few different ids, so that messages refer to each other, and numbers
//! at the edges of their ranges.

use libfuzzer_sys::arbitrary::{Result, Unstructured};
use pvf_shared::{
    Bytes,
    artifact::{ArtifactDigest, ArtifactInfo},
    blob::BlobRef,
    host::HostIdentity,
    identity::{ClientId, UserName, WorkerId},
    ids::{ArtifactId, BlobHash, CodeHash, EngineId, FencingToken, JobId, RelayHash, RequestId, ValidationKey},
    job::{ExecuteOutcome, JobOutcome, JobSpec, JobUsage, PrepareOutcome},
    keys::KeyFingerprint,
    params::{ExecutorParam, ExecutorParams, PvfExecKind, PvfPrepKind},
    priority::ExecuteKind,
    verdict::{AmbiguousReason, InternalError, InvalidReason, PrepareError},
    wire::{
        ActiveLeaf, ActiveLeavesUpdate, ArtifactChoice, CompileProgress, Compiling, ExecuteSubmission, FromClient,
        FromOperator, Heartbeat, HeldAttempt, HeldPreparation, HeldStage, HeldWork, Holding, JobReport, RunningJob,
        SPEAKS, SecurityStatus, StatusQuestion, Submission, ToWorker, Work, WorkerHello, WorkerKind,
    },
};
use pvf_testkit::fixtures::context;
use std::time::Duration;
use uuid::Uuid;

type In<'a, 'b> = &'a mut Unstructured<'b>;

/// A number below four.
pub(super) fn few(u: In<'_, '_>) -> Result<u8> {
    u.int_in_range(0..=3)
}

fn uuid(u: In<'_, '_>) -> Result<Uuid> {
    Ok(Uuid::from_u128(few(u)?.into()))
}

pub(super) fn worker(u: In<'_, '_>) -> Result<WorkerId> {
    let n = u.int_in_range(0..=5)?;
    // Mostly one kind for each number.
    let prepares = (n % 3 == 0) ^ u.ratio(1, 16)?;
    let kind = if prepares { WorkerKind::Prepare } else { WorkerKind::Execute };
    Ok(WorkerId { kind, user: UserName::default(), session: Uuid::from_u128(n) })
}

fn request(u: In<'_, '_>) -> Result<RequestId> {
    Ok(RequestId(Uuid::from_u128(u.int_in_range(0..=31)?)))
}

/// A number, often at the edge of a range.
pub(super) fn number(u: In<'_, '_>) -> Result<u64> {
    Ok(match u.int_in_range(0..=5)? {
        0 => 0,
        1 => 1,
        2 => u64::from(u32::MAX),
        3 => u64::MAX,
        4 => 11 << 30,
        _ => u.arbitrary::<u16>()?.into(),
    })
}

/// A duration, often at the edge of a range.
pub(super) fn duration(u: In<'_, '_>) -> Result<Duration> {
    Ok(match u.int_in_range(0..=7)? {
        0 => Duration::ZERO,
        1 => Duration::from_nanos(1),
        2 => Duration::from_millis(1),
        3 => Duration::from_secs(3600),
        4 => Duration::from_secs(24 * 3600),
        5 => Duration::MAX,
        _ => Duration::from_millis(u.arbitrary::<u16>()?.into()),
    })
}

fn maybe<T>(u: In<'_, '_>, make: impl FnOnce(In<'_, '_>) -> Result<T>) -> Result<Option<T>> {
    if u.ratio(1, 3)? { make(u).map(Some) } else { Ok(None) }
}

fn list<T>(u: In<'_, '_>, mut make: impl FnMut(In<'_, '_>) -> Result<T>) -> Result<Vec<T>> {
    (0..u.int_in_range(0..=5)?).map(|_| make(u)).collect()
}

fn engine(u: In<'_, '_>) -> Result<EngineId> {
    Ok(EngineId::parse(u.choose(&["a", "b", "c"])?).expect("an engine"))
}

fn params(u: In<'_, '_>) -> Result<ExecutorParams> {
    let one = |u: In<'_, '_>| {
        Ok(match u.int_in_range(0..=5)? {
            0 => ExecutorParam::StackLogicalMax(1024),
            1 => ExecutorParam::WasmExtBulkMemory,
            2 => ExecutorParam::PrecheckingMaxMemory(256 << 20),
            3 => ExecutorParam::PvfPrepTimeout(PvfPrepKind::Prepare, u64::MAX),
            4 => ExecutorParam::PvfExecTimeout(PvfExecKind::Approval, u64::MAX),
            _ => ExecutorParam::MaxMemoryPages(1),
        })
    };
    Ok(ExecutorParams(maybe(u, one)?.into_iter().collect()))
}

pub(super) fn artifact(u: In<'_, '_>) -> Result<ArtifactId> {
    Ok(ArtifactId { code_hash: CodeHash([few(u)?; 32]), prep_hash: params(u)?.prep_hash(), engine: engine(u)? })
}

fn blob(u: In<'_, '_>) -> Result<BlobRef> {
    Ok(if u.arbitrary()? {
        BlobRef::Inline(Bytes::from(vec![few(u)?; usize::from(u.arbitrary::<u8>()?)]))
    } else {
        BlobRef::Held { hash: BlobHash([few(u)?; 32]), len: number(u)? }
    })
}

pub(super) fn submission(u: In<'_, '_>) -> Result<Submission> {
    let work = match u.int_in_range(0..=7)? {
        0 => Work::Precheck,
        1 => Work::HeadsUp { wait_prepared: u.arbitrary()? },
        _ => Work::Execute(Box::new(ExecuteSubmission {
            kind: *u.choose(&ExecuteKind::ALL)?,
            context: context(vec![few(u)?]),
            block_data: blob(u)?,
            pov_bomb_limit: 1 << 20,
            exec_timeout: maybe(u, duration)?,
            relay_leaf: maybe(u, |u| Ok(RelayHash([few(u)?; 32])))?,
            fresh: u.ratio(1, 8)?,
        })),
    };
    Ok(Submission {
        id: request(u)?,
        speaks: SPEAKS,
        code: CodeHash([few(u)?; 32]),
        code_bomb_limit: *u.choose(&[1, 1 << 20, 1 << 30])?,
        executor_params: params(u)?,
        prepare_timeout: maybe(u, duration)?,
        answer_within: duration(u)?,
        work,
    })
}

/// A client.
pub(super) fn client(u: In<'_, '_>) -> Result<ClientId> {
    Ok(ClientId { user: UserName::default(), session: uuid(u)? })
}

/// A question for the status.
pub(super) fn question(u: In<'_, '_>) -> Result<StatusQuestion> {
    Ok(StatusQuestion { host: maybe(u, |u| Ok(format!("host{}", few(u)?)))? })
}

/// A message of a client other than a submission.
pub(super) fn from_client(u: In<'_, '_>) -> Result<FromClient> {
    Ok(match u.int_in_range(0..=2)? {
        0 => FromClient::Ask { requests: list(u, request)?, heard: list(u, request)? },
        1 => FromClient::Cancel { request: request(u)? },
        _ => {
            let hash = |u: In<'_, '_>| Ok(RelayHash([few(u)?; 32]));
            let leaf = |u: In<'_, '_>| Ok(ActiveLeaf { hash: hash(u)?, ancestors: list(u, hash)? });
            FromClient::Leaves {
                update: ActiveLeavesUpdate { activated: maybe(u, leaf)?, deactivated: list(u, hash)? },
            }
        }
    })
}

fn holding(u: In<'_, '_>) -> Result<Holding> {
    let artifact = artifact(u)?;
    Ok(match u.int_in_range(0..=2)? {
        0 => Holding::Warm(artifact),
        1 => Holding::OnDisk(artifact),
        _ => Holding::Gone(artifact),
    })
}

fn token(u: In<'_, '_>) -> Result<FencingToken> {
    Ok(FencingToken(*u.choose(&[2, 2, 2, 1, 3, u64::MAX])?))
}

fn running(u: In<'_, '_>) -> Result<RunningJob> {
    // The first ids of the coordinator, whose token is 2, are beyond this.
    let before_first = 2 << 24;
    let job = if u.ratio(1, 8)? { number(u)? } else { before_first + u.int_in_range(1..=12_u64)? };
    Ok(RunningJob { token: token(u)?, job: JobId(job), attempt: *u.choose(&[1, 1, 2, 3, 0, u32::MAX])? })
}

fn held(u: In<'_, '_>) -> Result<HeldAttempt> {
    let work = if u.arbitrary()? {
        let (digest, validation) = (None, maybe(u, |u| Ok(ValidationKey([few(u)?; 32])))?);
        HeldWork::Execute { artifact: artifact(u)?, digest, validation }
    } else {
        HeldWork::Prepare(Box::new(HeldPreparation {
            artifact: artifact(u)?,
            params: params(u)?.hash(),
            cpu_limit: duration(u)?,
            code_bomb_limit: 1 << 20,
            precheck: u.arbitrary()?,
        }))
    };
    let stage = *u.choose(&[HeldStage::Running, HeldStage::Staged, HeldStage::Fetching, HeldStage::Ended])?;
    Ok(HeldAttempt { attempt: running(u)?, urgency: u.arbitrary()?, stage, work })
}

pub(super) fn from_operator(u: In<'_, '_>) -> Result<FromOperator> {
    let code = artifact(u)?.code_hash;
    Ok(match u.int_in_range(0..=6)? {
        0 | 1 => FromOperator::Drain { workers: vec![worker(u)?] },
        2 => FromOperator::Cancel { request: request(u)?, client: maybe(u, client)? },
        3 => FromOperator::Pin { code },
        4 => FromOperator::Unpin { code },
        5 => FromOperator::Remove {
            artifacts: if u.arbitrary()? { ArtifactChoice::Code(code) } else { ArtifactChoice::One(artifact(u)?) },
        },
        _ => FromOperator::Prune { older_than: maybe(u, duration)?, dry_run: u.arbitrary()? },
    })
}

pub(super) fn hello(u: In<'_, '_>) -> Result<WorkerHello> {
    // What is described and not listed does not count.
    let held = list(u, held)?;
    let listed = held.iter().map(|held| held.attempt);
    Ok(WorkerHello {
        speaks: SPEAKS,
        slots: *u.choose(&[1, 2, 3, 0, 1024, u32::MAX])?,
        engine: engine(u)?,
        host: format!("host{}", few(u)?),
        identity: HostIdentity::new(
            u.ratio(1, 4)?.then(|| few(u)).transpose()?.map(|n| n.to_string()).as_deref(),
            u.ratio(1, 4)?.then(|| few(u)).transpose()?.map(|n| n.to_string()).as_deref(),
        ),
        version: "v".into(),
        host_functions: "f".into(),
        cpu_baseline: "v1".into(),
        security: SecurityStatus::default(),
        holds: list(u, holding)?,
        running: list(u, running)?.into_iter().chain(listed).collect(),
        also_compiles_for: list(u, engine)?,
        signs_with: u.ratio(7, 8)?.then_some(KeyFingerprint::Unsigned),
        trusts: if u.ratio(7, 8)? {
            vec![KeyFingerprint::Unsigned]
        } else {
            list(u, |u| Ok(KeyFingerprint::Key([few(u)?; 8])))?
        },
        held,
    })
}

/// A job that was sent to a worker, mostly one of the last: most messages of workers are about such a job.
fn of_sent(u: In<'_, '_>, sent: &[(WorkerId, ToWorker)]) -> Result<Option<(WorkerId, RunningJob, bool)>> {
    if sent.is_empty() || u.ratio(1, 6)? {
        return Ok(None);
    }
    let back = usize::from(u.int_in_range(0..=7_u8)?).min(sent.len() - 1);
    let (worker, message) = &sent[sent.len() - 1 - back];
    Ok(match message {
        ToWorker::Dispatch(d) => {
            let prepares = matches!(d.spec, JobSpec::Prepare(_));
            Some((*worker, RunningJob { token: d.token, job: d.job, attempt: d.attempt }, prepares))
        }
        ToWorker::Cancel { token, job, attempt } | ToWorker::Recall { token, job, attempt } => {
            Some((*worker, RunningJob { token: *token, job: *job, attempt: *attempt }, false))
        }
        ToWorker::Acknowledge { .. } => None,
    })
}

pub(super) fn heartbeat(u: In<'_, '_>, sent: &[(WorkerId, ToWorker)]) -> Result<(WorkerId, Heartbeat)> {
    let mut worker = worker(u)?;
    let mut jobs = list(u, running)?;
    if let Some((of, job, _)) = of_sent(u, sent)? {
        worker = of;
        jobs.push(job);
    }
    // Mostly jobs that it lists, as a worker does.
    let mut fetching = jobs.clone();
    fetching.retain(|_| u.ratio(1, 3).unwrap_or(false));
    if u.ratio(1, 8)? {
        fetching.push(running(u)?);
    }
    let mut compiling = Vec::new();
    for attempt in &jobs {
        if u.ratio(1, 3)? {
            let progress = CompileProgress { compiled: u.arbitrary()?, functions: u.arbitrary()? };
            compiling.push(Compiling { attempt: *attempt, progress });
        }
    }
    let (draining, holdings) = (u.ratio(1, 8)?, list(u, holding)?);
    Ok((worker, Heartbeat { running: jobs, draining, holdings, fetching, compiling }))
}

pub(super) fn prepare_error(u: In<'_, '_>) -> Result<PrepareError> {
    let why = || "why".to_owned();
    Ok(match u.int_in_range(0..=9)? {
        0 => PrepareError::Prevalidation(why()),
        1 => PrepareError::Preparation(why()),
        2 => PrepareError::JobError(why()),
        3 => PrepareError::OutOfMemory,
        4 => PrepareError::CouldNotDecompress(why()),
        5 => PrepareError::TimedOut { limit_ms: number(u)? },
        6 => PrepareError::Io(why()),
        7 => PrepareError::JobDied(why()),
        8 => PrepareError::Kernel(why()),
        _ => PrepareError::RuntimeConstruction(why()),
    })
}

fn internal(u: In<'_, '_>) -> Result<InternalError> {
    let why = "why".to_owned();
    Ok(match u.int_in_range(0..=5)? {
        0 => InternalError::Bus(why),
        1 => InternalError::Store(why),
        2 => InternalError::Kernel(why),
        3 => InternalError::ArtifactMissing(why),
        4 => InternalError::WorkerDraining(why),
        _ => InternalError::InputBlob(why),
    })
}

fn outcome(u: In<'_, '_>, prepares: bool) -> Result<JobOutcome> {
    let why = || "why".to_owned();
    if prepares {
        return Ok(JobOutcome::Prepare(match few(u)? {
            0 | 1 => {
                PrepareOutcome::Prepared(ArtifactInfo { bytes: number(u)?, digest: ArtifactDigest([few(u)?; 32]) })
            }
            2 => PrepareOutcome::Failed(prepare_error(u)?),
            _ => PrepareOutcome::Internal(internal(u)?),
        }));
    }
    Ok(JobOutcome::Execute(match u.int_in_range(0..=8)? {
        0 | 1 => ExecuteOutcome::Valid(blob(u)?),
        2 => ExecuteOutcome::Invalid(InvalidReason::HardTimeout { limit_ms: number(u)? }),
        3 => ExecuteOutcome::Invalid(InvalidReason::PovDecompression),
        4 => ExecuteOutcome::Ambiguous(AmbiguousReason::JobDeath(why())),
        5 => ExecuteOutcome::Ambiguous(AmbiguousReason::RuntimeConstruction(why())),
        6 => ExecuteOutcome::Ambiguous(AmbiguousReason::CorruptedArtifact(why())),
        7 => ExecuteOutcome::Ambiguous(AmbiguousReason::WorkerDeath),
        _ => ExecuteOutcome::Internal(internal(u)?),
    }))
}

pub(super) fn report(u: In<'_, '_>, sent: &[(WorkerId, ToWorker)]) -> Result<(WorkerId, JobReport)> {
    let (mut worker, mut job, mut prepares) = (worker(u)?, running(u)?, u.arbitrary()?);
    if let Some(of) = of_sent(u, sent)? {
        (worker, job, prepares) = of;
        // Sometimes from another worker, or of another kind.
        if u.ratio(1, 16)? {
            worker = self::worker(u)?;
        }
        prepares ^= u.ratio(1, 16)?;
    }
    let usage = JobUsage {
        cpu: duration(u)?,
        cpu_limit: duration(u)?,
        wall: duration(u)?,
        max_rss_kib: number(u)?,
        io: duration(u)?,
        memory_pages: u.arbitrary()?,
        pov: u.ratio(1, 2)?.then_some(u64::MAX),
        ..JobUsage::default()
    };
    let RunningJob { token, job, attempt } = job;
    Ok((worker, JobReport { token, job, attempt, outcome: outcome(u, prepares)?, usage }))
}
