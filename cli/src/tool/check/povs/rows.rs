//! The rows of one PoV on one runtime.

use super::{
    super::{
        checking::Checking,
        heads, outputs,
        report::{Quantity, Row, State},
    },
    execute::{Executed, Execution},
};
use crate::tool::{files::pov::Pov, usage::time};
use pvf_shared::{
    params::PvfExecKind,
    verdict::{Blame, Outcome},
};

/// The rows. `parents` are the parent heads of the other PoVs.
pub(super) fn rows(checking: &Checking<'_>, executed: &Executed, execution: &Execution, parents: &[&[u8]]) -> Vec<Row> {
    let verdict = execution.outcome.name().replace('_', " ");
    let state = match (execution.outcome.blame(), &execution.outcome) {
        (Blame::Ours, _) | (_, Outcome::Expired) => State::NoResult,
        (Blame::NoParty, _) => State::Ok,
        (Blame::Candidate | Blame::Code | Blame::Ambiguous, _) => State::Failed,
    };
    let row = Row::fact("validation", verdict, state);
    let mut rows = vec![Row { note: execution.outcome.reason(), ..row }];
    rows.extend(sizes(checking, &executed.pov, execution));
    rows.extend(costs(checking, execution));
    if let Some(result) = execution.result() {
        rows.extend(outputs::rows(checking, result));
        rows.extend(heads::row(&executed.pov, result, parents));
        if execution.cpu.len() > 1 {
            rows.push(match execution.same {
                true => Row::fact("same-result", format!("{} runs", execution.cpu.len()), State::Ok),
                false => Row::fact("same-result", "runs differ", State::Failed)
                    .with_note("the runtime or this host is not deterministic: please report it"),
            });
        }
    }
    rows
}

fn sizes(checking: &Checking<'_>, pov: &Pov, execution: &Execution) -> Vec<Row> {
    let thresholds = checking.thresholds;
    let size = pov.size();
    let of_network = checking.network.limits().max_pov_size;
    let limit = of_network.or(pov.max_pov_size);
    let row = Row::limited("pov-size", Quantity::Bytes(size), limit.map(|n| Quantity::Bytes(n.into())), thresholds);
    let mut rows = vec![match (of_network, pov.max_pov_size) {
        (None, Some(_)) => row.with_note("the limit is that of the file, when the block was made"),
        (Some(now), Some(then)) if now != then => {
            row.with_note(format!("when the block was made the limit was {then} bytes"))
        }
        _ => row,
    }];
    let usage = &execution.usage;
    if let (Some(size), Some(limit)) = (usage.pov_decompressed, usage.pov_limit) {
        rows.push(Row::limited("pov-decompressed", Quantity::Bytes(size), Some(Quantity::Bytes(limit)), thresholds));
    }
    rows
}

fn costs(checking: &Checking<'_>, execution: &Execution) -> Vec<Row> {
    let thresholds = checking.thresholds;
    let params = &checking.network.executor_params;
    let mut rows = Vec::new();
    if !execution.cpu.is_empty() {
        let limit = |kind| Some(Quantity::Time(params.exec_timeout(kind)));
        let slowest = || Quantity::Time(execution.slowest());
        let row = Row::limited("execute-cpu", slowest(), limit(PvfExecKind::Backing), thresholds);
        rows.push(match execution.cpu.len() {
            1 => row,
            runs => row.with_note(format!("slowest of {runs} runs, median {}", time(execution.median()))),
        });
        rows.push(Row::limited("execute-cpu-approval", slowest(), limit(PvfExecKind::Approval), thresholds));
    }
    if let (Some(pages), Some(limit)) = (execution.usage.memory_pages, execution.usage.memory_pages_limit) {
        let limit = Some(Quantity::Pages(limit.into()));
        rows.push(Row::limited("guest-memory", Quantity::Pages(pages.into()), limit, thresholds));
    }
    rows
}
