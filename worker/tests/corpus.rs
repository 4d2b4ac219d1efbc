//! Every guest of the corpus, prepared and executed in real job processes, against its expected verdict.

use pvf_guests::corpus::{self, Case, Expect};
use pvf_shared::{
    Bytes,
    candidate::{BlockDataForm, CandidateContext},
    ids::{ArtifactId, CodeHash, EngineId, StorageRoot},
    job::{BlobRef, ExecuteJob, ExecuteOutcome, PrepareJob},
    params::ExecutorParams,
    units::{DEFAULT_CODE_BOMB_LIMIT, POV_BOMB_LIMIT},
    verdict::{AmbiguousReason, InvalidReason, PrepareError},
};
use pvf_worker::{
    supervise::{JobRunner, Prepared},
    wasm::CpuBaseline,
};
use std::time::Duration;

fn runner() -> JobRunner {
    JobRunner::new(Some(env!("CARGO_BIN_EXE_pvf-execute-worker").into()), CpuBaseline::of_this_machine()).unwrap()
}

fn artifact_id(code: &[u8]) -> ArtifactId {
    ArtifactId {
        code_hash: CodeHash::of(code),
        prep_hash: ExecutorParams::default().prep_hash(),
        engine: EngineId::parse("test").unwrap(),
    }
}

async fn prepare(code: &[u8], precheck: bool) -> Prepared {
    let code = Bytes::copy_from_slice(code);
    let job = PrepareJob {
        artifact: artifact_id(&code),
        code: BlobRef::Inline(code.clone()),
        executor_params: ExecutorParams::default(),
        cpu_limit: Duration::from_secs(60),
        code_bomb_limit: DEFAULT_CODE_BOMB_LIMIT,
        precheck,
        threads: 1,
    };
    runner().prepare(&job, code).await.0
}

async fn execute(artifact: &[u8]) -> ExecuteOutcome {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), artifact).unwrap();
    let job = ExecuteJob {
        artifact: artifact_id(b""),
        mac: None,
        context: CandidateContext {
            parent_head: Bytes::from_static(b"head"),
            relay_parent_number: 1,
            relay_parent_storage_root: StorageRoot([0; 32]),
            extension: None,
            block_data_form: BlockDataForm::MaybeCompressed,
        },
        block_data: BlobRef::Inline(Bytes::new()),
        executor_params: ExecutorParams::default(),
        cpu_limit: Duration::from_millis(700),
        pov_bomb_limit: POV_BOMB_LIMIT,
    };
    runner().execute(&job, file.path(), Bytes::from_static(b"block")).await.0
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

/// What the case did, for precheck and execution, with the words it said.
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
                ExecuteOutcome::Ambiguous(AmbiguousReason::RuntimeConstruction(_)) => Some(Expect::RuntimeConstruction),
                _ => None,
            };
            (expect, format!("{outcome:?}"))
        }
    };
    (precheck, execution)
}

#[tokio::test]
async fn every_guest_gets_its_verdict() {
    let cases = corpus::all();
    assert!(cases.len() > 200);
    let mut wrong = Vec::new();
    for case in &cases {
        let (precheck, execution) = outcome(case).await;
        for (what, expected, (got, said)) in
            [("precheck", &case.precheck, precheck), ("execute", &case.execute, execution)]
        {
            if got.as_ref() != Some(expected) {
                wrong.push(format!("{} {what}: expected {expected:?}, got {got:?}: {said}", case.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {} cases are wrong:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}
