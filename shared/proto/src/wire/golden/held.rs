//! What a registration says of the attempts that the worker holds, and how a dispatch names its validation.

use super::*;

fn prepare_job() -> PrepareJob {
    PrepareJob {
        artifact: artifact(),
        executor_params: params(),
        cpu_limit: Duration::from_secs(60),
        code_bomb_limit: 10,
        precheck: true,
        threads: 2,
    }
}

fn execute_job() -> ExecuteJob {
    ExecuteJob {
        artifact: artifact(),
        digest: Some(ArtifactDigest([24; 32])),
        context: context(),
        block_data: BlobRef::Held { hash: BlobHash([6; 32]), len: 9 },
        executor_params: params(),
        cpu_limit: Duration::from_secs(2),
        pov_bomb_limit: 19,
    }
}

fn of(spec: JobSpec, validation: Option<ValidationKey>) -> Dispatch {
    let ToWorker::Dispatch(dispatch) = dispatch(spec) else { panic!("another command") };
    Dispatch { validation, ..*dispatch }
}

pub(super) fn registration(held: Vec<HeldAttempt>) -> WorkerHello {
    WorkerHello {
        speaks: SPEAKS,
        slots: 4,
        engine: artifact().engine,
        host: "h".into(),
        identity: HostIdentity::default(),
        version: "v".into(),
        host_functions: String::new(),
        cpu_baseline: "x86_64-v3".into(),
        security: SecurityStatus::default(),
        holds: vec![],
        running: vec![running_job()],
        also_compiles_for: vec![],
        signs_with: None,
        trusts: vec![],
        held,
    }
}

fn hello(held: Vec<HeldAttempt>) -> FromWorker {
    FromWorker::Hello(Box::new(registration(held)))
}

fn held(stage: HeldStage, dispatch: &Dispatch) -> HeldAttempt {
    HeldAttempt { attempt: running_job(), urgency: 3, stage, work: dispatch.into() }
}

pub(super) fn add_golden(golden: &mut GoldenMessages) {
    let execution = of(JobSpec::Execute(Box::new(execute_job())), Some(ValidationKey([28; 32])));
    let preparation = of(JobSpec::Prepare(Box::new(prepare_job())), None);
    golden.add("dispatch execute validation", &ToWorker::Dispatch(Box::new(execution.clone())));
    for (name, stage) in [
        ("fetching", HeldStage::Fetching),
        ("staged", HeldStage::Staged),
        ("ended", HeldStage::Ended),
        ("running", HeldStage::Running),
    ] {
        golden.add(&format!("hello held {name}"), &hello(vec![held(stage, &execution)]));
    }
    let unnamed = of(JobSpec::Execute(Box::new(ExecuteJob { digest: None, ..execute_job() })), None);
    golden.add("hello held unnamed", &hello(vec![held(HeldStage::Running, &unnamed)]));
    golden.add("hello held preparation", &hello(vec![held(HeldStage::Running, &preparation)]));
}

/// Everything that a coordinator compares is that of the dispatch.
#[test]
fn a_held_attempt_says_what_was_dispatched() {
    let key = ValidationKey([28; 32]);
    let execution = HeldWork::from(&of(JobSpec::Execute(Box::new(execute_job())), Some(key)));
    let digest = Some(ArtifactDigest([24; 32]));
    assert_eq!(execution, HeldWork::Execute { artifact: artifact(), digest, validation: Some(key) });
    let HeldWork::Prepare(preparation) = HeldWork::from(&of(JobSpec::Prepare(Box::new(prepare_job())), None)) else {
        panic!("a preparation was expected")
    };
    let HeldPreparation { artifact: of, params: hash, cpu_limit, code_bomb_limit, precheck } = *preparation;
    assert_eq!((of, hash, cpu_limit), (artifact(), params().hash(), Duration::from_secs(60)));
    assert_eq!((code_bomb_limit, precheck), (10, true));
}

/// A registration without held attempts has the bytes that it had before there were any, and so has a dispatch.
#[test]
fn what_earlier_receivers_do_not_know_is_sent_only_if_there_is_something() {
    let has = |bytes: &[u8], name: &[u8]| bytes.windows(name.len()).any(|part| part == name);
    assert!(!has(&encode(&hello(vec![])), b"held"));
    let dispatch = |validation| {
        let execution = of(JobSpec::Execute(Box::new(execute_job())), validation);
        encode(&ToWorker::Dispatch(Box::new(execution)))
    };
    let (without, with) = (dispatch(None), dispatch(Some(ValidationKey([28; 32]))));
    assert!(!has(&without, b"validation"));
    assert_eq!(with.len(), without.len() + 1 + "validation".len() + 2 + 32);
}

/// The longest registration is far below the smallest limit of a payload that a bus is run with by default (1 MiB).
#[test]
fn a_registration_with_as_many_held_attempts_as_may_be_is_short_enough() {
    let engine = EngineId::parse(&"e".repeat(64)).unwrap();
    let artifact = ArtifactId { engine, ..artifact() };
    let work =
        HeldWork::Execute { artifact, digest: Some(ArtifactDigest([9; 32])), validation: Some(ValidationKey([9; 32])) };
    let attempt = RunningJob { token: FencingToken(u64::MAX), job: JobId(u64::MAX), attempt: u32::MAX };
    let held = HeldAttempt { attempt, urgency: 4, stage: HeldStage::Fetching, work };
    let bytes = encode(&hello(vec![held; MAX_HELD])).len();
    assert!(bytes < 400_000, "{bytes} bytes");
}
