//! Validations through the real host while the coordinator, the bus and the node service are killed, stopped and cut
//! off: none is held against a candidate, and every answer comes before the node's limit.

use super::{FLEET_HOST, Setup, behaviours::block, driver::Candidate, table::Table};
use pvf_guests::distinct_adder;
use pvf_testkit::processes::{Process, signal};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::Mutex;

/// CPU time limit: the node waits four times as long.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Validations at the same time: as many as the host has workers.
const PARALLEL: usize = 2;
/// How long something stands still.
const STANDSTILL: Duration = Duration::from_secs(3);
/// Time between two faults.
const PAUSE: Duration = Duration::from_millis(1500);

#[derive(Default)]
struct Counts {
    outcomes: BTreeMap<String, u64>,
    worst_ms: f64,
    blamed: Vec<String>,
}

pub async fn run(setup: &mut Setup, validations: u64) -> Result<Table, String> {
    let codes: Vec<_> = (200..204).map(|n| setup.driver.code(&distinct_adder(n).into())).collect();
    let candidate = Candidate { timeout: TIMEOUT, ..block(setup, 0) };
    let (counts, done) = (Arc::new(Mutex::new(Counts::default())), Arc::new(AtomicU64::new(0)));
    let mut nodes = tokio::task::JoinSet::new();
    for _ in 0..PARALLEL {
        let (driver, codes, candidate) = (setup.driver.clone(), codes.clone(), candidate.clone());
        let (counts, done) = (counts.clone(), done.clone());
        nodes.spawn(async move {
            loop {
                let n = done.fetch_add(1, Ordering::Relaxed);
                if n >= validations {
                    return;
                }
                let answer = driver.execute(FLEET_HOST, &codes[n as usize % codes.len()], &candidate).await;
                let mut counts = counts.lock().await;
                *counts.outcomes.entry(answer.outcome.clone()).or_default() += 1;
                counts.worst_ms = counts.worst_ms.max(answer.ms);
                if !["valid", "internal"].contains(&answer.outcome.as_str()) {
                    counts.blamed.push(answer.reason);
                }
                drop(counts);
                // Spread, so that every fault has validations under way.
                tokio::time::sleep(Duration::from_millis(150)).await;
            }
        });
    }
    let faults = inject(setup, &done, validations).await;
    while let Some(node) = nodes.join_next().await {
        node.map_err(|e| e.to_string())?;
    }
    let counts = counts.lock().await;
    let count = |outcome: &str| counts.outcomes.get(outcome).copied().unwrap_or(0);
    let mut table = Table::new("Validations while everything fails in turn", &["seen"]);
    let (valid, internal) = (count("valid"), count("internal"));
    table.add(
        "validations",
        validations.to_string(),
        &[(valid + internal).to_string()],
        valid + internal == validations,
    );
    let blamed = ["invalid", "possibly-invalid", "preparation", "error", "deadline"].map(|name| (name, count(name)));
    for (name, seen) in blamed {
        table.add(
            name,
            "0",
            &[format!("{seen} {}", if seen > 0 { counts.blamed.join("; ") } else { String::new() })],
            seen == 0,
        );
    }
    table.add("valid", "most", &[valid.to_string()], valid > validations / 2);
    table.add("internal: the node does not vote", "some", &[internal.to_string()], true);
    let limit = (TIMEOUT * 4).as_secs_f64() * 1e3;
    let worst = format!("{:.0} ms", counts.worst_ms);
    table.add(
        "longest answer, waiting for a worker included",
        format!("below {limit:.0} ms"),
        &[worst],
        counts.worst_ms < limit,
    );
    let mut kinds = BTreeMap::<_, u64>::new();
    faults.iter().for_each(|fault| *kinds.entry(fault).or_default() += 1);
    let kinds: Vec<_> = kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    table.add("faults", "at least 10", &[kinds.join(", ")], faults.len() >= 10);
    Ok(table)
}

/// Injects faults until all validations are begun. Returns their names.
async fn inject(setup: &mut Setup, done: &AtomicU64, validations: u64) -> Vec<&'static str> {
    let mut faults = Vec::new();
    for fault in [
        "coordinator killed",
        "bus killed",
        "service killed",
        "coordinator stopped",
        "bus stopped",
        "service stopped",
        "worker killed",
        "link cut",
    ]
    .into_iter()
    .cycle()
    {
        tokio::time::sleep(PAUSE).await;
        if done.load(Ordering::Relaxed) >= validations {
            return faults;
        }
        eprintln!("{}: {fault}", done.load(Ordering::Relaxed));
        match fault {
            "coordinator killed" => setup.fleet.replace_coordinator(),
            "bus killed" => setup.fleet.nats.restart().await,
            "service killed" => {
                if let Some(mut service) = setup.service.take() {
                    service.kill();
                    setup.service = Some(setup.workers.serve().await);
                }
            }
            "worker killed" => {
                // An idle worker or one with a job: one lost worker is tried elsewhere.
                setup.fleet.execute.remove(0).kill();
                setup.fleet.add(pvf_tests::fleet::Role::Execute);
            }
            "coordinator stopped" => stand_still(&setup.fleet.coordinator).await,
            "service stopped" => {
                if let Some(service) = &setup.service {
                    stand_still(service).await;
                }
            }
            "bus stopped" => {
                let pid = setup.fleet.nats.pid();
                signal(pid, libc::SIGSTOP);
                tokio::time::sleep(STANDSTILL).await;
                signal(pid, libc::SIGCONT);
            }
            // For longer than a silent connection is kept.
            "link cut" => {
                let link = setup.link.as_ref().expect("this part has a link");
                link.cut(true);
                tokio::time::sleep(STANDSTILL * 3).await;
                link.cut(false);
            }
            other => unreachable!("{other}"),
        }
        faults.push(fault);
    }
    faults
}

async fn stand_still(process: &Process) {
    signal(process.pid(), libc::SIGSTOP);
    tokio::time::sleep(STANDSTILL).await;
    signal(process.pid(), libc::SIGCONT);
}
