//! Artifacts that no request needed for long are removed from the store.

use super::{env::Env, fixtures::*};
use crate::{DropReason, Event, Listed, Notice, Policy};
use pvf_proto::{
    artifact::StoredArtifact,
    priority::ExecuteKind,
    verdict::Outcome,
    wire::{Work, WorkerKind},
};
use std::time::Duration;

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn listed(code: u8, idle: u64) -> Listed {
    Listed { artifact: (*artifact(code)).clone(), bytes: 1000, idle: seconds(idle) }
}

/// A fleet with a policy that prunes every 100 seconds.
fn fleet(policy: Policy) -> Env {
    let mut env = Env::with(Policy { prune_interval: seconds(100), ..policy });
    env.worker(1, WorkerKind::Prepare, 1);
    env.worker(2, WorkerKind::Execute, 1);
    env
}

#[test]
fn artifacts_are_pruned_by_size_and_age_unless_a_request_needs_them() {
    let policy =
        Policy { prune_above: 2500, prune_min_age: seconds(1000), artifact_ttl: seconds(10_000), ..unstaged() };
    let mut env = fleet(policy);
    env.event(Event::Listed(vec![listed(1, 5000), listed(2, 4000), listed(3, 500), listed(4, 100)]));
    env.submit(1, 1, execute(ExecuteKind::Backing));
    env.looked_up(1, Some(StoredArtifact::Prepared(info(1))));
    let run = env.dispatched();
    env.new_notices();
    env.pass_with_heartbeats(&[1, 2], 100);
    assert_eq!(env.needs_saved(), [(2, seconds(4100)), (3, seconds(600)), (4, seconds(200)), (1, seconds(100))]);
    env.dropped(2);
    assert_eq!(env.new_notices(), [Notice::ArtifactDropped { artifact: artifact(2), why: DropReason::Unused }]);
    assert_eq!((env.gauges().artifacts, env.gauges().artifact_bytes), (3, 3000), "above the limit, but all are young");
    env.executed(&run, valid());
    assert!(is_valid(&env.verdict_of(1)));
    for _ in 0..4 {
        env.pass_with_heartbeats(&[1, 2], 100);
        assert_eq!(env.needs_saved().len(), 3);
    }
    env.quiet();
    env.pass_with_heartbeats(&[1, 2], 100);
    assert_eq!(env.needs_saved().first(), Some(&(3, seconds(1100))));
    env.dropped(3);
    assert_eq!((env.gauges().artifacts, env.gauges().artifact_bytes), (2, 2000), "below the limit");
    assert_eq!(env.counts().artifacts_pruned, 2);
}

#[test]
fn an_artifact_that_was_not_needed_for_its_time_to_live_is_pruned_in_any_case() {
    let policy = Policy { prune_min_age: seconds(50), artifact_ttl: seconds(150), ..unstaged() };
    let mut env = fleet(policy);
    env.event(Event::Listed(vec![listed(1, 0)]));
    env.pass_with_heartbeats(&[1, 2], 100);
    assert_eq!(env.needs_saved(), [(1, seconds(100))]);
    env.pass_with_heartbeats(&[1, 2], 100);
    assert_eq!(env.needs_saved(), [(1, seconds(200))]);
    env.dropped(1);
    assert_eq!(env.gauges().artifacts, 0);
    env.pass_with_heartbeats(&[1, 2], 100);
    assert_eq!(env.needs_saved(), []);
}

#[test]
fn a_request_that_joins_an_execution_needs_its_artifact() {
    let mut env = fleet(unstaged());
    env.submit(1, 1, candidate(ExecuteKind::Backing, 1));
    env.looked_up(1, Some(StoredArtifact::Prepared(info(1))));
    env.dispatched();
    env.pass_with_heartbeats(&[1, 2], 60);
    env.submit(2, 1, candidate(ExecuteKind::Backing, 1));
    env.pass_with_heartbeats(&[1, 2], 40);
    assert_eq!(env.needs_saved(), [(1, seconds(40))]);
}

#[test]
fn a_request_that_needs_an_artifact_while_it_is_removed_has_it_prepared_again() {
    let policy = Policy { prune_min_age: seconds(50), artifact_ttl: seconds(50), ..unstaged() };
    let mut env = fleet(policy);
    env.event(Event::Listed(vec![listed(1, 1000)]));
    env.pass_with_heartbeats(&[1, 2], 100);
    assert_eq!(env.needs_saved().len(), 1);
    env.submit(1, 1, Work::Precheck);
    env.dropped(1);
    let prepare = env.dispatched();
    env.prepared(&prepare, 1);
    assert_eq!(env.verdict_of(1), Outcome::PrecheckOk);
}
