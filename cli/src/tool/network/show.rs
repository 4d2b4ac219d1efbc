//! `pvf network fetch` and `pvf network show`.

use super::{
    args::NetworkCommand,
    fetch::{What, fetch},
    resolve,
    rpc::Node,
    snapshot::Snapshot,
};
use crate::tool::{
    failure::{Exit, Failure},
    text::{escaped, escaped_lines},
    usage::time,
};
use pvf_shared::{
    params::{PvfExecKind, PvfPrepKind},
    telemetry::to_stderr,
    units::human_bytes,
};
use std::time::SystemTime;

pub(crate) async fn network(command: &NetworkCommand, json: bool) -> Result<Exit, Failure> {
    match command {
        NetworkCommand::Fetch { rpc, at, out, no_parachains } => {
            let node = Node::new("--rpc", rpc)?;
            to_stderr(format_args!("asking {}", node.shown()));
            let what = if *no_parachains { What::Limits } else { What::LimitsAndParachains };
            let snapshot = fetch(&node, *at, what).await?;
            let text = serde_json::to_string_pretty(&snapshot).map_err(|e| Failure::no_result("snapshot", e))?;
            match out {
                None => outln!("{text}"),
                Some(path) => {
                    let failed = |e| Failure::Input(format!("--out {}: {e}", path.display()));
                    std::fs::write(path, text + "\n").map_err(failed)?;
                    to_stderr(format_args!("wrote {} with {}", path.display(), escaped(&snapshot.title())));
                }
            }
        }
        NetworkCommand::Show { network } => {
            let snapshot = resolve(network).await?;
            if json {
                outln!("{}", serde_json::to_string(&snapshot).map_err(|e| Failure::no_result("snapshot", e))?);
            } else {
                out!("{}", escaped_lines(&text(&snapshot)));
            }
            for warning in snapshot.warnings(SystemTime::now()) {
                to_stderr(format_args!("warning: {}", escaped(&warning)));
            }
        }
    }
    Ok(Exit::Success)
}

fn text(snapshot: &Snapshot) -> String {
    let mut out = format!("{}\n", snapshot.title());
    let source = |name: &str| match snapshot.provenance.get(name) {
        None => String::new(),
        Some(of) => format!("  {}: {}", if of.known { "known" } else { "assumed" }, of.source),
    };
    for (name, value) in snapshot.limits.named() {
        let shown = if name.contains("_num_") { value.to_string() } else { human_bytes(value.into()) };
        out += &format!("  {name:<38}{shown:>10}{}\n", source(name));
    }
    let params = &snapshot.executor_params;
    let of_params = [
        ("pre-check, CPU time", time(params.prep_timeout(PvfPrepKind::Precheck))),
        ("preparation, CPU time", time(params.prep_timeout(PvfPrepKind::Prepare))),
        ("backing, CPU time", time(params.exec_timeout(PvfExecKind::Backing))),
        ("approval, CPU time", time(params.exec_timeout(PvfExecKind::Approval))),
        ("guest memory, pages of 64 KiB", params.memory_page_limit().to_string()),
        ("logical stack, values", params.stack_logical_max().to_string()),
    ];
    let heap = params.prechecking_max_memory().map(|bytes| ("preparation, heap", human_bytes(bytes)));
    for (name, value) in of_params.into_iter().chain(heap) {
        out += &format!("  {name:<38}{value:>10}{}\n", source("executor_params"));
    }
    for pending in &snapshot.pending {
        out += &format!("  from session {}: {}\n", pending.session, changes(snapshot, pending));
    }
    if !snapshot.parachains.is_empty() {
        let upgrading = snapshot.parachains.iter().filter(|para| para.future_code_hash.is_some()).count();
        out += &format!("  {} parachains, of which {upgrading} are about to upgrade\n", snapshot.parachains.len());
    }
    out
}

/// What a pending configuration changes.
pub(crate) fn changes(snapshot: &Snapshot, pending: &super::snapshot::Pending) -> String {
    let now = snapshot.limits.named();
    let mut changes: Vec<String> = pending
        .limits
        .named()
        .into_iter()
        .filter(|limit| !now.contains(limit))
        .map(|(name, value)| format!("{name} {value}"))
        .collect();
    if pending.executor_params != snapshot.executor_params {
        changes.push("other executor parameters".into());
    }
    if changes.is_empty() { "no change that matters here".into() } else { changes.join(", ") }
}
