//! Registration, heartbeats, drain and deregistration.

use super::*;
use pvf_proto::wire::WorkerRefusal;

const BEAT: Duration = Duration::from_secs(1);

fn unregistered() -> Fixture {
    let mut config = Fixture::config(WorkerKind::Execute, 1);
    config.timing.heartbeat = BEAT;
    Fixture::unregistered(config)
}

#[test]
fn a_worker_registers_until_it_is_welcomed_and_again_when_it_is_forgotten() {
    let mut f = unregistered();
    f.pass(Duration::ZERO);
    f.expect(&["register []"]);
    assert!(!f.agent.is_registered());
    // One request at a time.
    f.pass(BEAT * 3);
    f.expect(&[]);
    f.answer(Request::Register, Err("no answer".into()));
    f.expect(&["coordinator silent"]);
    f.pass(BEAT);
    f.expect(&["register []"]);
    f.answer(Request::Register, Ok(WorkerReply::Refused(WorkerRefusal::FleetFull { max: 1 })));
    f.expect(&["registration refused"]);
    f.pass(BEAT);
    f.expect(&["register []"]);
    f.answer(Request::Register, Ok(WorkerReply::Welcome { token: TOKEN }));
    f.expect(&["registered 7"]);
    assert!(f.agent.is_registered());
    f.pass(BEAT);
    f.expect(&["heartbeat []"]);
    f.answer(Request::Heartbeat, Ok(WorkerReply::Ack));
    f.pass(BEAT);
    f.expect(&["heartbeat []"]);
    f.answer(Request::Heartbeat, Ok(WorkerReply::SayHello));
    f.expect(&["registration lost", "register []"]);
    assert!(!f.agent.is_registered());
    f.answer(Request::Register, Ok(WorkerReply::Welcome { token: FencingToken(8) }));
    f.expect(&["registered 8"]);
    f.dispatch(dispatch(1, 0));
    f.expect(&["refused", "d1: stale-token"]);
}

#[test]
fn heartbeats_list_the_jobs_in_every_state() {
    let mut f = unregistered();
    f.pass(Duration::ZERO);
    f.answer(Request::Register, Ok(WorkerReply::Welcome { token: TOKEN }));
    f.dispatch_each(1..=5, 0);
    f.ended(1);
    f.released(2);
    f.skip();
    // Unacknowledged, finishing, running, staged, queued.
    f.pass(BEAT);
    f.expect(&["d2: taken", "d3: taken", "d4: taken", "d5: taken", "heartbeat [1.1 2.1 3.1 4.1 5.1]"]);
    f.answer(Request::Heartbeat, Ok(WorkerReply::SayHello));
    f.expect(&["registration lost", "register [1.1 2.1 3.1 4.1 5.1]"]);
}

#[test]
fn heartbeats_say_which_jobs_are_only_being_fetched() {
    let mut f = unregistered();
    f.fetches_at_once = false;
    f.pass(Duration::ZERO);
    f.answer(Request::Register, Ok(WorkerReply::Welcome { token: TOKEN }));
    f.dispatch_each(1..=4, 0);
    f.fetched(2);
    f.fetched(3);
    f.skip();
    // Of those that are fetched one runs and one is staged.
    f.pass(BEAT);
    f.expect(&["d1: taken", "d2: taken", "d3: taken", "d4: taken", "heartbeat [1.1 2.1 3.1 4.1] fetching [1.1 4.1]"]);
    f.answer(Request::Heartbeat, Ok(WorkerReply::Ack));
    f.fetched(1);
    f.fetch_failed(4);
    f.expect(&["report 4.1"]);
    f.pass(BEAT);
    f.expect(&["heartbeat [1.1 2.1 3.1 4.1]"]);
}

/// A machine that cannot run jobs takes none, and the coordinator learns it at once, both ways.
#[test]
fn an_unfit_worker_takes_no_jobs_and_says_so_until_it_is_fit_again() {
    let mut f = Fixture::new(1);
    f.dispatch(dispatch(1, 0));
    f.skip();
    f.tell(Event::Fit(true));
    f.expect(&[]);
    f.tell(Event::Fit(false));
    f.expect(&["heartbeat [1.1] draining"]);
    assert!(!f.agent.is_fit() && !f.agent.is_draining());
    f.dispatch(dispatch(2, 0));
    f.expect(&["refused", "d2: draining"]);
    // What it has goes on, and a repetition is no new job.
    f.dispatch(dispatch(1, 0));
    f.expect(&["d1: taken"]);
    f.released(1);
    f.ended(1);
    f.expect(&["d1: done 1.1"]);
    f.command(acknowledge(1), "a");
    f.tell(Event::Fit(false));
    f.expect(&[]);
    // The heartbeat is on its way: the next one says what has changed since.
    f.tell(Event::Fit(true));
    f.expect(&[]);
    f.answer(Request::Heartbeat, Ok(WorkerReply::Ack));
    f.pass(HEARTBEAT);
    f.expect(&["heartbeat []"]);
    f.dispatch(dispatch(2, 0));
    f.expect(&["took 2.1", "start 2.1 as r2"]);
    f.tell(Event::Shutdown);
    f.expect(&["draining 1"]);
    f.tell(Event::Fit(false));
    f.tell(Event::BusClosed);
    f.expect(&["stop r2", "leave"]);
}

#[test]
fn an_answer_to_no_request_is_noticed() {
    let mut f = Fixture::new(1);
    f.answer(Request::Heartbeat, Ok(WorkerReply::Ack));
    f.expect(&["inconsistent"]);
}

#[test]
fn a_worker_without_jobs_leaves_at_once() {
    let mut f = Fixture::new(1);
    f.tell(Event::Shutdown);
    f.expect(&["draining 0", "heartbeat [] draining", "leave"]);
    assert_eq!(f.agent.poll_timeout(), None);
    f.dispatch(dispatch(1, 0));
    f.tell(Event::Shutdown);
}

#[test]
fn a_draining_worker_leaves_when_its_last_report_is_acknowledged() {
    let mut f = Fixture::new(1);
    f.dispatch(dispatch(1, 0));
    f.dispatch(dispatch(2, 0));
    f.skip();
    f.tell(Event::Shutdown);
    f.expect(&["draining 2", "heartbeat [1.1 2.1] draining"]);
    assert!(f.agent.is_draining());
    for job in 1..=2 {
        f.released(job);
        f.ended(job);
        f.expect(&[format!("d{job}: done {job}.1").as_str()]);
    }
    f.command(acknowledge(1), "a");
    f.expect(&[]);
    f.command(acknowledge(2), "a");
    f.expect(&["leave"]);
}

#[test]
fn the_drain_time_is_a_limit() {
    let mut f = Fixture::new(1);
    f.dispatch(dispatch(1, 0));
    f.dispatch(dispatch(2, 0));
    f.pass(HOLD_BACK);
    f.skip();
    f.tell(Event::Shutdown);
    f.tell(Event::Shutdown);
    f.expect(&["draining 2", "heartbeat [1.1 2.1] draining"]);
    f.pass(DRAIN - Duration::from_millis(1));
    f.expect(&[]);
    f.pass(Duration::from_millis(1));
    f.expect(&["stop r1", "stop r2", "leave"]);
}

#[test]
fn without_a_bus_the_worker_leaves() {
    let mut f = Fixture::new(1);
    f.dispatch(dispatch(1, 0));
    f.skip();
    f.tell(Event::BusClosed);
    f.expect(&["stop r1", "leave"]);
}

#[test]
fn a_worker_registers_at_once_with_a_coordinator_that_announces_itself() {
    let mut f = unregistered();
    f.pass(Duration::ZERO);
    f.answer(Request::Register, Ok(WorkerReply::Welcome { token: TOKEN }));
    f.dispatch(dispatch(1, 0));
    f.pass(Duration::from_millis(500));
    f.skip();
    // One that it knows already, and an earlier one.
    for token in [TOKEN, FencingToken(6)] {
        f.tell(Event::Announced { token });
        f.expect(&[]);
    }
    f.tell(Event::Announced { token: FencingToken(8) });
    f.expect(&["coordinator replaced by 8", "register [1.1]"]);
    assert!(!f.agent.is_registered() && f.agent.knows(FencingToken(8)));
    f.answer(Request::Register, Ok(WorkerReply::Welcome { token: FencingToken(8) }));
    f.expect(&["registered 8"]);
    f.pass(BEAT);
    f.expect(&["heartbeat [1.1]"]);
    // What the one before still commands is refused.
    f.dispatch(dispatch(2, 0));
    f.expect(&["refused", "d2: stale-token"]);
}

#[test]
fn a_worker_waits_no_longer_for_its_jobs_than_their_limits() {
    // The jobs may take 4 s.
    let mut f = Fixture::draining(1, Duration::from_secs(3600));
    f.dispatch(dispatch(1, 0));
    f.pass(HOLD_BACK);
    f.skip();
    f.tell(Event::Shutdown);
    f.expect(&["draining 1", "heartbeat [1.1] draining"]);
    f.pass(Duration::from_millis(18_999));
    f.expect(&[]);
    f.pass(Duration::from_millis(1));
    f.expect(&["stop r1", "leave"]);
}

#[test]
fn a_worker_drains_when_a_heartbeat_is_answered_so_as_if_it_was_asked_to_end() {
    let mut f = unregistered();
    f.pass(Duration::ZERO);
    f.answer(Request::Register, Ok(WorkerReply::Welcome { token: TOKEN }));
    f.dispatch(dispatch(1, 0));
    f.pass(BEAT);
    f.skip();
    f.answer(Request::Heartbeat, Ok(WorkerReply::Drain));
    f.expect(&["asked to drain 1", "heartbeat [1.1] draining"]);
    assert!(f.agent.is_draining());
    f.dispatch(dispatch(2, 0));
    f.expect(&["refused", "d2: draining"]);
    // Every heartbeat is answered so; the first one counts. A signal adds nothing.
    f.answer(Request::Heartbeat, Ok(WorkerReply::Drain));
    f.tell(Event::Shutdown);
    f.expect(&[]);
    f.released(1);
    f.ended(1);
    f.expect(&["report 1.1"]);
    f.answer(Request::Report(key(1)), Ok(WorkerReply::Ack));
    f.expect(&["leave"]);
}

#[test]
fn a_worker_without_jobs_that_is_asked_to_drain_leaves_at_once() {
    let mut f = unregistered();
    f.pass(Duration::ZERO);
    f.answer(Request::Register, Ok(WorkerReply::Welcome { token: TOKEN }));
    f.pass(BEAT);
    f.skip();
    f.answer(Request::Heartbeat, Ok(WorkerReply::Drain));
    f.expect(&["asked to drain 0", "heartbeat [] draining", "leave"]);
}

/// A machine that cannot run jobs makes heartbeats say that the worker drains, and does not make it leave.
#[test]
fn a_worker_that_is_unfit_leaves_when_it_is_asked_to_drain() {
    let mut f = unregistered();
    f.pass(Duration::ZERO);
    f.answer(Request::Register, Ok(WorkerReply::Welcome { token: TOKEN }));
    f.skip();
    f.tell(Event::Fit(false));
    f.expect(&["heartbeat [] draining"]);
    f.answer(Request::Heartbeat, Ok(WorkerReply::Drain));
    f.expect(&["asked to drain 0", "heartbeat [] draining", "leave"]);
}

#[test]
fn preparations_that_are_being_fetched_are_given_back_by_a_worker_that_drains() {
    let mut f = Fixture::of_kind(WorkerKind::Prepare, 1);
    f.fetches_at_once = false;
    f.dispatch(Dispatch { spec: preparation(), ..dispatch(1, 0) });
    f.skip();
    f.tell(Event::Shutdown);
    f.expect(&["draining 1", "heartbeat [1.1] fetching [1.1] draining"]);
    f.command(recall(1), "r");
    f.expect(&["d1: taken", "stop f1", "r: taken", "leave"]);
}
