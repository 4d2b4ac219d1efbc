//! Values of the coordinator's metrics, with their labels.

use super::Sizes;
use pvf_scheduler::{Counts, DropReason, Gauges, RetryReason, WorkKind, WorkerCondition};
use pvf_shared::{
    identity::UserName,
    priority::{ExecuteKind, PreparePriority},
    verdict::Blame,
    wire::WorkerKind,
};

/// Label values in the order of the family's label names.
pub(super) type Labels = Vec<&'static str>;
/// The values of one family.
pub(super) type Values = Vec<(Labels, u64)>;
/// The values of a family of times, seconds.
pub(super) type Ages = Vec<(Labels, f64)>;

pub(super) fn one(value: u64) -> Values {
    vec![(Vec::new(), value)]
}

pub(super) fn by_kind(values: [u64; 4]) -> Values {
    ExecuteKind::ALL.iter().zip(values).map(|(kind, value)| (vec![kind.name()], value)).collect()
}

pub(super) fn opinions(counts: &Counts) -> Values {
    let Counts { opinions_agreed, opinions_disagreed, opinions_missing, .. } = *counts;
    let values = [("agreed", opinions_agreed), ("disagreed", opinions_disagreed), ("missing", opinions_missing)];
    values.into_iter().map(|(result, value)| (vec![result], value)).collect()
}

/// Values of both queues, by priority and by kind.
fn of_queues<T>(prepare: [T; 3], execute: [T; 4]) -> Vec<(Labels, T)> {
    let priorities = PreparePriority::ALL.into_iter().zip(prepare);
    let kinds = ExecuteKind::ALL.into_iter().zip(execute);
    let prepare = priorities.map(|(priority, value)| (vec!["prepare", priority.name()], value));
    prepare.chain(kinds.map(|(kind, value)| (vec!["execute", kind.name()], value))).collect()
}

pub(super) fn queue_depth(sizes: &Sizes) -> Values {
    of_queues(sizes.scheduler.prepare_queue, sizes.scheduler.execute_queue)
}

pub(super) fn queue_oldest(sizes: &Sizes) -> Ages {
    let Gauges { prepare_oldest, execute_oldest, .. } = sizes.scheduler;
    of_queues(prepare_oldest.map(|age| age.as_secs_f64()), execute_oldest.map(|age| age.as_secs_f64()))
}

pub(super) fn workers_by_state(sizes: &Sizes) -> Values {
    let of_kind = |kind: WorkerKind| {
        let counts = sizes.scheduler.workers_by_condition[kind as usize];
        let states = WorkerCondition::ALL.into_iter().zip(counts);
        states.map(move |(state, n)| (vec![name_of(kind), state.name()], n))
    };
    KINDS.into_iter().flat_map(of_kind).collect()
}

pub(super) fn credits(sizes: &Sizes) -> Values {
    KINDS.map(|kind| (vec![name_of(kind)], sizes.scheduler.credits[kind as usize])).into()
}

pub(super) fn workers(sizes: &Sizes) -> Values {
    KINDS.map(|kind| (vec![name_of(kind)], sizes.scheduler.workers[kind as usize].0)).into()
}

pub(super) fn slots(sizes: &Sizes) -> Values {
    let of_kind = |kind: WorkerKind| {
        let (_, total, busy) = sizes.scheduler.workers[kind as usize];
        let staged = sizes.scheduler.staged[kind as usize];
        [("total", total), ("busy", busy), ("staged", staged)].map(|(state, n)| (vec![name_of(kind), state], n))
    };
    KINDS.into_iter().flat_map(of_kind).collect()
}

pub(super) const KINDS: [WorkerKind; 2] = [WorkerKind::Prepare, WorkerKind::Execute];

pub(super) fn name_of(kind: WorkerKind) -> &'static str {
    match kind {
        WorkerKind::Prepare => "prepare",
        WorkerKind::Execute => "execute",
    }
}

pub(super) fn retry_reasons() -> Vec<Labels> {
    let reasons = [
        RetryReason::NotBegun(String::new()),
        RetryReason::Ambiguous(String::new()),
        RetryReason::Internal(String::new()),
        RetryReason::WorkerLost,
    ];
    KINDS.iter().flat_map(|kind| reasons.each_ref().map(|reason| vec![name_of(*kind), reason.name()])).collect()
}

pub(super) fn flavors() -> Vec<Labels> {
    KINDS.map(|kind| vec![name_of(kind)]).into()
}

/// How an attempt may end: with a report, or without.
pub(super) fn attempt_ends() -> Vec<Labels> {
    let reported: [&[&'static str]; 2] =
        [&["prepared", "failed", "internal"], &["valid", "invalid", "ambiguous", "internal"]];
    let of_kind = |(kind, reported): (WorkerKind, &[&'static str])| {
        let ends = reported.iter().copied().chain(["not-begun", "worker-lost"]);
        ends.map(|end| vec![name_of(kind), end]).collect::<Vec<_>>()
    };
    KINDS.into_iter().zip(reported).flat_map(of_kind).collect()
}

/// The names of the parties that are to blame.
pub(super) fn blame(blame: Blame) -> &'static str {
    match blame {
        Blame::NoParty => "none",
        Blame::Candidate => "candidate",
        Blame::Ambiguous => "ambiguous",
        Blame::Code => "code",
        Blame::Ours => "infrastructure",
    }
}

pub(super) fn verdicts() -> Vec<Labels> {
    let executions = [
        ("valid", "none"),
        ("invalid", "candidate"),
        ("possibly_invalid", "ambiguous"),
        ("preparation_failed", "code"),
        ("internal", "infrastructure"),
        ("deadline", "none"),
    ];
    let kinds = ExecuteKind::ALL.into_iter().map(ExecuteKind::name);
    let executions = kinds.flat_map(|kind| executions.map(|(verdict, blame)| vec!["execute", kind, verdict, blame]));
    let others = [("ok", "none"), ("preparation_failed", "code"), ("internal", "infrastructure"), ("deadline", "none")];
    let works = [WorkKind::Precheck, WorkKind::HeadsUp].map(WorkKind::name);
    let others = works.into_iter().flat_map(|work| others.map(|(verdict, blame)| vec![work, "", verdict, blame]));
    executions.chain(others).collect()
}

pub(super) fn artifact_results() -> Vec<Labels> {
    ["hit", "prepared", "failed", "none"].map(|result| vec![result]).into()
}

pub(super) fn drop_reasons() -> Vec<Labels> {
    let of_operators = DropReason::Operator(UserName::default());
    [DropReason::Damaged, DropReason::Unused, of_operators].map(|reason| vec![reason.name()]).into()
}
