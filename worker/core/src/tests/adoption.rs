//! What a worker says to a coordinator that takes over.

use super::*;
use pvf_proto::{
    ids::ValidationKey,
    wire::{HeldAttempt, HeldStage, HeldWork, MAX_HELD},
};

const NEXT: FencingToken = FencingToken(8);

fn with_validation(job: u64, n: u8) -> Dispatch {
    Dispatch { validation: Some(ValidationKey([n; 32])), ..dispatch(job, 3) }
}

/// The registration with the next coordinator, which announces itself.
fn registration_with_the_next(f: &mut Fixture) -> WorkerHello {
    f.skip();
    f.tell(Event::Announced { token: NEXT });
    let hello = f.actions.iter().find_map(|action| match action {
        Action::Register(hello) => Some((**hello).clone()),
        _ => None,
    });
    f.skip();
    let Some(hello) = hello else { panic!("the worker does not register") };
    let FromWorker::Hello(hello) = round_trip(FromWorker::Hello(Box::new(hello))) else { panic!("another message") };
    *hello
}

fn stages(hello: &WorkerHello) -> Vec<(u64, HeldStage)> {
    hello.held.iter().map(|held| (held.attempt.job.0, held.stage)).collect()
}

#[test]
fn a_registration_says_what_each_attempt_is_and_how_far_it_has_come() {
    let mut f = Fixture::new(2);
    f.dispatch_each(1..=4, 3);
    f.fetches_at_once = false;
    f.dispatch(with_validation(5, 5));
    // 1 has ended, 2 is finishing, 3 and 4 run, 5 is fetched.
    f.ended(1);
    f.released(2);
    let hello = registration_with_the_next(&mut f);
    use HeldStage::{Ended, Fetching, Running};
    assert_eq!(stages(&hello), [(2, Running), (3, Running), (4, Running), (1, Ended), (5, Fetching)]);
    let fetched = HeldAttempt {
        attempt: key(5).into(),
        urgency: 3,
        stage: Fetching,
        work: HeldWork::Execute { artifact: artifact("own"), digest: None, validation: Some(ValidationKey([5; 32])) },
    };
    assert_eq!(hello.held[4], fetched);
    let listed: std::collections::BTreeSet<_> = hello.running.iter().map(|job| job.job).collect();
    assert_eq!(listed.len(), 5, "they are listed as well, for earlier coordinators");
}

#[test]
fn a_preparation_is_described_with_its_limits() {
    let mut f = Fixture::of_kind(WorkerKind::Prepare, 1);
    f.dispatch(Dispatch { spec: preparation(), ..dispatch(1, 0) });
    f.dispatch(Dispatch { spec: preparation(), ..dispatch(2, 0) });
    let hello = registration_with_the_next(&mut f);
    assert_eq!(stages(&hello), [(1, HeldStage::Running), (2, HeldStage::Staged)]);
    let HeldWork::Prepare(held) = &hello.held[0].work else { panic!("{:?}", hello.held[0]) };
    assert_eq!((held.cpu_limit, held.code_bomb_limit, held.precheck), (Duration::from_secs(1), 1, false));
    assert_eq!((&held.artifact, held.params), (&artifact("own"), ExecutorParams::default().hash()));
}

/// Reports pile up while no coordinator acknowledges them: those that run are described before these.
#[test]
fn a_registration_describes_a_bounded_number() {
    let mut f = Fixture::new(1);
    let many = MAX_HELD as u64 + 10;
    for job in 1..=many {
        f.dispatch(dispatch(job, 0));
        f.ended(job);
    }
    f.dispatch(dispatch(many + 1, 0));
    let hello = registration_with_the_next(&mut f);
    assert_eq!((hello.held.len(), hello.running.len()), (MAX_HELD, MAX_HELD + 11));
    assert_eq!(stages(&hello)[0], (many + 1, HeldStage::Running));
}

/// A coordinator that has just welcomed the worker gets the reports at once, not when their back-off ends.
#[test]
fn reports_are_repeated_when_a_coordinator_welcomes_the_worker() {
    let mut f = Fixture::new(1);
    f.dispatch(dispatch(1, 0));
    f.pass(HOLD_BACK);
    f.skip();
    f.ended(1);
    f.expect(&["report 1.1"]);
    for _ in 0..8 {
        f.answer(Request::Report(key(1)), Err("nobody".into()));
        f.pass(Duration::from_secs(2));
    }
    f.skip();
    f.answer(Request::Report(key(1)), Err("nobody".into()));
    f.expect(&["unacknowledged 1.1"]);
    registration_with_the_next(&mut f);
    f.answer(Request::Register, Ok(WorkerReply::Welcome { token: NEXT }));
    f.expect(&["registered 8", "report 1.1"]);
    // The coordinator keeps it and acknowledges it when it adopts the attempt, by the token of its dispatch.
    f.command(acknowledge(1), "a");
    f.answer(Request::Report(key(1)), Err("no answer".into()));
    f.expect(&[]);
    assert_eq!(f.agent.counts().unacknowledged, 0);
}
