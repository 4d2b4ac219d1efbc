//! Artifacts that operators pin, have removed, or prune.

use super::{env::Env, fixtures::*};
use crate::{ArtifactFilter, DropReason, Effect, Event, Listed, Notice, Policy};
use pvf_proto::{
    artifact::StoredArtifact,
    identity::UserName,
    ids::CodeHash,
    priority::ExecuteKind,
    verdict::{InternalError, Outcome},
    wire::{
        ArtifactChoice, Fate, FromOperator, MAX_PINNED, MAX_REMOVED, OperatorReply, Pinning, Removal, Removed, Work,
    },
};
use std::time::Duration;

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn code(n: u8) -> CodeHash {
    CodeHash([n; 32])
}

/// A coordinator that knows artifacts of these codes, each not needed for so many seconds.
fn with_listed(policy: Policy, listed: &[(u8, u64)]) -> Env {
    let mut env = Env::with(policy);
    let listed =
        listed.iter().map(|(n, idle)| Listed { artifact: (*artifact(*n)).clone(), bytes: 1000, idle: seconds(*idle) });
    env.event(Event::Listed(listed.collect()));
    env.new_notices();
    env
}

fn pins(answer: OperatorReply) -> Pinning {
    let OperatorReply::Pin(answer) = answer else { panic!("{answer:?}") };
    answer
}

fn removal(answer: OperatorReply) -> Removal {
    let OperatorReply::Removal(answer) = answer else { panic!("{answer:?}") };
    answer
}

/// The codes of what was removed, and what became of each.
fn fates(answer: OperatorReply) -> Vec<(u8, Fate)> {
    let Removal::Done(Removed { artifacts, .. }) = removal(answer) else { panic!("nothing was removed") };
    artifacts.into_iter().map(|entry| (entry.artifact.code_hash.0[0], entry.fate)).collect()
}

fn remove(n: u8) -> FromOperator {
    FromOperator::Remove { artifacts: ArtifactChoice::Code(code(n)) }
}

fn prune(older_than: Option<u64>, dry_run: bool) -> FromOperator {
    FromOperator::Prune { older_than: older_than.map(seconds), dry_run }
}

/// Pins or unpins a code; the store takes it.
fn pin(env: &mut Env, message: FromOperator, saved: &[u8]) -> Pinning {
    env.operator_waits(message);
    env.expect(Effect::SavePins { codes: saved.iter().map(|n| code(*n)).collect() });
    env.event(Event::PinsSaved { error: None });
    pins(env.operator_reply())
}

#[test]
fn pinned_artifacts_are_not_pruned_until_they_are_unpinned() {
    let policy =
        Policy { prune_interval: seconds(100), prune_min_age: seconds(50), artifact_ttl: seconds(50), ..staged() };
    let mut env = with_listed(policy, &[(1, 500), (2, 500)]);
    let saved = pin(&mut env, FromOperator::Pin { code: code(1) }, &[1]);
    assert_eq!(saved, Pinning::Saved { changed: true, artifacts: 1, bytes: 1000 });
    let (code, operator) = (code(1), UserName::parse("ops").unwrap());
    assert_eq!(env.new_notices(), [Notice::CodePinned { code, pinned: true, operator }]);
    // It is so already, and the store knows it.
    let again = pins(env.operator(FromOperator::Pin { code }));
    assert_eq!(again, Pinning::Saved { changed: false, artifacts: 1, bytes: 1000 });
    let listed = env.artifacts(&ArtifactFilter { limit: 9, ..ArtifactFilter::default() }).entries;
    assert_eq!(listed.iter().filter(|view| view.pinned).map(|view| view.id.code_hash).collect::<Vec<_>>(), [code]);
    env.pass(seconds(100));
    env.needs_saved();
    env.dropped(2);
    env.quiet();
    assert_eq!(fates(env.operator(prune(None, false))), []);
    assert_eq!(removal(env.operator(remove(1))), Removal::Pinned);
    let one = ArtifactChoice::One((*artifact(1)).clone());
    assert_eq!(removal(env.operator(FromOperator::Remove { artifacts: one })), Removal::Pinned);
    pin(&mut env, FromOperator::Unpin { code }, &[]);
    env.pass(seconds(100));
    env.needs_saved();
    env.dropped(1);
    assert_eq!(env.gauges().artifacts, 0);
}

#[test]
fn what_an_earlier_coordinator_left_pinned_stays_and_before_it_is_known_nothing_is_removed() {
    let policy =
        Policy { prune_interval: seconds(10), prune_min_age: seconds(5), artifact_ttl: seconds(5), ..staged() };
    let mut env = Env::before_pins(policy);
    env.event(Event::Listed(vec![Listed { artifact: (*artifact(1)).clone(), bytes: 1000, idle: seconds(500) }]));
    env.pass(seconds(10));
    env.needs_saved();
    env.quiet();
    for message in [remove(1), prune(None, false), FromOperator::Pin { code: code(2) }] {
        match env.operator(message) {
            OperatorReply::Pin(Pinning::NotNow(why)) | OperatorReply::Removal(Removal::NotNow(why)) => {
                assert!(why.contains("has not read yet"), "{why}");
            }
            other => panic!("{other:?}"),
        }
    }
    env.event(Event::PinsRead { codes: vec![code(1)] });
    env.pass(seconds(10));
    env.needs_saved();
    env.quiet();
    assert_eq!(removal(env.operator(remove(1))), Removal::Pinned);
}

#[test]
fn an_operator_is_told_when_a_pin_could_not_be_saved_and_may_ask_again() {
    let mut env = with_listed(staged(), &[]);
    env.operator_waits(FromOperator::Pin { code: code(1) });
    env.expect(Effect::SavePins { codes: vec![code(1)] });
    // Another change meanwhile is in the next write.
    env.operator_waits(FromOperator::Pin { code: code(2) });
    env.quiet();
    env.event(Event::PinsSaved { error: Some("full".into()) });
    assert_eq!(pins(env.operator_reply()), Pinning::NotSaved("full".into()));
    env.expect(Effect::SavePins { codes: vec![code(1), code(2)] });
    env.event(Event::PinsSaved { error: Some("full".into()) });
    assert_eq!(pins(env.operator_reply()), Pinning::NotSaved("full".into()));
    // It is in force, and the store is told again.
    let saved = pin(&mut env, FromOperator::Pin { code: code(1) }, &[1, 2]);
    assert_eq!(saved, Pinning::Saved { changed: false, artifacts: 0, bytes: 0 });
}

#[test]
fn codes_that_are_pinned_are_bounded() {
    let mut env = Env::before_pins(staged());
    let all = (0..MAX_PINNED).map(|n| CodeHash([(n % 256) as u8, (n / 256) as u8].repeat(16).try_into().unwrap()));
    env.event(Event::PinsRead { codes: all.collect() });
    let more = FromOperator::Pin { code: CodeHash::of(b"more") };
    assert_eq!(pins(env.operator(more)), Pinning::TooMany(MAX_PINNED as u32));
}

#[test]
fn an_artifact_that_is_removed_is_prepared_again_for_the_next_request() {
    let mut env = warm_fleet();
    env.new_notices();
    env.operator_waits(remove(1));
    let operator = UserName::parse("ops").unwrap();
    let why = DropReason::Operator(operator);
    assert_eq!(env.new_notices(), [Notice::ArtifactDropped { artifact: artifact(1), why }]);
    env.dropped(1);
    assert_eq!(fates(env.operator_reply()), [(1, Fate::Removed)]);
    assert_eq!(env.gauges().artifacts, 0);
    assert_eq!(fates(env.operator(remove(1))), []);
    env.submit(1, 1, execute(ExecuteKind::Backing));
    env.looked_up(1, None);
    let prepare = env.dispatched();
    assert_eq!(fates(env.operator(remove(1))), [(1, Fate::Preparing)]);
    env.prepared(&prepare, 2);
    assert_eq!(env.dispatched().execute().digest, Some(info(2).digest));
}

#[test]
fn a_job_that_runs_on_an_artifact_that_is_removed_goes_on_and_what_is_queued_waits_for_the_next() {
    let (mut env, run) = one_busy_worker(unstaged());
    env.worker(1, pvf_proto::wire::WorkerKind::Prepare, 1);
    env.submit(2, 1, execute(ExecuteKind::Backing));
    env.operator_waits(FromOperator::Remove { artifacts: ArtifactChoice::One((*artifact(1)).clone()) });
    env.dropped(1);
    assert_eq!(fates(env.operator_reply()), [(1, Fate::Removed)]);
    env.quiet();
    env.executed(&run, valid());
    assert!(is_valid(&env.verdict_of(1)));
    env.looked_up(1, None);
    let prepare = env.dispatched();
    env.prepared(&prepare, 2);
    let next = env.dispatched();
    env.executed(&next, valid());
    assert!(is_valid(&env.verdict_of(2)));
}

#[test]
fn a_staged_job_whose_artifact_is_removed_is_tried_again() {
    let (mut env, run) = one_busy_worker(staged());
    env.worker(1, pvf_proto::wire::WorkerKind::Prepare, 1);
    env.submit(2, 1, execute(ExecuteKind::Backing));
    let staged = env.dispatched();
    env.operator_waits(remove(1));
    env.dropped(1);
    assert_eq!(fates(env.operator_reply()), [(1, Fate::Removed)]);
    let missing = InternalError::ArtifactMissing("gone".into());
    env.executed(&staged, pvf_proto::job::ExecuteOutcome::Internal(missing));
    env.looked_up(1, None);
    let prepare = env.dispatched();
    env.prepared(&prepare, 2);
    let again = env.dispatched();
    assert_eq!((again.request, again.execute().digest), (Some(request(2)), Some(info(2).digest)));
    env.executed(&run, valid());
    assert!(is_valid(&env.verdict_of(1)));
}

#[test]
fn requests_that_come_while_an_artifact_is_removed_wait_for_the_next_one() {
    let mut env = small_fleet();
    env.submit(1, 1, Work::Precheck);
    env.expect_look_up(1);
    env.operator_waits(remove(1));
    env.expect(Effect::Drop { artifact: artifact(1) });
    env.submit(2, 1, Work::Precheck);
    // Two operators wait for the same.
    env.operator_waits(remove(1));
    env.event(Event::LookedUp { artifact: artifact(1), found: Ok(Some(StoredArtifact::Prepared(info(1)))) });
    env.quiet();
    env.event(Event::Dropped { artifact: artifact(1), error: None });
    for _ in 0..2 {
        assert_eq!(fates(env.operator_reply()), [(1, Fate::Removed)]);
    }
    let prepare = env.dispatched();
    env.prepared(&prepare, 2);
    assert_eq!(
        [env.verdict(), env.verdict()].map(|verdict| verdict.outcome),
        [Outcome::PrecheckOk, Outcome::PrecheckOk]
    );
}

#[test]
fn an_operator_is_told_what_the_store_could_not_remove() {
    let mut env = with_listed(staged(), &[(1, 5)]);
    env.operator_waits(remove(1));
    env.expect(Effect::Drop { artifact: artifact(1) });
    env.event(Event::Dropped { artifact: artifact(1), error: Some("read only".into()) });
    assert_eq!(fates(env.operator_reply()), [(1, Fate::Failed("read only".into()))]);
    // It is there still, and may be removed later.
    assert_eq!(env.gauges().artifacts, 1);
    env.operator_waits(remove(1));
    env.dropped(1);
    assert_eq!(fates(env.operator_reply()), [(1, Fate::Removed)]);
}

#[test]
fn what_was_not_needed_for_long_is_pruned_at_an_operators_word() {
    let mut env = with_listed(Policy { artifact_ttl: seconds(100_000), ..staged() }, &[(1, 5000), (2, 400), (3, 90)]);
    pin(&mut env, FromOperator::Pin { code: code(1) }, &[1]);
    assert_eq!(fates(env.operator(prune(None, false))), [], "younger than the coordinator's age");
    let Removal::Done(would) = removal(env.operator(prune(Some(60), true))) else { panic!("nothing") };
    assert_eq!((would.older_than, would.more), (Some(seconds(60)), false));
    let codes: Vec<_> = would.artifacts.iter().map(|entry| entry.artifact.code_hash.0[0]).collect();
    assert!(codes == [2, 3] && would.artifacts.iter().all(|entry| (entry.bytes, &entry.fate) == (1000, &Fate::Kept)));
    env.quiet();
    env.operator_waits(prune(Some(200), false));
    env.dropped(2);
    assert_eq!(fates(env.operator_reply()), [(2, Fate::Removed)]);
    assert_eq!((env.gauges().artifacts, env.counts().artifacts_pruned), (2, 0));
}

#[test]
fn one_message_removes_a_bounded_number_and_says_that_there_are_more() {
    let mut env = Env::with(staged());
    let listed = (0..MAX_REMOVED + 3).map(|n| {
        let artifact = (*artifact_for(1, &format!("e{n}"))).clone();
        Listed { artifact, bytes: 1, idle: seconds(500) }
    });
    env.event(Event::Listed(listed.collect()));
    for (message, left) in [(remove(1), 3), (prune(Some(9), false), 0)] {
        env.operator_waits(message);
        let dropped = env.take_all();
        let before = dropped.len();
        for effect in dropped {
            let Effect::Drop { artifact } = effect else { panic!("{effect:?}") };
            env.quiet();
            env.event(Event::Dropped { artifact, error: None });
        }
        let Removal::Done(removed) = removal(env.operator_reply()) else { panic!("nothing was removed") };
        assert_eq!((removed.artifacts.len(), removed.more), (before, left > 0));
        assert_eq!(env.gauges().artifacts, left);
    }
}
