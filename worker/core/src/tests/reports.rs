//! Reports: how each is sent, repeated and acknowledged.

use super::*;
use pvf_proto::wire::WorkerRefusal;

fn silence() -> Result<WorkerReply, String> {
    Err("no answer".into())
}

/// Three messages for a job: the dispatch, the report as its answer, the acknowledgement with the next dispatch.
#[test]
fn a_job_that_ends_soon_is_answered_by_its_report() {
    let mut f = Fixture::new(1);
    f.dispatch(dispatch(1, 0));
    f.pass(HOLD_BACK - Duration::from_millis(1));
    f.released(1);
    f.ended(1);
    f.expect(&["took 1.1", "start 1.1 as r1", "d1: done 1.1"]);
    f.dispatch(Dispatch { acknowledged: vec![key(1).into()], ..dispatch(2, 0) });
    f.expect(&["took 2.1", "start 2.1 as r2"]);
    f.pass(ACK * 3);
    f.expect(&["d2: taken"]);
}

#[test]
fn a_job_that_takes_longer_is_reported_by_a_message_of_its_own() {
    let mut f = Fixture::new(1);
    f.dispatch(dispatch(1, 0));
    f.pass(HOLD_BACK);
    f.expect(&["took 1.1", "start 1.1 as r1", "d1: taken"]);
    f.pass(ACK * 10);
    f.released(1);
    f.ended(1);
    f.expect(&["report 1.1"]);
    f.answer(Request::Report(key(1)), Ok(WorkerReply::Ack));
    f.pass(ACK * 10);
    assert_eq!(f.agent.counts(), Default::default());
}

#[test]
fn a_report_is_repeated_until_it_is_acknowledged() {
    let mut f = Fixture::new(1);
    f.dispatch(dispatch(1, 0));
    f.released(1);
    f.ended(1);
    f.expect(&["took 1.1", "start 1.1 as r1", "d1: done 1.1"]);
    f.pass(ACK - Duration::from_millis(1));
    f.expect(&[]);
    f.pass(Duration::from_millis(1));
    f.expect(&["unacknowledged 1.1", "report 1.1"]);
    // One request at a time; pauses grow up to two seconds.
    for pause in [20, 40, 80, 160, 320, 640, 1280, 2000, 2000] {
        f.pass(ACK);
        f.expect(&[]);
        f.answer(Request::Report(key(1)), silence());
        f.expect(&["unacknowledged 1.1"]);
        f.pass(Duration::from_millis(pause - 1));
        f.expect(&[]);
        f.pass(Duration::from_millis(1));
        f.expect(&["report 1.1"]);
    }
    f.answer(Request::Report(key(1)), Ok(WorkerReply::Ack));
    f.pass(ACK * 10);
    f.expect(&[]);
}

#[test]
fn an_acknowledgement_ends_the_repetition_wherever_it_is() {
    let mut f = Fixture::new(3);
    for job in 1..=3 {
        f.dispatch(dispatch(job, 0));
        f.released(job);
        f.ended(job);
    }
    f.skip();
    f.command(acknowledge(1), "a");
    f.pass(ACK);
    f.expect(&["unacknowledged 2.1", "report 2.1", "unacknowledged 3.1", "report 3.1"]);
    // While a request is under way; its answer comes late.
    f.command(acknowledge(2), "a");
    f.answer(Request::Report(key(2)), silence());
    f.answer(Request::Report(key(3)), silence());
    f.expect(&["unacknowledged 3.1"]);
    // While it backs off.
    f.command(acknowledge(3), "a");
    f.pass(ACK * 10);
    f.expect(&[]);
    assert_eq!(f.agent.counts(), Default::default());
}

/// A worker that waits for the answer to a request with the report of job 1.
fn with_a_report_under_way() -> Fixture {
    let mut f = Fixture::new(1);
    f.dispatch(dispatch(1, 0));
    f.pass(HOLD_BACK);
    f.released(1);
    f.ended(1);
    f.skip();
    f
}

/// The coordinator that it was sent to may stand still.
#[test]
fn a_report_under_way_is_sent_to_the_coordinator_that_takes_over() {
    let next = FencingToken(8);
    let mut f = with_a_report_under_way();
    f.tell(Event::Announced { token: next });
    f.skip();
    f.answer(Request::Register, Ok(WorkerReply::Welcome { token: next }));
    f.expect(&["registered 8", "report 1.1"]);
    f.answer(Request::Report(key(1)), Ok(WorkerReply::Ack));
    // The request to the one before.
    f.answer(Request::Report(key(1)), silence());
    f.pass(ACK * 10);
    assert_eq!(f.agent.counts().unacknowledged, 0);
}

#[test]
fn a_refused_report_is_not_repeated() {
    let mut f = with_a_report_under_way();
    f.answer(Request::Report(key(1)), Ok(WorkerReply::Refused(WorkerRefusal::NotUnderstood("why".into()))));
    f.expect(&["report refused 1.1"]);
    f.pass(ACK * 10);
    assert_eq!(f.agent.counts(), Default::default());
}

#[test]
fn the_next_job_begins_before_the_report_is_sent() {
    let mut f = Fixture::of_kind(WorkerKind::Prepare, 1);
    for job in 1..=2 {
        f.dispatch(Dispatch { spec: preparation(), ..dispatch(job, 0) });
    }
    f.skip();
    f.ended(1);
    f.expect(&["start 2.1 as r2", "d1: done 1.1"]);
}

#[test]
fn acknowledgements_of_other_attempts_change_nothing() {
    let mut f = Fixture::new(1);
    f.dispatch(dispatch(1, 0));
    f.skip();
    // It has not ended.
    f.command(acknowledge(1), "a");
    f.released(1);
    f.ended(1);
    f.expect(&["d1: done 1.1"]);
    let other = RunningJob { token: FencingToken(6), ..key(1).into() };
    f.command(ToWorker::Acknowledge { reports: vec![other, key(2).into()] }, "a");
    assert_eq!(f.agent.counts().unacknowledged, 1);
    f.command(acknowledge(1), "a");
    assert_eq!(f.agent.counts().unacknowledged, 0);
}

#[test]
fn a_cancelled_job_is_not_reported() {
    let mut f = Fixture::new(1);
    f.dispatch(dispatch(1, 0));
    f.released(1);
    f.skip();
    f.command(cancel(1), "c");
    f.expect(&["d1: taken", "stop r1", "c: taken"]);
    f.dispatch(dispatch(2, 0));
    f.released(2);
    f.ended(2);
    f.skip();
    f.command(cancel(2), "c");
    f.expect(&["c: taken"]);
    f.pass(ACK * 10);
    f.expect(&[]);
}
