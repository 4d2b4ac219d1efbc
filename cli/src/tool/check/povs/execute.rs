//! Executes the PoVs of a check, one at a time: runs beside each other would take more CPU time.

use super::super::{Blocks, Checking, runtime::Runtime};
use crate::{
    Answer, ExecuteRequest,
    tool::{failure::Failure, files::pov::Pov},
};
use pvf_shared::{
    ids::CodeHash,
    job::{AttemptEnd, JobUsage},
    params::PvfExecKind,
    priority::ExecuteKind,
    units::MAX_TIMEOUT,
    verdict::Outcome,
};
use std::time::Duration;

/// A run may take this many times as long as the limit of backing: how far over the limit a block is, is worth knowing.
const PATIENCE: u32 = 10;

/// A PoV and its runs.
pub(in super::super) struct Executed {
    /// The PoV.
    pub(in super::super) pov: Pov,
    /// Whether the second runtime must accept it.
    pub(in super::super) is_for_new: bool,
    /// The runs on each runtime; `None` for one that it was not executed on.
    pub(in super::super) on: Vec<Option<Execution>>,
}

/// The runs of a PoV on one runtime.
pub(in super::super) struct Execution {
    /// Hash of the runtime's code.
    pub(in super::super) runtime: CodeHash,
    /// The outcome.
    pub(in super::super) outcome: Outcome,
    /// CPU time of each run.
    pub(in super::super) cpu: Vec<Duration>,
    /// What the first run used.
    pub(in super::super) usage: JobUsage,
    /// Whether all runs had the same result.
    pub(in super::super) same: bool,
}

/// The request for one run.
pub(super) fn request(checking: &Checking<'_>, pov: &Pov) -> ExecuteRequest {
    let params = &checking.network.executor_params;
    let limit = params.exec_timeout(PvfExecKind::Backing).saturating_mul(PATIENCE);
    let limit = limit.max(params.exec_timeout(PvfExecKind::Approval)).min(MAX_TIMEOUT);
    ExecuteRequest {
        exec_timeout: Some(limit),
        fresh: true,
        ..ExecuteRequest::new(ExecuteKind::Backing, pov.context(&checking.extension), pov.block_data.clone())
    }
}

/// Executes all PoVs, on each runtime that can execute.
///
/// # Errors
/// The host does not answer.
pub(in super::super) async fn execute_all(
    checking: &Checking<'_>,
    runtimes: &[Runtime],
    blocks: &Blocks,
) -> Result<Vec<Executed>, Failure> {
    let mut all = Vec::new();
    let count = blocks.povs.len() + blocks.povs_new.len();
    let of_both = blocks.povs.iter().map(|pov| (pov, false));
    let of_new = blocks.povs_new.iter().map(|pov| (pov, true));
    for (n, (pov, is_for_new)) in of_both.chain(of_new).enumerate() {
        let mut on = Vec::new();
        for (at, runtime) in runtimes.iter().enumerate() {
            let skipped = !runtime.is_prepared() || (is_for_new && at == 0);
            checking.now(format!("executing {} ({} of {count}) on {}", pov.short_name(), n + 1, runtime.name));
            on.push(if skipped { None } else { Some(execute(checking, runtime, pov).await?) });
        }
        all.push(Executed { pov: pov.clone(), is_for_new, on });
    }
    Ok(all)
}

async fn execute(checking: &Checking<'_>, runtime: &Runtime, pov: &Pov) -> Result<Execution, Failure> {
    let first = run(checking, runtime, pov).await?;
    let mut execution = Execution {
        runtime: runtime.pvf.code_hash(),
        cpu: cpu(&first).into_iter().collect(),
        usage: usage(&first),
        outcome: first.outcome,
        same: true,
    };
    for _ in 1..checking.runs {
        // What is invalid stays so; a verdict of two attempts has had its second run.
        if execution.result().is_none() {
            break;
        }
        let next = run(checking, runtime, pov).await?;
        // A run without a result is no other result.
        if matches!(next.outcome, Outcome::Valid(_) | Outcome::Invalid(_)) {
            execution.same &= next.outcome == execution.outcome;
            execution.cpu.extend(cpu(&next));
        }
    }
    Ok(execution)
}

async fn run(checking: &Checking<'_>, runtime: &Runtime, pov: &Pov) -> Result<Answer, Failure> {
    let host = &checking.target.host;
    Ok(checking.progress.during(host, host.execute_pvf(runtime.pvf.clone(), request(checking, pov))).await?)
}

/// What the attempt that decided used.
fn usage(answer: &Answer) -> JobUsage {
    let decided = answer.usage.executions.iter().rev();
    let mut decided =
        decided.filter(|of| matches!(of.end, AttemptEnd::Valid | AttemptEnd::Invalid | AttemptEnd::Ambiguous));
    decided.next().map(|of| of.usage).unwrap_or_default()
}

fn cpu(answer: &Answer) -> Option<Duration> {
    Some(usage(answer).cpu).filter(|cpu| !cpu.is_zero())
}
