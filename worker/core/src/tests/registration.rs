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
