//! Jobs on this machine, without the host: what must be measured here, and what must not depend on where it runs.

use super::{Checking, povs::Executed, runtime::Runtime};
use crate::tool::failure::Failure;
use pvf_shared::{
    Bytes,
    blob::BlobRef,
    ids::ArtifactId,
    job::{ExecuteJob, ExecuteOutcome, JobUsage, PrepareJob},
    params::{PvfExecKind, PvfPrepKind},
    store::seal::content_hash,
    units::{MAX_TIMEOUT, POV_BOMB_LIMIT},
};
use pvf_worker::{
    supervise::{ArtifactFile, JobRunner, Prepared},
    wasm::{Compiled, CpuBaseline, engine_id},
};
use std::path::Path;

/// Compiles and executes a runtime for one CPU level.
pub(super) struct Local<'a> {
    checking: &'a Checking<'a>,
    runtime: &'a Runtime,
    runner: JobRunner,
    artifact: ArtifactId,
}

impl<'a> Local<'a> {
    /// For a runtime. Probes the sandbox of this machine.
    pub(super) fn new(checking: &'a Checking<'a>, runtime: &'a Runtime, level: CpuBaseline) -> Result<Self, Failure> {
        let runner = JobRunner::new(None, level).map_err(|e| Failure::no_result("job executable", e))?;
        let engine = engine_id(level).map_err(|e| Failure::no_result("engine", e))?;
        let prep_hash = checking.network.executor_params.prep_hash();
        let artifact = ArtifactId { code_hash: runtime.pvf.code_hash(), prep_hash, engine };
        Ok(Self { checking, runtime, runner, artifact })
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
        let failed =
            |why: String| Failure::NoResult(format!("{}: preparation on this machine: {why}", self.runtime.name));
        let (prepared, usage) = self.runner.prepare(&job, self.runtime.code.clone()).await;
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
    pub(super) async fn execute(&self, file: &ArtifactFile, of: &Executed) -> Result<Vec<u8>, Failure> {
        let params = &self.checking.network.executor_params;
        let job = ExecuteJob {
            artifact: self.artifact.clone(),
            digest: None,
            context: of.pov.context(&self.checking.extension),
            block_data: BlobRef::Inline(Bytes::new()),
            executor_params: params.clone(),
            cpu_limit: params.exec_timeout(PvfExecKind::Approval).saturating_mul(10).min(MAX_TIMEOUT),
            pov_bomb_limit: POV_BOMB_LIMIT,
        };
        match self.runner.execute(&job, file, of.pov.block_data.clone()).await.0 {
            ExecuteOutcome::Valid(BlobRef::Inline(result)) => Ok(result.to_vec()),
            ExecuteOutcome::Internal(error) => Err(Failure::NoResult(format!("{}: {error}", of.pov.name()))),
            // A job that died says nothing about what the code computes.
            ExecuteOutcome::Ambiguous(reason) => Err(Failure::NoResult(format!("{}: {reason}", of.pov.name()))),
            ExecuteOutcome::Valid(_) | ExecuteOutcome::Invalid(_) => Ok(vec![]),
        }
    }
}
