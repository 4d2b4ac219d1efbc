//! The verdict on every guest of the corpus, prepared and executed in real job processes.

mod common;

use common::{Compiled, TestArtifact, execute_job, prepare_job, worker};
use pvf_guests::corpus::{self, Case, Expect};
use pvf_shared::{
    Bytes,
    job::{ExecuteJob, ExecuteOutcome, PrepareJob},
    params::ExecutorParams,
    verdict::{AmbiguousReason, InternalError, InvalidReason, PrepareError},
};
use pvf_worker::supervise::Prepared;
use std::time::Duration;

async fn prepare(code: &[u8], precheck: bool) -> Prepared {
    let cpu_limit = Duration::from_secs(60);
    let job = PrepareJob { precheck, cpu_limit, ..prepare_job(code, ExecutorParams::default()) };
    worker().prepare(&job, Bytes::copy_from_slice(code)).await.0
}

async fn execute(compiled: &Compiled) -> ExecuteOutcome {
    let file = TestArtifact::new(compiled);
    let cpu_limit = Duration::from_millis(700);
    let job = ExecuteJob { cpu_limit, ..execute_job(b"", ExecutorParams::default()) };
    worker().execute(&job, file.file(), Bytes::from_static(b"block")).await.0
}

fn prepare_error(error: &PrepareError) -> Option<Expect> {
    match error {
        PrepareError::Prevalidation(_) => Some(Expect::Prevalidation),
        PrepareError::Preparation(_) => Some(Expect::Preparation),
        PrepareError::CouldNotDecompress(_) => Some(Expect::CouldNotDecompress),
        PrepareError::RuntimeConstruction(_) => Some(Expect::RuntimeConstruction),
        _ => None,
    }
}

/// The case's verdicts, of precheck and execution, each with its text.
async fn outcome(case: &Case) -> ((Option<Expect>, String), (Option<Expect>, String)) {
    let code = (case.wasm)();
    let checked = prepare(&code, true).await;
    let precheck = match &checked {
        Prepared::Artifact(_) => (Some(Expect::Ok), String::new()),
        Prepared::Failed(error) => (prepare_error(error), error.to_string()),
        Prepared::Internal(error) => (None, error.to_string()),
    };
    let execution = match prepare(&code, false).await {
        Prepared::Failed(error) => (prepare_error(&error), error.to_string()),
        Prepared::Internal(error) => (None, error.to_string()),
        Prepared::Artifact(artifact) => {
            let outcome = execute(&artifact).await;
            let expect = match &outcome {
                ExecuteOutcome::Valid(_) => Some(Expect::Ok),
                ExecuteOutcome::Invalid(InvalidReason::WorkerReported(_)) => Some(Expect::WorkerReportedInvalid),
                ExecuteOutcome::Invalid(InvalidReason::HardTimeout { .. }) => Some(Expect::HardTimeout),
                // On a busy machine the wall clock may run out first.
                ExecuteOutcome::Internal(InternalError::Kernel(why)) if why.contains("within its limit of") => {
                    Some(Expect::HardTimeout)
                }
                ExecuteOutcome::Ambiguous(AmbiguousReason::RuntimeConstruction(_)) => Some(Expect::RuntimeConstruction),
                _ => None,
            };
            (expect, format!("{outcome:?}"))
        }
    };
    (precheck, execution)
}

#[tokio::test]
async fn every_guest_gets_its_expected_verdict() {
    let cases = corpus::all();
    assert!(cases.len() > 200);
    let mut wrong = Vec::new();
    for case in &cases {
        let (precheck, execution) = outcome(case).await;
        for (what, expected, (actual, text)) in
            [("precheck", &case.precheck, precheck), ("execute", &case.execute, execution)]
        {
            if actual.as_ref() != Some(expected) {
                wrong.push(format!("{} {what}: expected {expected:?}, actual {actual:?}: {text}", case.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {} cases are wrong:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}
