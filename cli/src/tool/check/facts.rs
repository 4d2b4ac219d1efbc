//! What was checked with what.

use super::{checking::Checking, report::Report};
use crate::tool::network::{show::changes, snapshot::Snapshot};
use pvf_worker::wasm::{CpuBaseline, engine_id};
use std::time::SystemTime;

/// The network, this program and this machine.
pub(super) fn of_run(checking: &Checking<'_>, report: &mut Report) {
    match &checking.network.snapshot {
        Some(snapshot) => of_network(snapshot, report),
        None => {
            report.facts.push(("network", "none given".into()));
            report.notes.push(
                "No --network: the executor parameters and the limit of decompressed code are defaults, and sizes are \
                 held against no limit."
                    .into(),
            );
        }
    }
    for what in &checking.network.overridden {
        report.facts.push(("by option", (*what).to_owned()));
    }
    let baseline = CpuBaseline::of_this_machine();
    let engine = engine_id(baseline).map_or_else(|error| error, |engine| engine.to_string());
    report.facts.push(("checked with", format!("pvf {}, engine {engine}", env!("CARGO_PKG_VERSION"))));
    report.facts.push(("machine", processor()));
    let missing = checking.explainer.missing_mechanisms();
    if !missing.is_empty() {
        report.notes.push(format!(
            "The sandbox of this machine is incomplete (missing: {}): check only code that you trust.",
            missing.join(", ")
        ));
    }
    let slowdown = checking.thresholds.slowdown;
    report.notes.push(match slowdown > 1.0 {
        true => format!("CPU times are of this machine; percents are for one that is {slowdown} times as slow."),
        false => {
            "CPU times are of this machine, and no prediction for another one; --slowdown assumes a slower one.".into()
        }
    });
}

fn of_network(snapshot: &Snapshot, report: &mut Report) {
    report.facts.push(("network", snapshot.title()));
    report.notes.extend(snapshot.warnings(SystemTime::now()).into_iter().map(sentence));
    for pending in &snapshot.pending {
        let what = changes(snapshot, pending);
        report.notes.push(format!("From session {} on: {what}.", pending.session));
    }
}

fn sentence(text: String) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(|c| c.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", chars.as_str())
}

/// The model of the processor.
fn processor() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let model = model.map_or("an unknown processor", |(_, name)| name.trim());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{model}, {cores} cores")
}
