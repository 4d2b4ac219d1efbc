//! Configurations that are decided already and hold from a later session on: what was measured, held against them.

use super::{
    checking::Checking,
    report::{Quantity, Report, Row, Section, State},
    runtime::Runtime,
};
use crate::{Pvf, tool::network::snapshot::Pending};
use pvf_shared::{
    params::{ExecutorParams, PvfExecKind, PvfPrepKind},
    verdict::{Blame, Outcome},
};

/// The sections about all pending configurations.
pub(super) async fn sections(checking: &Checking<'_>, runtimes: &[Runtime], report: &Report) -> Vec<Section> {
    let pending = checking.network.snapshot.iter().flat_map(|snapshot| &snapshot.pending);
    let mut sections = Vec::new();
    for of in pending {
        let mut rows = again(checking, of, report);
        for runtime in runtimes {
            rows.extend(precheck(checking, of, runtime).await);
        }
        sections.push(Section { title: format!("from session {} on", of.session), rows });
    }
    sections
}

/// The largest values of all rows that this configuration has another limit for.
fn again(checking: &Checking<'_>, of: &Pending, report: &Report) -> Vec<Row> {
    let mut checks: Vec<&'static str> = Vec::new();
    report.all_rows().for_each(|(_, row)| {
        if !checks.contains(&row.check) {
            checks.push(row.check);
        }
    });
    let worst = |check| {
        let rows = report.all_rows().filter(|(_, row)| row.check == check && row.limit.is_some());
        rows.map(|(_, row)| row).max_by(|a, b| a.percent.unwrap_or(0.0).total_cmp(&b.percent.unwrap_or(0.0)))
    };
    let changed = checks.into_iter().filter_map(|check| {
        let row = worst(check)?;
        let limit = limit_of(check, of)?;
        let same = row.limit.as_ref() == Some(&limit);
        (!same).then(|| Row::limited(check, row.value.clone(), Some(limit), checking.thresholds))
    });
    changed.collect()
}

/// The limit that a configuration has for a check.
fn limit_of(check: &str, of: &Pending) -> Option<Quantity> {
    let limits = &of.limits;
    let bytes = |limit: Option<u32>| limit.map(|limit| Quantity::Bytes(limit.into()));
    let count = |limit: Option<u32>| limit.map(|limit| Quantity::Count(limit.into()));
    let params = &of.executor_params;
    match check {
        "code-size" | "new-code-size" => bytes(limits.max_code_size),
        "code-decompressed" => bytes(limits.validation_code_bomb_limit),
        "precheck-cpu" => Some(Quantity::Time(params.prep_timeout(PvfPrepKind::Precheck))),
        "prepare-cpu" => Some(Quantity::Time(params.prep_timeout(PvfPrepKind::Prepare))),
        "pov-size" => bytes(limits.max_pov_size),
        "execute-cpu" => Some(Quantity::Time(params.exec_timeout(PvfExecKind::Backing))),
        "execute-cpu-approval" => Some(Quantity::Time(params.exec_timeout(PvfExecKind::Approval))),
        "guest-memory" => Some(Quantity::Pages(params.memory_page_limit().into())),
        "stack" => Some(Quantity::Count(params.stack_logical_max().into())),
        "head-data" => bytes(limits.max_head_data_size),
        "upward-messages" => count(limits.max_upward_message_num_per_candidate),
        "upward-message-size" => bytes(limits.max_upward_message_size),
        "horizontal-messages" => count(limits.hrmp_max_message_num_per_candidate),
        "horizontal-message-size" => bytes(limits.hrmp_channel_max_message_size),
        _ => None,
    }
}

/// A precheck under other executor parameters, if they can change its verdict.
async fn precheck(checking: &Checking<'_>, of: &Pending, runtime: &Runtime) -> Option<Row> {
    let decides = |params: &ExecutorParams| (params.prep_hash(), params.prechecking_max_memory(), params.ecc_rfc163());
    if decides(&of.executor_params) == decides(&checking.network.executor_params) {
        return None;
    }
    checking.now(format!("prechecking {} for session {}", runtime.name, of.session));
    let limit = of.limits.validation_code_bomb_limit.unwrap_or(checking.network.code_bomb_limit);
    let pvf = Pvf::new(runtime.code.clone(), of.executor_params.clone()).with_code_bomb_limit(limit);
    let host = &checking.target.host;
    let answer = checking.progress.during(host, host.precheck_pvf(pvf)).await;
    let row = |value: &str, state, why: Option<String>| {
        let row = Row::fact("precheck", format!("{value}: {}", runtime.name), state);
        Some(Row { note: why, ..row })
    };
    match answer {
        Err(error) => row("no result", State::NoResult, Some(error.to_string())),
        Ok(answer) => match (answer.outcome.blame(), &answer.outcome) {
            (Blame::NoParty, Outcome::PrecheckOk) => row("passes", State::Ok, None),
            (Blame::Code, _) => row("fails", State::Failed, answer.outcome.reason()),
            _ => row("no result", State::NoResult, answer.outcome.reason()),
        },
    }
}
