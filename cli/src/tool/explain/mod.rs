//! Explanations of verdicts: a diagnostic run of the candidate on this machine.
//!
//! `text` and `json` show it.

pub(crate) mod args;
mod json;
pub(crate) mod text;

pub(crate) use json::to_json;

use super::{failure::Failure, network::limits::Network};
use crate::ExecuteRequest;
use pvf_shared::{Bytes, params::PvfPrepKind, units::MAX_TIMEOUT};
use pvf_worker::{
    explanation::LogLevel,
    supervise::{ExplainJob, Explained, JobRunner},
    wasm::CpuBaseline,
};
use std::time::Duration;

/// A diagnostic run may take this many times as long as the limit of the execution: what is too slow shall come to its
/// end.
const PATIENCE: u32 = 10;
/// And this long in any case.
const LEAST: Duration = Duration::from_secs(60);

/// Explains candidates.
pub(crate) struct Explainer {
    runner: JobRunner,
    level: LogLevel,
}

impl Explainer {
    /// Probes the sandbox of this machine.
    pub(crate) fn new(level: LogLevel) -> Result<Self, Failure> {
        let runner = JobRunner::new(None, CpuBaseline::of_this_machine());
        Ok(Self { runner: runner.map_err(|e| Failure::no_result("job executable", e))?, level })
    }

    /// Executes the candidate in a diagnostic run.
    pub(crate) async fn explain(&self, network: &Network, code: &Bytes, request: &ExecuteRequest) -> Explained {
        let params = &network.executor_params;
        let limit = request.exec_timeout.unwrap_or_else(|| params.exec_timeout(request.kind.exec_timeout_kind()));
        let cpu_limit = limit.saturating_mul(PATIENCE).max(LEAST) + params.prep_timeout(PvfPrepKind::Prepare);
        let job = ExplainJob {
            executor_params: params.clone(),
            code: code.clone(),
            code_bomb_limit: network.code_bomb_limit,
            context: request.context.clone(),
            block_data: request.block_data.clone(),
            pov_bomb_limit: request.pov_bomb_limit,
            cpu_limit: cpu_limit.min(MAX_TIMEOUT),
            log_level: self.level,
        };
        self.runner.explain(job).await
    }

    /// The mechanisms of the sandbox that are missing on this machine.
    pub(crate) fn missing_mechanisms(&self) -> Vec<String> {
        let status = self.runner.sandbox().status();
        // Each begins with its name.
        status.missing.iter().filter_map(|text| text.split(':').next().map(str::to_owned)).collect()
    }

    /// Which messages of the guest it records.
    pub(crate) fn level(&self) -> LogLevel {
        self.level
    }
}
