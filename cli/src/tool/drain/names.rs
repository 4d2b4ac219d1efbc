//! Which workers are meant: by ids, by what ids begin with, and by their machine. Nothing is told to any worker unless
//! each name means exactly one.

use super::args::Drain;
use crate::tool::failure::Failure;
use pvf_shared::{
    identity::WorkerId,
    wire::{DrainState, FleetStatus, MAX_WORKERS_LISTED, WorkerStatus},
};
use tokio::time::Instant;

/// Workers that an error lists.
const LISTED: usize = 10;

/// A worker that is to drain.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) worker: WorkerId,
    /// Its machine; `None` if the status does not list it.
    pub(super) host: Option<String>,
    /// What was last heard of it.
    pub(super) state: DrainState,
    /// What was last shown.
    pub(super) shown: Option<DrainState>,
    /// Since when the coordinator does not know it.
    pub(super) unknown_since: Option<Instant>,
}

impl Target {
    fn new(worker: WorkerId, host: Option<String>) -> Self {
        Self { worker, host, state: DrainState::Unknown, shown: None, unknown_since: None }
    }
}

impl From<&WorkerStatus> for Target {
    fn from(status: &WorkerStatus) -> Self {
        Self::new(status.id, Some(status.host.clone()))
    }
}

/// The workers that are meant, each once. The status lists all workers, or those of the machine.
pub(super) fn resolve(status: &FleetStatus, args: &Drain) -> Result<Vec<Target>, Failure> {
    let listed = &status.workers;
    // The status lists a part of a large fleet, or of a machine with very many workers.
    let all = status.prepare.workers + status.execute.workers;
    let is_part = match &args.host {
        None => (listed.len() as u64) < all,
        Some(_) => listed.len() >= MAX_WORKERS_LISTED,
    };
    let mut targets = Vec::new();
    if args.workers.is_empty() {
        let host = args.host.as_deref().unwrap_or_default();
        if listed.is_empty() {
            return Err(Failure::Input(format!("--host {host}: no worker of this machine is registered")));
        }
        if is_part {
            return Err(Failure::Input(format!(
                "--host {host}: more workers than a status lists ({}): name them",
                listed.len()
            )));
        }
        targets.extend(listed.iter().map(Target::from));
    }
    for name in &args.workers {
        let target = one(listed, name, is_part, args.host.as_deref())?;
        if !targets.iter().any(|other: &Target| other.worker == target.worker) {
            targets.push(target);
        }
    }
    Ok(targets)
}

fn one(listed: &[WorkerStatus], name: &str, is_part: bool, host: Option<&str>) -> Result<Target, Failure> {
    if let Ok(worker) = name.parse::<WorkerId>() {
        return match listed.iter().find(|status| status.id == worker) {
            Some(status) => Ok(status.into()),
            None if is_part => Ok(Target::new(worker, None)),
            None => Err(unknown(name, host)),
        };
    }
    let candidates: Vec<_> = listed.iter().filter(|status| status.id.to_string().starts_with(name)).collect();
    match candidates[..] {
        [_] if is_part => Err(Failure::Input(format!(
            "{name}: the status lists {} workers and there are more, of which this may be the beginning: give the whole id",
            listed.len()
        ))),
        [status] => Ok(status.into()),
        [] => Err(unknown(name, host)),
        _ => {
            let shown = candidates.iter().take(LISTED).map(|status| format!("\n  {} on {}", status.id, status.host));
            let more = match candidates.len().saturating_sub(LISTED) {
                0 => String::new(),
                more => format!("\n  and {more} more"),
            };
            let shown: String = shown.collect();
            Err(Failure::Input(format!("{name} is the beginning of the ids of several workers:{shown}{more}")))
        }
    }
}

fn unknown(name: &str, host: Option<&str>) -> Failure {
    let of = host.map(|host| format!(" of {host}")).unwrap_or_default();
    Failure::Input(format!(
        "{name}: no worker{of} with this id is registered: it has left, was lost, or never was (`pvf status` lists them)"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use pvf_shared::{
        ids::EngineId,
        wire::{Capacity, SecurityStatus, WorkerKind},
    };
    use pvf_testkit::fixtures::fleet_status;

    fn worker(id: &str, host: &str) -> WorkerStatus {
        let id: WorkerId = format!("{id}{}", "0".repeat(32 - id.rsplit('.').next().unwrap().len())).parse().unwrap();
        WorkerStatus {
            id,
            kind: id.kind,
            slots: 1,
            running: 0,
            engine: EngineId::parse("e").unwrap(),
            host: host.into(),
            version: "v".into(),
            security: SecurityStatus::default(),
            draining: false,
            trouble: None,
            signs_with: None,
            trusts: vec![],
        }
    }

    fn status(workers: Vec<WorkerStatus>) -> FleetStatus {
        let of = |kind| (workers.iter().filter(|worker| worker.kind == kind).count() as u64, 0);
        let (prepare, execute) = (of(WorkerKind::Prepare).into(), of(WorkerKind::Execute).into());
        FleetStatus { prepare, execute, workers, ..fleet_status() }
    }

    fn fleet() -> FleetStatus {
        status(vec![worker("execute.w.0a", "h1"), worker("execute.w.0b", "h2"), worker("prepare.p.0a", "h1")])
    }

    fn meant(status: &FleetStatus, names: &[&str], host: Option<&str>) -> Result<Vec<String>, String> {
        let workers = names.iter().map(|name| (*name).to_owned()).collect();
        let args = Drain { workers, host: host.map(str::to_owned), no_wait: false };
        let short = |target: Target| target.worker.to_string().trim_end_matches('0').to_owned();
        resolve(status, &args).map(|targets| targets.into_iter().map(short).collect()).map_err(|e| e.to_string())
    }

    #[test]
    fn a_beginning_that_no_other_id_has_means_its_worker() {
        let fleet = fleet();
        let whole = fleet.workers[1].id.to_string();
        for name in [&whole, "execute.w.0b", "execute.w.0b00"] {
            assert_eq!(meant(&fleet, &[name], None).unwrap(), ["execute.w.0b"], "{name}");
        }
        assert_eq!(meant(&fleet, &["p", "execute.w.0a", "prepare"], None).unwrap(), ["prepare.p.0a", "execute.w.0a"]);
        assert_eq!(meant(&fleet, &[], Some("h1")).unwrap().len(), 3, "the status lists those of the machine");
    }

    #[test]
    fn what_means_no_worker_or_several_is_an_error() {
        let fleet = fleet();
        let several = meant(&fleet, &["execute.w"], None).unwrap_err();
        for part in ["several workers", "execute.w.0a", " on h1", "execute.w.0b", " on h2"] {
            assert!(several.contains(part) && !several.contains("prepare"), "{several}");
        }
        let other = worker("execute.w.0c", "h").id.to_string();
        for name in ["x", "0a", &other] {
            assert!(meant(&fleet, &["p", name], None).unwrap_err().contains("no worker with this id"), "{name}");
        }
        let empty = status(vec![]);
        assert!(meant(&empty, &[], Some("h3")).unwrap_err().contains("h3: no worker of this machine"));
        let many = status((0..12).map(|n| worker(&format!("execute.w.{n:02}"), "h")).collect());
        assert!(meant(&many, &["e"], None).unwrap_err().contains("and 2 more"));
    }

    #[test]
    fn where_a_status_lists_a_part_of_the_workers_only_whole_ids_are_clear() {
        let mut large = fleet();
        large.execute = Capacity { workers: 300, slots: 300 };
        let other = worker("execute.w.0c", "h").id.to_string();
        assert_eq!(meant(&large, &[&other], None).unwrap(), ["execute.w.0c"]);
        assert!(meant(&large, &["execute.w.0a"], None).unwrap_err().contains("give the whole id"));
        let machine = status((0..256).map(|n| worker(&format!("execute.w.{n:03}"), "h")).collect());
        assert!(meant(&machine, &[], Some("h")).unwrap_err().contains("name them"));
    }
}
