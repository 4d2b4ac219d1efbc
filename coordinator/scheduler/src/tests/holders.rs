//! From whom the input of a job is pulled, heads-ups that wait until a worker has their code, and inputs that nobody
//! holds any more.

use super::{env::Env, fixtures::*};
use crate::{Policy, RetryReason};
use pvf_proto::{
    artifact::StoredArtifact,
    identity::ClientId,
    job::{ExecuteOutcome, PrepareOutcome},
    priority::ExecuteKind,
    verdict::{InternalError, Outcome},
    wire::{MAX_HOLDERS, Submission, SubmitReply, Work, WorkerKind},
};
use std::time::Duration;

const WAIT_PREPARED: Work = Work::HeadsUp { wait_prepared: true };

fn missing() -> InternalError {
    InternalError::InputBlob("nobody has it".into())
}

fn submit_as(env: &mut Env, from: u64, n: u64, code: u8, work: Work) {
    assert_eq!(env.send_as(from, submission(n, code, work)), SubmitReply::Accepted);
}

fn sorted(mut holders: Vec<ClientId>) -> Vec<ClientId> {
    holders.sort_unstable();
    holders
}

#[test]
fn a_preparation_names_the_clients_that_wait_for_it() {
    let mut env = small_fleet();
    submit_as(&mut env, 1, 1, 1, HEADS_UP);
    submit_as(&mut env, 2, 2, 1, Work::Precheck);
    submit_as(&mut env, 3, 3, 1, candidate(ExecuteKind::Backing, 1));
    submit_as(&mut env, 4, 4, 1, candidate(ExecuteKind::Backing, 1));
    submit_as(&mut env, 4, 5, 1, candidate(ExecuteKind::Backing, 2));
    submit_as(&mut env, 5, 6, 1, candidate(ExecuteKind::Backing, 1));
    env.cancel(5, 6);
    env.looked_up(1, None);
    let prepare = env.dispatched();
    assert_eq!(sorted(prepare.holders.clone()), sorted([1, 2, 3, 4].map(client).into()));
}

#[test]
fn an_execution_names_holders_only_of_what_does_not_travel_with_it() {
    let mut env = Env::with(unstaged());
    env.worker(2, WorkerKind::Execute, 1);
    submit_as(&mut env, 1, 1, 1, candidate(ExecuteKind::Backing, 1));
    env.looked_up(1, Some(StoredArtifact::Prepared(info(1))));
    let inline = env.dispatched();
    assert_eq!(inline.holders, []);
    submit_as(&mut env, 1, 2, 1, with_held_pov(2));
    submit_as(&mut env, 2, 3, 1, with_held_pov(2));
    env.executed(&inline, valid());
    assert!(is_valid(&env.verdict_of(1)));
    let held = env.dispatched();
    assert_eq!(sorted(held.holders.clone()), sorted([1, 2].map(client).into()));
}

#[test]
fn each_attempt_begins_with_other_holders() {
    let mut env = Env::with(unstaged());
    env.worker(1, WorkerKind::Prepare, 1);
    for n in 1..=20 {
        submit_as(&mut env, n, n, 1, Work::Precheck);
    }
    env.expect_look_up(1);
    env.found(1, None);
    let mut asked = Vec::new();
    for _ in 0..3 {
        let prepare = env.dispatched();
        assert_eq!(prepare.holders.len(), MAX_HOLDERS);
        asked.extend(prepare.holders.clone());
        env.preparation_ended(&prepare, PrepareOutcome::Internal(missing()));
        env.pass(Duration::from_millis(200));
    }
    asked.sort_unstable();
    asked.dedup();
    assert_eq!(asked.len(), 20, "all have been asked");
    // The fourth attempt is under way.
    env.dispatched();
}

#[test]
fn an_input_that_nobody_holds_blames_no_worker_and_ends_as_internal() {
    let mut env = Env::with(unstaged());
    env.worker(2, WorkerKind::Execute, 1);
    env.submit(1, 1, with_held_pov(1));
    env.looked_up(1, Some(StoredArtifact::Prepared(info(1))));
    let mut attempts = 0;
    loop {
        let run = env.dispatched();
        attempts += 1;
        env.executed(&run, ExecuteOutcome::Internal(missing()));
        if env.gauges().requests == 0 {
            break;
        }
        env.pass_with_heartbeats(&[2], 6);
    }
    let Outcome::Internal(InternalError::WorkerDraining(why)) = env.verdict_of(1) else { panic!("not internal") };
    assert!(why.contains("nobody has it"), "{why}");
    assert_eq!(attempts, 20);
    assert_eq!((env.counts().workers_paused, env.counts().suspected), (0, 0));
}

#[test]
fn another_client_that_joined_serves_when_the_first_one_is_gone() {
    let mut env = Env::with(Policy { client_silence: Duration::from_secs(30), ..unstaged() });
    env.worker(2, WorkerKind::Execute, 1);
    submit_as(&mut env, 1, 1, 1, with_held_pov(1));
    env.looked_up(1, Some(StoredArtifact::Prepared(info(1))));
    submit_as(&mut env, 2, 2, 1, with_held_pov(1));
    let run = env.dispatched();
    assert_eq!(run.holders, [client(1)]);
    for _ in 0..4 {
        env.pass_with_heartbeats(&[2], 10);
        assert_eq!(env.ask(2, &[2]), []);
    }
    env.executed(&run, ExecuteOutcome::Internal(missing()));
    let again = env.dispatched();
    assert_eq!((again.holders.clone(), again.request), (vec![client(2)], Some(request(2))));
    env.executed(&again, valid());
    assert!(is_valid(&env.verdict_of(2)));
}

#[test]
fn a_job_whose_only_holder_is_gone_is_not_begun_again() {
    let mut env = Env::with(Policy { client_silence: Duration::from_secs(30), ..unstaged() });
    env.worker(2, WorkerKind::Execute, 1);
    env.submit(1, 1, with_held_pov(1));
    env.looked_up(1, Some(StoredArtifact::Prepared(info(1))));
    let run = env.dispatched();
    env.pass_with_heartbeats(&[2], 31);
    env.executed(&run, ExecuteOutcome::Internal(missing()));
    env.quiet();
    assert_eq!((env.gauges().requests, env.counts().workers_paused), (0, 0));
}

#[test]
fn a_heads_up_is_answered_when_its_code_was_taken_or_when_it_is_prepared() {
    let mut env = small_fleet();
    env.submit(1, 1, HEADS_UP);
    env.looked_up(1, None);
    let prepare = env.dispatched();
    env.submit(2, 1, WAIT_PREPARED);
    env.heartbeat_fetching(1, &[&prepare]);
    env.quiet();
    env.heartbeat(1);
    assert_eq!(env.verdict_of(1), Outcome::HeadsUpTaken);
    // The worker has the code already.
    env.submit(3, 1, HEADS_UP);
    assert_eq!(env.verdict_of(3), Outcome::HeadsUpTaken);
    env.heartbeat(1);
    env.quiet();
    env.prepared(&prepare, 1);
    assert_eq!(env.verdict_of(2), Outcome::HeadsUpPrepared);
}

#[test]
fn a_heads_up_of_a_client_that_is_gone_is_dropped() {
    for others in [false, true] {
        let mut env = Env::with(Policy { client_silence: Duration::from_secs(30), ..unstaged() });
        env.worker(1, WorkerKind::Prepare, 1);
        submit_as(&mut env, 2, 1, 1, Work::Precheck);
        env.looked_up(1, None);
        let busy = env.dispatched();
        env.submit(2, 2, HEADS_UP);
        env.looked_up(2, None);
        if others {
            submit_as(&mut env, 2, 3, 2, HEADS_UP);
        }
        for _ in 0..4 {
            env.pass_with_heartbeats(&[1], 10);
            env.ask(2, &[1]);
        }
        env.prepared(&busy, 1);
        assert_eq!(env.verdict_of(1), Outcome::PrecheckOk);
        if others {
            let prepare = env.dispatched();
            assert_eq!((prepare.code(), prepare.holders.clone()), (2, vec![client(2)]));
            env.prepared(&prepare, 2);
            assert_eq!(env.verdict_of(3), Outcome::HeadsUpPrepared);
        }
        env.quiet();
        assert_eq!((env.gauges().requests, env.gauges().prepare_queue), (0, [0; 3]));
        assert_eq!(env.gauges().artifacts, 1 + u64::from(others));
    }
}

/// The precheck of an artifact that is prepared has an entry of its own, which goes with its preparation.
#[test]
fn a_precheck_of_a_prepared_artifact_is_dropped_with_its_client() {
    let mut env = Env::with(unstaged());
    env.worker(1, WorkerKind::Prepare, 1);
    env.submit(1, 1, HEADS_UP);
    env.looked_up(1, Some(StoredArtifact::Prepared(info(1))));
    assert_eq!(env.verdict_of(1), Outcome::HeadsUpPrepared);
    env.submit(2, 2, Work::Precheck);
    env.looked_up(2, None);
    let busy = env.dispatched();
    env.submit(3, 1, Work::Precheck);
    env.cancel(1, 3);
    env.prepared(&busy, 2);
    assert_eq!(env.verdict_of(2), Outcome::PrecheckOk);
    assert_eq!((env.gauges().prepare_queue, env.gauges().artifacts), ([0; 3], 2));
    env.submit(4, 1, Work::Precheck);
    let precheck = env.dispatched();
    env.prepared(&precheck, 1);
    assert_eq!(env.verdict_of(4), Outcome::PrecheckOk);
}

#[test]
fn a_fetch_that_failed_is_noticed_as_an_attempt_that_did_not_begin() {
    let mut env = Env::with(unstaged());
    env.worker(1, WorkerKind::Prepare, 1);
    env.worker(2, WorkerKind::Prepare, 1);
    env.submit(1, 1, Work::Precheck);
    env.looked_up(1, None);
    let prepare = env.dispatched();
    env.new_notices();
    env.preparation_ended(&prepare, PrepareOutcome::Internal(missing()));
    let again = env.dispatched();
    assert_ne!(again.worker, prepare.worker);
    let reasons: Vec<_> = env
        .new_notices()
        .into_iter()
        .filter_map(|notice| match notice {
            crate::Notice::JobRetried { why, .. } => Some(why),
            _ => None,
        })
        .collect();
    assert_eq!(reasons, [RetryReason::NotBegun(missing().to_string())]);
}

#[test]
fn inline_and_held_block_data_have_limits() {
    let check = |work| crate::check(&Submission { ..submission(1, 1, work) });
    assert_eq!(check(with_pov(64 << 10)), Ok(()));
    let error = check(with_pov((64 << 10) + 1)).unwrap_err().to_string();
    assert!(error.starts_with("inline block data: 65537 is outside 0..=65536"), "{error}");
    let Work::Execute(mut work) = with_held_pov(1) else { unreachable!() };
    work.block_data = pvf_proto::blob::BlobRef::Held { hash: pvf_proto::ids::BlobHash([1; 32]), len: 1 << 40 };
    assert!(check(Work::Execute(work)).unwrap_err().to_string().starts_with("block data: "));
}
