//! Two runtimes side by side.

use super::{
    checking::Checking,
    povs::{Executed, Execution},
    report::{Report, Row, Section, State},
    runtime::Runtime,
};
use crate::tool::usage::time;
use pvf_shared::units::human_bytes;
use std::{collections::BTreeSet, time::Duration};

/// Imports that are named, at most.
const NAMED: usize = 8;

/// The section that compares.
pub(super) fn section(checking: &Checking<'_>, [old, new]: [&Runtime; 2], all: &[Executed]) -> Section {
    let mut rows = versions(old, new);
    rows.extend(modules(old, new));
    if let (Some(old), Some(new)) = (&old.preparation, &new.preparation) {
        rows.push(Row::fact("prepare-cpu", change_of_time(old.cpu, new.cpu), State::Info));
    }
    if let (Some(old), Some(new)) = (old.artifact, new.artifact) {
        rows.push(Row::fact("artifact-size", change_of_size(old, new), State::Info));
    }
    rows.extend(executions(checking, all));
    Section { title: format!("{} compared with {}", new.name, old.name), rows }
}

/// Versions that an upgrade needs.
fn versions(old: &Runtime, new: &Runtime) -> Vec<Row> {
    let (Some(before), Some(after)) = (old.version(), new.version()) else { return vec![] };
    let shown = format!("{} {} to {} {}", before.spec_name, before.spec_version, after.spec_name, after.spec_version);
    let row = if before.spec_name != after.spec_name {
        Row::fact("spec-version", shown, State::Warning).with_note("an upgrade is refused if the names differ")
    } else if after.spec_version <= before.spec_version {
        Row::fact("spec-version", shown, State::Warning).with_note("an upgrade needs a higher version")
    } else {
        Row::fact("spec-version", shown, State::Ok)
    };
    vec![row]
}

fn modules(old: &Runtime, new: &Runtime) -> Vec<Row> {
    let mut rows =
        vec![Row::fact("code-size", change_of_size(old.code.len() as u64, new.code.len() as u64), State::Info)];
    let (Ok(before), Ok(after)) = (&old.module, &new.module) else { return rows };
    rows.push(Row::fact("code-decompressed", change_of_size(before.size, after.size), State::Info));
    rows.push(Row::fact("functions", format!("{} to {}", before.functions, after.functions), State::Info));
    rows.push(Row::fact("data", change_of_size(before.data, after.data), State::Info));
    if let (Some(before), Some(after)) = (before.memory_initial, after.memory_initial) {
        rows.push(Row::fact("memory-initial", format!("{before} to {after} pages"), State::Info));
    }
    for (check, names) in [
        ("imports-added", after.imports.difference(&before.imports).collect::<BTreeSet<_>>()),
        ("imports-removed", before.imports.difference(&after.imports).collect()),
    ] {
        if !names.is_empty() {
            let more = names.len().saturating_sub(NAMED);
            let shown = names.iter().take(NAMED).map(|name| name.as_str()).collect::<Vec<_>>().join(", ");
            let shown = if more > 0 { format!("{shown} and {more} more") } else { shown };
            rows.push(Row::fact(check, shown, State::Info));
        }
    }
    rows
}

/// CPU times over pairs that make sense: PoVs that both runtimes accept, with the same result.
fn executions(checking: &Checking<'_>, all: &[Executed]) -> Vec<Row> {
    let both = all.iter().filter_map(|of| match &of.on[..] {
        [Some(old), Some(new)] if !of.is_for_new => Some((of, old, new)),
        _ => None,
    });
    let both: Vec<_> = both.collect();
    if both.is_empty() {
        return vec![];
    }
    let same =
        |(_, old, new): &&(&Executed, &Execution, &Execution)| old.result().is_some() && old.result() == new.result();
    let pairs: Vec<_> = both.iter().filter(same).collect();
    let only_old = both.iter().filter(|(of, ..)| of.is_valid_on(0) && !of.is_valid_on(1)).count();
    let differ =
        both.iter().filter(|(of, old, new)| of.is_valid_on(0) && of.is_valid_on(1) && old.result() != new.result());
    let differ: Vec<String> = differ.map(|(of, ..)| of.pov.short_name()).collect();
    let mut rows = Vec::new();
    let shown = format!("{} of {} PoVs have the same result on both", pairs.len(), both.len());
    let row = Row::fact("pairs", shown, State::Info);
    rows.push(match only_old {
        0 => row,
        n => row.with_note(format!(
            "{n} of the old runtime's PoVs are invalid on the new one. That is expected of an upgrade: it computes other \
             state roots, and its spec version is in what is checked"
        )),
    });
    if !differ.is_empty() {
        let note = format!("both accept them, and their results differ: {}", differ.join(", "));
        rows.push(Row::fact("results", "differ", State::Warning).with_note(note));
    }
    let medians = pairs.iter().map(|(of, old, new)| (of.pov.short_name(), old.median(), new.median()));
    let medians: Vec<_> = medians.filter(|(_, old, new)| !old.is_zero() && !new.is_zero()).collect();
    if !medians.is_empty() {
        let sum = |pick: fn(&(String, Duration, Duration)) -> Duration| medians.iter().map(pick).sum::<Duration>();
        let (before, after) = (sum(|of| of.1), sum(|of| of.2));
        let ratio = |of: &(String, Duration, Duration)| of.2.as_secs_f64() / of.1.as_secs_f64();
        let slowest = medians.iter().max_by(|a, b| ratio(a).total_cmp(&ratio(b)));
        let note = slowest.map(|of| format!("most: {}, {}", of.0, change_of_time(of.1, of.2))).unwrap_or_default();
        let value =
            format!("{} over {} PoVs, medians of {} runs", change_of_time(before, after), medians.len(), checking.runs);
        rows.push(Row::fact("execute-cpu", value, State::Info).with_note(note));
    }
    rows
}

/// What the reader should know about an upgrade.
pub(super) fn notes([old, new]: [&Runtime; 2], all: &[Executed], report: &mut Report) {
    if old.pvf.code_hash() == new.pvf.code_hash() {
        report.notes.push("Both runtimes are the same code.".into());
    }
    let mut roles: Vec<String> = Vec::new();
    for (of, role) in report.povs.iter().filter_map(|of| Some((of, of.role?))) {
        let shown = format!("{} ({role})", of.name);
        // On both runtimes it has the same role.
        if !roles.contains(&shown) {
            roles.push(shown);
        }
    }
    report.notes.push(match &roles[..] {
        [] if all.iter().any(|of| of.is_valid_on(1)) => {
            "No PoV asks for the upgrade, and none is of the new runtime only: the blocks of the upgrade, which are the \
             ones that fail in practice, are not in this report. Export them from a test network that does the upgrade."
                .into()
        }
        [] => "No PoV was accepted by the new runtime: nothing is known of its blocks. Export them from a test network \
               that has upgraded, and give them with --pov-new."
            .into(),
        roles => format!("The blocks of an upgrade are the ones that fail in practice: look at {}.", roles.join(" and ")),
    });
}

fn change(before: f64, after: f64) -> String {
    if before == 0.0 {
        return String::new();
    }
    let percent = (after / before - 1.0) * 100.0;
    if percent.abs() < 0.05 { " (no change)".into() } else { format!(" ({percent:+.1} %)") }
}

fn change_of_size(before: u64, after: u64) -> String {
    format!("{} to {}{}", human_bytes(before), human_bytes(after), change(before as f64, after as f64))
}

fn change_of_time(before: Duration, after: Duration) -> String {
    format!("{} to {}{}", time(before), time(after), change(before.as_secs_f64(), after.as_secs_f64()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_shown_in_percent() {
        assert_eq!(change_of_size(1000, 1100), "1000 B to 1.1 KiB (+10.0 %)");
        assert_eq!(change_of_time(Duration::from_millis(10), Duration::from_millis(5)), "10 ms to 5 ms (-50.0 %)");
        assert_eq!(change_of_size(5, 5), "5 B to 5 B (no change)");
        assert_eq!(change_of_size(0, 5), "0 B to 5 B");
    }
}
