//! Jobs on this machine, without the host: what must be measured here, and what must not depend on where it runs.

use super::checking::Checking;
use crate::{
    Pvf,
    tool::{failure::Failure, files::pov::Pov},
};
use pvf_shared::{
    Bytes,
    blob::BlobRef,
    ids::ArtifactId,
    job::{ExecuteJob, ExecuteOutcome, JobUsage, PrepareJob},
    params::PvfPrepKind,
    store::seal::content_hash,
    units::POV_BOMB_LIMIT,
};
use pvf_worker::{
    supervise::{ArtifactFile, JobRunner, Prepared},
    wasm::{Compiled, CpuBaseline, engine_id},
};
use std::path::Path;

/// Compiles and executes a runtime for one CPU level.
pub(super) struct Local<'a> {
    checking: &'a Checking<'a>,
    code: Bytes,
    runner: JobRunner,
    artifact: ArtifactId,
}

impl<'a> Local<'a> {
    /// For a runtime, which is `code`. Probes the sandbox of this machine.
    pub(super) fn new(
        checking: &'a Checking<'a>,
        (pvf, code): (&Pvf, &Bytes),
        level: CpuBaseline,
    ) -> Result<Self, Failure> {
        let runner = JobRunner::new(None, level).map_err(|e| Failure::no_result("job executable", e))?;
        let engine = engine_id(level).map_err(|e| Failure::no_result("engine", e))?;
        let prep_hash = checking.network.executor_params.prep_hash();
        let artifact = ArtifactId { code_hash: pvf.code_hash(), prep_hash, engine };
        Ok(Self { checking, code: code.clone(), runner, artifact })
    }

    /// Compiles with so many threads; 0 stands for all cores.
    pub(super) async fn compile(&self, threads: u32) -> Result<(Compiled, JobUsage), Failure> {
        let network = self.checking.network;
        let job = PrepareJob {
            artifact: self.artifact.clone(),
            cpu_limit: network.executor_params.prep_timeout(PvfPrepKind::Prepare),
            executor_params: network.executor_params.clone(),
            code_bomb_limit: network.code_bomb_limit,
            precheck: false,
            threads,
        };
        let failed = |why: String| Failure::NoResult(format!("preparation on this machine: {why}"));
        let (prepared, usage) = self.runner.prepare(&job, self.code.clone()).await;
        match prepared {
            Prepared::Artifact(compiled) => Ok((compiled, usage)),
            Prepared::Failed(error) => Err(failed(error.to_string())),
            Prepared::Internal(error) => Err(failed(error.to_string())),
        }
    }

    /// The artifact in a file of this folder.
    pub(super) fn file(&self, compiled: &Compiled, folder: &Path) -> Result<ArtifactFile, Failure> {
        let path = folder.join(self.artifact.engine.as_str());
        std::fs::write(&path, &compiled.code).map_err(|e| Failure::no_result("temporary folder", e))?;
        Ok(ArtifactFile::new(&path, content_hash(&compiled.code), compiled.has_start))
    }

    /// The encoding of the result; empty if there is none.
    pub(super) async fn execute(&self, file: &ArtifactFile, pov: &Pov) -> Result<Vec<u8>, Failure> {
        let params = &self.checking.network.executor_params;
        let job = ExecuteJob {
            artifact: self.artifact.clone(),
            digest: None,
            context: pov.context(&self.checking.extension),
            block_data: BlobRef::Inline(Bytes::new()),
            executor_params: params.clone(),
            cpu_limit: self.checking.run_limit(),
            pov_bomb_limit: POV_BOMB_LIMIT,
        };
        match self.runner.execute(&job, file, pov.block_data.clone()).await.0 {
            ExecuteOutcome::Valid(BlobRef::Inline(result)) => Ok(result.to_vec()),
            ExecuteOutcome::Internal(error) => Err(Failure::NoResult(format!("{}: {error}", pov.name()))),
            // A job that died says nothing about what the code computes.
            ExecuteOutcome::Ambiguous(reason) => Err(Failure::NoResult(format!("{}: {reason}", pov.name()))),
            ExecuteOutcome::Valid(_) | ExecuteOutcome::Invalid(_) => Ok(vec![]),
        }
    }
}
