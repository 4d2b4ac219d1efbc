//! Limits and shares of users, whose sessions anybody can invent.

use super::{env::Env, fixtures::*};
use crate::{Event, Policy, UserLimits};
use pvf_proto::{
    artifact::StoredArtifact,
    identity::ClientId,
    ids::RelayHash,
    priority::ExecuteKind,
    wire::{ActiveLeavesUpdate, Refusal, SubmitReply, Work, WorkerKind},
};
use std::collections::BTreeMap;

fn policy_for(user: &str, limits: UserLimits) -> Policy {
    Policy { users: BTreeMap::from([(user.to_owned(), limits)]), ..unstaged() }
}

fn submit(env: &mut Env, client: ClientId, n: u64, work: Work) -> SubmitReply {
    env.send_from(client, submission(n, 1, work))
}

fn why(reply: SubmitReply) -> String {
    match reply {
        SubmitReply::Refused(refusal) => refusal.to_string(),
        SubmitReply::Accepted => panic!("accepted"),
    }
}

#[test]
fn the_sessions_of_a_user_share_its_limits() {
    let mut env = Env::with(policy_for("a", UserLimits { requests: 2, ..UserLimits::default() }));
    let execute = || execute(ExecuteKind::Backing);
    for n in 1..=2 {
        assert_eq!(submit(&mut env, session("a", n), n, execute()), SubmitReply::Accepted);
    }
    let refusal = why(submit(&mut env, session("a", 3), 3, execute()));
    assert!(refusal.contains("requests of user a (limit 2"), "{refusal}");
    assert_eq!(submit(&mut env, session("b", 3), 3, execute()), SubmitReply::Accepted, "another user");
}

#[test]
fn a_user_has_a_limit_of_sessions_and_questions_make_none() {
    let mut env = Env::with(policy_for("a", UserLimits { sessions: 2, ..UserLimits::default() }));
    for n in 1..100 {
        env.event(Event::Ask { client: session("a", n), requests: vec![request(n)], heard: vec![], reply: None });
    }
    assert_eq!(env.gauges().clients, 0);
    assert_eq!(submit(&mut env, session("a", 1), 1, Work::Precheck), SubmitReply::Accepted);
    let update = ActiveLeavesUpdate { activated: None, deactivated: vec![RelayHash([1; 32])] };
    for n in 2..100 {
        env.event(Event::Leaves { client: session("a", n), update: update.clone(), reply: None });
    }
    assert_eq!(env.gauges().clients, 2);
    let refusal = why(submit(&mut env, session("a", 3), 3, Work::Precheck));
    assert!(refusal.contains("sessions of user a (limit 2)"), "{refusal}");
    assert_eq!(submit(&mut env, session("a", 1), 3, Work::Precheck), SubmitReply::Accepted, "a session that is known");
    // A session without requests makes room at once.
    env.event(Event::Cancel { client: session("a", 1), request: request(1), reply: None });
    env.event(Event::Cancel { client: session("a", 1), request: request(3), reply: None });
    assert_eq!(submit(&mut env, session("a", 3), 4, Work::Precheck), SubmitReply::Accepted);
}

#[test]
fn kinds_that_the_operator_does_not_allow_are_refused_by_name() {
    let kinds = Some(vec!["backing".into(), "preparation".into()]);
    let mut env = Env::with(policy_for("a", UserLimits { kinds, ..UserLimits::default() }));
    assert_eq!(submit(&mut env, session("a", 1), 1, execute(ExecuteKind::Backing)), SubmitReply::Accepted);
    assert_eq!(submit(&mut env, session("a", 1), 2, Work::Precheck), SubmitReply::Accepted);
    let reply = submit(&mut env, session("a", 1), 3, execute(ExecuteKind::Dispute));
    let refusal = Refusal::NotAllowed { user: "a".into(), kind: "dispute".into() };
    assert_eq!(reply, SubmitReply::Refused(refusal));
    assert_eq!(submit(&mut env, session("b", 1), 4, execute(ExecuteKind::Dispute)), SubmitReply::Accepted);
}

#[test]
fn a_user_at_its_limit_of_jobs_is_passed_over_until_one_ends() {
    let mut env = Env::with(policy_for("a", UserLimits { jobs: 1, ..UserLimits::default() }));
    for n in 2..=4 {
        env.worker(n, WorkerKind::Execute, 1);
    }
    let execute = || execute(ExecuteKind::Backing);
    for n in 1..=2 {
        assert_eq!(submit(&mut env, session("a", n), n, execute()), SubmitReply::Accepted);
    }
    env.looked_up(1, Some(StoredArtifact::Prepared(info(1))));
    let first = env.dispatched();
    assert_eq!(first.request, Some(request(1)));
    env.quiet();
    assert_eq!(submit(&mut env, session("b", 3), 3, execute()), SubmitReply::Accepted);
    assert_eq!(env.dispatched().request, Some(request(3)));
    env.executed(&first, valid());
    assert!(is_valid(&env.verdict_of(1)));
    assert_eq!(env.dispatched().request, Some(request(2)));
}

#[test]
fn many_sessions_have_no_more_than_the_share_of_their_user() {
    let mut env = Env::with(unstaged());
    env.worker(2, WorkerKind::Execute, 1);
    let execute = || execute(ExecuteKind::Backing);
    for n in 1..=20 {
        assert_eq!(submit(&mut env, session("many", n), n, execute()), SubmitReply::Accepted);
    }
    assert_eq!(submit(&mut env, session("one", 1), 100, execute()), SubmitReply::Accepted);
    assert_eq!(submit(&mut env, session("one", 1), 101, execute()), SubmitReply::Accepted);
    env.looked_up(1, Some(StoredArtifact::Prepared(info(1))));
    let mut order = Vec::new();
    for _ in 0..6 {
        let run = env.dispatched();
        order.push(run.request.unwrap());
        env.executed(&run, valid());
        env.verdict();
    }
    env.dispatched();
    assert!(order.contains(&request(100)) && order.contains(&request(101)), "{order:?}");
}

#[test]
fn the_id_of_another_clients_request_is_no_way_to_it() {
    let mut env = Env::with(unstaged());
    env.worker(2, WorkerKind::Execute, 1);
    let execute = || execute(ExecuteKind::Backing);
    assert_eq!(submit(&mut env, session("a", 1), 1, execute()), SubmitReply::Accepted);
    // The same id, and a session with the same UUID: a request of its own.
    assert_eq!(submit(&mut env, session("b", 1), 1, execute()), SubmitReply::Accepted);
    assert_eq!(env.gauges().requests, 2);
    env.event(Event::Cancel { client: session("b", 1), request: request(1), reply: None });
    assert_eq!(env.gauges().requests, 1);
    env.looked_up(1, Some(StoredArtifact::Prepared(info(1))));
    let run = env.dispatched();
    env.executed(&run, valid());
    let (to, verdict) = env.next_verdict();
    assert_eq!((to, verdict.request), (session("a", 1), request(1)));
    // Nobody else gets its verdict either: to others it is not known.
    env.event(Event::Ask { client: session("b", 1), requests: vec![request(1)], heard: vec![], reply: None });
    env.quiet();
    assert_eq!(submit(&mut env, session("c", 1), 1, execute()), SubmitReply::Accepted, "a request of its own");
    let run = env.dispatched();
    env.executed(&run, valid());
    assert_eq!(env.next_verdict().0, session("c", 1));
}
