//! Jobs as a worker runs them, for the benches: with the sandbox fully on.

use crate::{ask::context, processes::binary};
use pvf_shared::{
    Bytes,
    ids::{ArtifactId, CodeHash, EngineId},
    job::{BlobRef, ExecuteJob, ExecuteOutcome, PrepareJob},
    params::{ExecutorParams, PvfExecKind, PvfPrepKind},
    units::{DEFAULT_CODE_BOMB_LIMIT, POV_BOMB_LIMIT},
};
use pvf_worker::{
    supervise::{JobRunner, Prepared},
    wasm::CpuBaseline,
};

fn id(code: &[u8], params: &ExecutorParams) -> ArtifactId {
    let engine = EngineId::parse("bench").expect("a fine id");
    ArtifactId { code_hash: CodeHash::of(code), prep_hash: params.prep_hash(), engine }
}

/// A preparation of this code.
pub fn prepare_job(code: &Bytes, threads: u32) -> PrepareJob {
    let params = ExecutorParams::default();
    PrepareJob {
        artifact: id(code, &params),
        code: BlobRef::Inline(code.clone()),
        cpu_limit: params.prep_timeout(PvfPrepKind::Prepare),
        executor_params: params,
        code_bomb_limit: DEFAULT_CODE_BOMB_LIMIT,
        precheck: false,
        threads,
    }
}

/// A job for an artifact that is given as a file; the code hash is not looked at.
pub fn execute_job(params: ExecutorParams) -> ExecuteJob {
    ExecuteJob {
        artifact: id(b"", &params),
        mac: None,
        context: context(&b"parent head"[..]),
        block_data: BlobRef::Inline(Bytes::new()),
        cpu_limit: params.exec_timeout(PvfExecKind::Backing),
        executor_params: params,
        pov_bomb_limit: POV_BOMB_LIMIT,
    }
}

/// A runner as a worker has it; refuses to measure without the whole sandbox.
pub fn runner(role: &str, slots: usize, spares: usize) -> JobRunner {
    let runner = JobRunner::new(Some(binary(role)), CpuBaseline::of_this_machine()).expect("a runner");
    assert!(runner.sandbox().is_complete(), "the sandbox is not complete here: {}", runner.sandbox().complaint());
    runner.of_size(slots, spares)
}

/// The artifact of this code, in a file, and its size.
pub async fn prepared(code: &Bytes) -> (u64, tempfile::NamedTempFile) {
    let job = prepare_job(code, 0);
    let Prepared::Artifact(artifact) = runner("pvf-prepare-worker", 1, 0).prepare(&job, code.clone()).await.0 else {
        panic!("it cannot be prepared");
    };
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), &artifact).expect("written");
    (artifact.len() as u64, file)
}

/// Whatever else it is, it is no time to be measured.
pub fn expect_valid(outcome: &ExecuteOutcome) {
    assert!(matches!(outcome, ExecuteOutcome::Valid(_)), "{outcome:?}");
}
