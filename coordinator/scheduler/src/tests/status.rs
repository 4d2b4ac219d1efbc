//! The fleet's status.

use super::fixtures::*;
use pvf_proto::{
    priority::ExecuteKind,
    wire::{FleetStatus, MAX_WORKERS_LISTED, SecurityStatus, SubmitReply, Work, WorkerHello, WorkerKind},
};

#[test]
fn a_status_counts_requests_queues_and_slots() {
    let mut env = warm_fleet();
    for n in 1..=3 {
        env.submit(n, 1, candidate(ExecuteKind::Approval, n as u8));
    }
    let (first, _) = (env.dispatched(), env.dispatched());
    assert_eq!(env.submit_as(2, 4, candidate(ExecuteKind::Dispute, 3)), SubmitReply::Accepted);
    env.submit(5, 2, Work::Precheck);
    env.looked_up(2, None);
    env.dispatched();
    env.submit(6, 3, Work::Precheck);
    env.looked_up(3, None);
    let status = env.status();
    assert_eq!((status.token, status.version.as_str()), (TOKEN, "t"));
    assert_eq!((status.requests, status.request_bytes, status.clients), (6, 3, 2));
    assert_eq!((status.prepare_queue, status.execute_queue), ([0, 1, 0], [1, 0, 0, 0]));
    assert_eq!((status.prepare.workers, status.prepare.slots), (1, 1));
    assert_eq!((status.execute.workers, status.execute.slots), (2, 2));
    assert_eq!((status.artifacts, status.artifact_bytes), (3, 1000));
    assert_eq!((status.prepared, status.executed, status.coalesced, status.overloaded), (1, 2, 1, 0));
    env.executed(&first, valid());
    assert!(is_valid(&env.verdict_of(1)));
    assert_eq!(env.dispatched().request, Some(request(3)));
    assert_eq!((env.status().executed, env.status().execute_queue), (3, [0; 4]));
}

#[test]
fn a_status_lists_the_workers_of_one_machine_or_of_all() {
    let mut env = small_fleet();
    env.register(4, WorkerHello { host: "host2".into(), ..hello(4, WorkerKind::Prepare) });
    let listed = |status: FleetStatus| {
        status.workers.into_iter().map(|worker| (worker.id, worker.kind, worker.running)).collect::<Vec<_>>()
    };
    let of_host = env.status_of(Some("host2"));
    assert_eq!(of_host.execute.workers + of_host.prepare.workers, 4, "the totals count all");
    assert_eq!(listed(of_host), [(worker(4), WorkerKind::Prepare, 0), (worker(2), WorkerKind::Execute, 0)]);
    assert_eq!(listed(env.status()).len(), 4);
    assert_eq!(listed(env.status_of(Some("elsewhere"))), []);
}

#[test]
fn a_status_says_what_the_sandboxes_of_all_workers_miss() {
    let mut env = small_fleet();
    let with = |host: &str, secure, missing: &[&str], n| WorkerHello {
        host: host.into(),
        security: SecurityStatus { secure, missing: missing.iter().map(|name| (*name).into()).collect() },
        ..hello(n, WorkerKind::Execute)
    };
    env.register(5, with("host5", true, &["landlock"], 5));
    env.register(6, with("host6", false, &["landlock", "seccomp"], 6));
    // More workers than are listed.
    for n in 0..MAX_WORKERS_LISTED as u64 {
        env.register(100 + n, with("host7", true, &[], 100 + n));
    }
    let status = env.status();
    assert_eq!(status.workers.len(), MAX_WORKERS_LISTED);
    let summary = status.sandboxes.unwrap();
    let missing: Vec<_> = summary.missing.iter().map(|entry| entry.mechanism.as_str()).collect();
    assert_eq!((missing, summary.insecure.contains(&"host6".to_owned())), (vec!["landlock", "seccomp"], true));
    assert!(!summary.insecure.contains(&"host7".to_owned()));
}
