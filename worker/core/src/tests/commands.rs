//! Admission of dispatches, recalls and cancellations.

use super::*;
use crate::Counts;
use pvf_proto::wire::CommandRefusal;

#[test]
fn what_is_refused() {
    let mut f = Fixture::new(1);
    f.dispatch(Dispatch { spec: preparation(), ..dispatch(1, 0) });
    f.expect(&["refused", "d1: wrong-kind"]);
    f.dispatch(Dispatch { spec: execution("another"), ..dispatch(2, 0) });
    f.expect(&["refused", "d2: wrong-engine"]);
    f.dispatch(Dispatch { token: FencingToken(6), ..dispatch(3, 0) });
    f.expect(&["refused", "d3: stale-token"]);
    f.command(recall(4), "r");
    f.expect(&["refused", "r: not-staged"]);
    let reply = Some(Subject::received("m"));
    f.tell(Event::MalformedCommand { why: "no message".into(), reply });
    f.expect(&["refused", "m: not-understood"]);
}

/// A coordinator that took over fences off the one before it, also with a command that is refused for another reason.
#[test]
fn the_highest_token_counts() {
    let mut f = Fixture::new(1);
    f.dispatch(Dispatch { token: FencingToken(9), spec: preparation(), ..dispatch(1, 0) });
    f.expect(&["refused", "d1: wrong-kind"]);
    for stale in [cancel(1), recall(1), ToWorker::Dispatch(Box::new(dispatch(2, 0)))] {
        f.command(stale, "s");
        f.expect(&["refused", "s: stale-token"]);
    }
    let token = FencingToken(9);
    f.dispatch(Dispatch { token, ..dispatch(1, 0) });
    f.expect(&["took 1.1", "start 1.1 as r1"]);
    // A welcome never lowers it.
    f.pass(HEARTBEAT);
    f.skip();
    f.answer(Request::Heartbeat, Ok(WorkerReply::Welcome { token: TOKEN }));
    f.expect(&["registered 7"]);
    f.command(cancel(1), "s");
    f.expect(&["refused", "s: stale-token"]);
}

/// Job ids never repeat between coordinators: the next one cancels and recalls what the one before has dispatched.
#[test]
fn a_later_coordinator_commands_the_attempts_of_the_one_before() {
    let mut f = Fixture::new(1);
    f.dispatch_each(1..=3, 0);
    f.skip();
    let token = FencingToken(8);
    let cancel = |job, attempt| ToWorker::Cancel { token, job: JobId(job), attempt };
    f.command(cancel(1, 2), "other");
    f.expect(&["other: taken"]);
    assert_eq!(f.agent.counts().running, 1, "another attempt was cancelled");
    f.command(ToWorker::Recall { token, job: JobId(2), attempt: 1 }, "r");
    f.expect(&["d2: taken", "stop r2", "stage 3.1 as r3 behind r1", "r: taken"]);
    f.command(cancel(1, 1), "c");
    f.expect(&["d1: taken", "stop r1", "c: taken"]);
    f.released(3);
    f.ended(3);
    f.expect(&["d3: done 3.1"]);
    f.command(acknowledge(3), "a");
    assert_eq!(f.agent.counts(), Counts::default());
    // Those that it ended do not come back by a late dispatch, and its own attempt of the same job is another one.
    f.dispatch(dispatch(1, 0));
    f.expect(&["refused", "d1: stale-token"]);
    f.dispatch(Dispatch { token, attempt: 3, ..dispatch(1, 0) });
    f.expect(&["took 1.3", "start 1.3 as r4"]);
}

/// What a coordinator has dispatched is not ended by the one before it, whose command comes late.
#[test]
fn an_earlier_coordinator_does_not_command_later_attempts() {
    let mut f = Fixture::new(1);
    let token = FencingToken(8);
    f.dispatch(Dispatch { token, ..dispatch(1, 0) });
    f.skip();
    for late in [cancel(1), recall(1)] {
        f.command(late, "late");
        f.expect(&["refused", "late: stale-token"]);
    }
    assert_eq!(f.agent.counts().running, 1);
    f.pass(HOLD_BACK);
    f.expect(&["d1: taken"]);
}

#[test]
fn a_repeated_dispatch_is_one_job_in_every_state() {
    let mut f = Fixture::new(1);
    f.dispatch_each(1..=3, 0);
    f.skip();
    let again = |f: &mut Fixture, job: u64| {
        f.command(ToWorker::Dispatch(Box::new(dispatch(job, 0))), "again");
        f.expect(&["again: taken"]);
    };
    (1..=3).for_each(|job| again(&mut f, job));
    f.released(1);
    f.expect(&["stage 3.1 as r3 behind r2"]);
    again(&mut f, 1);
    f.ended(1);
    f.expect(&["d1: done 1.1"]);
    again(&mut f, 1);
    f.command(acknowledge(1), "a");
    again(&mut f, 1);
    f.command(recall(3), "r");
    f.expect(&["d3: taken", "stop r3", "r: taken"]);
    again(&mut f, 3);
    f.command(cancel(2), "c");
    f.expect(&["d2: taken", "stop r2", "c: taken"]);
    again(&mut f, 2);
}

#[test]
fn another_attempt_supersedes_the_earlier_one_in_every_state() {
    let mut f = Fixture::new(1);
    f.dispatch(dispatch(1, 0));
    f.dispatch(dispatch(2, 0));
    f.dispatch(dispatch(3, 0));
    f.skip();
    let attempt = |job, attempt| Dispatch { attempt, ..dispatch(job, 0) };
    f.dispatch(attempt(3, 2));
    f.expect(&["took 3.2"]);
    f.dispatch(attempt(2, 2));
    f.expect(&["stop r2", "stage 3.2 as r3 behind r1", "took 2.2"]);
    f.dispatch(attempt(1, 2));
    f.expect(&["stop r1", "stage 2.2 as r4 behind r3", "took 1.2"]);
    f.released(3);
    f.ended(3);
    f.expect(&["stage 1.2 as r5 behind r4", "d3: done 3.2"]);
    // Its report is not wanted any more.
    f.dispatch(attempt(3, 3));
    f.expect(&["took 3.3"]);
    f.pass(ACK);
    f.expect(&["d1: taken", "d2: taken", "d3: taken"]);
}

#[test]
fn jobs_that_have_not_begun_are_given_back() {
    let mut f = Fixture::new(1);
    f.dispatch_each(1..=4, 0);
    f.skip();
    f.command(recall(1), "r1");
    f.expect(&["d1: taken", "refused", "r1: not-staged"]);
    // The answer to the dispatch comes before the answer to the recall.
    f.command(recall(4), "r4");
    f.expect(&["d4: taken", "r4: taken"]);
    f.command(recall(2), "r2");
    f.expect(&["d2: taken", "stop r2", "stage 3.1 as r3 behind r1", "r2: taken"]);
    f.command(recall(2), "r2");
    f.expect(&["refused", "r2: not-staged"]);
}

/// A dispatch may arrive after the command that takes it back.
#[test]
fn a_dispatch_overtaken_by_its_cancellation_does_not_run() {
    let mut f = Fixture::new(1);
    f.command(cancel(1), "c");
    f.expect(&["c: taken"]);
    f.dispatch(dispatch(1, 0));
    f.expect(&["d1: taken"]);
}

#[test]
fn commands_without_a_reply_subject_are_not_answered() {
    let mut f = Fixture::new(1);
    let mut silent = |message: ToWorker, expected: &[&str]| {
        f.tell(Event::Command { message: round_trip(message), reply: None });
        f.expect(expected);
    };
    silent(ToWorker::Dispatch(Box::new(dispatch(1, 0))), &["took 1.1", "start 1.1 as r1"]);
    silent(recall(1), &["refused"]);
    silent(cancel(1), &["stop r1"]);
    silent(acknowledge(1), &[]);
}

#[test]
fn the_last_attempts_that_ended_are_remembered() {
    let mut f = Fixture::new(1);
    let ended = 4096;
    for job in 0..=ended {
        f.command(cancel(job), "c");
    }
    f.skip();
    f.dispatch(dispatch(1, 0));
    f.expect(&["d1: taken"]);
    f.dispatch(dispatch(ended, 0));
    f.expect(&[format!("d{ended}: taken").as_str()]);
    // One more than are remembered.
    f.dispatch(dispatch(0, 0));
    f.expect(&["took 0.1", "start 0.1 as r1"]);
}

#[test]
fn a_draining_worker_refuses_new_jobs_only() {
    let mut f = Fixture::new(1);
    f.dispatch(dispatch(1, 0));
    f.skip();
    f.tell(Event::Shutdown);
    f.expect(&["draining 1", "heartbeat [1.1] draining"]);
    f.dispatch(dispatch(2, 0));
    f.expect(&["refused", "d2: draining"]);
    f.command(ToWorker::Dispatch(Box::new(dispatch(1, 0))), "again");
    f.expect(&["again: taken"]);
    f.dispatch(Dispatch { token: FencingToken(6), ..dispatch(3, 0) });
    f.expect(&["refused", "d3: stale-token"]);
}

#[test]
fn refusals_carry_their_reasons() {
    let mut f = Fixture::new(1);
    f.dispatch(Dispatch { spec: preparation(), ..dispatch(1, 0) });
    f.dispatch(Dispatch { token: FencingToken(6), ..dispatch(2, 0) });
    let mut refusals = Vec::new();
    while let Some(action) = f.actions.pop_front() {
        if let Action::Reply { reply: DispatchReply::Refused(why), .. } = action {
            refusals.push(why);
        }
    }
    let stale = CommandRefusal::StaleToken { got: FencingToken(6), highest: TOKEN };
    assert_eq!(refusals, [CommandRefusal::WrongKind(WorkerKind::Execute), stale]);
}
