//! Executes the PoVs of a check, one at a time: runs beside each other would take more CPU time.

use super::super::{checking::Checking, runtime::Runtime};
use crate::{
    Answer, ExecuteRequest,
    tool::{failure::Failure, files::pov::Pov},
};
use pvf_shared::{
    candidate::ValidationResult,
    ids::CodeHash,
    job::{AttemptEnd, JobUsage},
    priority::ExecuteKind,
    verdict::Outcome,
};
use std::time::Duration;

/// The PoVs of a check.
pub(in super::super) struct Blocks {
    /// Of `--pov`.
    pub(in super::super) povs: Vec<Pov>,
    /// Of `--pov-new`: the second runtime must accept them.
    pub(in super::super) povs_new: Vec<Pov>,
}

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

impl Executed {
    /// Whether this runtime accepts the PoV.
    pub(in super::super) fn is_valid_on(&self, at: usize) -> bool {
        self.on.get(at).and_then(Option::as_ref).is_some_and(|of| of.result().is_some())
    }

    /// On which runtimes the PoV is reported: those that accept it; if none does, the one that should.
    pub(super) fn shown_on(&self) -> Vec<usize> {
        let accepted: Vec<_> = (0..self.on.len()).filter(|at| self.is_valid_on(*at)).collect();
        match accepted.is_empty() {
            // One that does not prepare was not asked.
            true => {
                let wanted = usize::from(self.is_for_new);
                (wanted..self.on.len()).find(|at| self.on[*at].is_some()).into_iter().collect()
            }
            false => accepted,
        }
    }
}

impl Execution {
    /// The result, if the PoV is valid.
    pub(in super::super) fn result(&self) -> Option<&ValidationResult> {
        if let Outcome::Valid(result) = &self.outcome { Some(result) } else { None }
    }

    /// CPU time of the slowest run.
    pub(in super::super) fn slowest(&self) -> Duration {
        self.cpu.iter().copied().max().unwrap_or_default()
    }

    /// CPU time of the median run.
    pub(in super::super) fn median(&self) -> Duration {
        let mut sorted = self.cpu.clone();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied().unwrap_or_default()
    }
}

/// The request for one run.
pub(super) fn request(checking: &Checking<'_>, pov: &Pov) -> ExecuteRequest {
    ExecuteRequest {
        exec_timeout: Some(checking.run_limit()),
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
