//! Jobs as a worker runs them, with the complete sandbox.

use crate::processes::binary;
use pvf_shared::{
    Bytes,
    ids::EngineId,
    job::{ExecuteJob, ExecuteOutcome, PrepareJob},
    params::ExecutorParams,
    store::seal::content_hash,
};
use pvf_testkit::fixtures;
use pvf_worker::{
    supervise::{ArtifactFile, JobRunner, Prepared},
    wasm::{Compiled, CpuBaseline, engine_id},
};

/// The engine of the runner.
fn bench_engine() -> EngineId {
    engine_id(CpuBaseline::of_this_machine()).expect("an engine")
}

/// A preparation of this code.
pub fn prepare_job(code: &Bytes, threads: u32) -> PrepareJob {
    PrepareJob { threads, ..fixtures::prepare_job(code, ExecutorParams::default(), bench_engine()) }
}

/// An execution of an artifact that is given as a file; its code hash is not looked at.
pub fn execute_job(params: ExecutorParams) -> ExecuteJob {
    fixtures::execute_job(b"", params, bench_engine())
}

/// A runner as a worker has it. Panics without the complete sandbox: what it would measure does not count.
pub fn runner(role: &str, slots: usize, spares: usize) -> JobRunner {
    let runner = JobRunner::new(Some(binary(role)), CpuBaseline::of_this_machine()).expect("a runner");
    assert!(runner.sandbox().is_complete(), "the sandbox is not complete here: {}", runner.sandbox().complaint());
    runner.with_slots(slots, spares)
}

/// An artifact, and a file with it, which is deleted when this is dropped.
pub struct PreparedFile {
    /// The artifact.
    pub compiled: Compiled,
    /// The file, as a runner takes it.
    pub file: ArtifactFile,
    _temporary: tempfile::NamedTempFile,
}

/// Prepares this code.
pub async fn prepared(code: &Bytes) -> PreparedFile {
    let job = prepare_job(code, 0);
    let Prepared::Artifact(compiled) = runner("pvf-prepare-worker", 1, 0).prepare(&job, code.clone()).await.0 else {
        panic!("the code cannot be prepared");
    };
    let temporary = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(temporary.path(), &compiled.code).expect("the artifact is written");
    let file = ArtifactFile::new(temporary.path(), content_hash(&compiled.code), compiled.has_start);
    PreparedFile { compiled, file, _temporary: temporary }
}

/// Panics unless the candidate is valid: only then its time counts.
pub fn expect_valid(outcome: &ExecuteOutcome) {
    assert!(matches!(outcome, ExecuteOutcome::Valid(_)), "{outcome:?}");
}
