//! Fetching: a job whose artifact or input is not here has no slot, and holds up no other job.

use super::*;
use pvf_proto::config::MAX_STAGED;

/// A worker whose fetches take time.
fn fetching(slots: u32) -> Fixture {
    let mut fixture = Fixture::new(slots);
    fixture.fetches_at_once = false;
    fixture
}

#[test]
fn jobs_that_are_being_fetched_hold_no_slot_and_are_overtaken() {
    let mut f = fetching(1);
    f.dispatch_each(1..=4, 0);
    f.expect(&[
        "took 1.1",
        "fetch 1.1 as f1",
        "took 2.1",
        "fetch 2.1 as f2",
        "took 3.1",
        "fetch 3.1 as f3",
        "took 4.1",
        "fetch 4.1 as f4",
    ]);
    assert_eq!(f.agent.counts().fetching, 4);
    f.fetched(4);
    f.expect(&["start 4.1 as r1"]);
    // Those that are ready wait in the order in which they were taken.
    f.fetched(3);
    f.expect(&["stage 3.1 as r2 behind r1"]);
    f.fetched(2);
    f.fetched(1);
    f.expect(&[]);
    f.released(1);
    f.ended(1);
    f.expect(&["stage 1.1 as r3 behind r2", "d4: done 4.1"]);
}

/// An urgent job that is ready displaces a staged one; while it is being fetched it does not.
#[test]
fn an_urgent_job_displaces_others_when_it_is_ready() {
    let mut f = fetching(1);
    f.dispatch_each(1..=2, 4);
    f.fetched(1);
    f.fetched(2);
    f.skip();
    f.dispatch(dispatch(3, 1));
    f.expect(&["took 3.1", "fetch 3.1 as f3"]);
    assert!(f.agent.needs_inputs(key(2)) && !f.agent.needs_inputs(key(1)));
    f.fetched(3);
    f.expect(&["stop r2", "displaced 2.1", "stage 3.1 as r3 behind r1"]);
    assert!(f.agent.needs_inputs(key(2)), "it is started again without another fetch");
    f.released(1);
    f.expect(&["stage 2.1 as r4 behind r3"]);
    f.released(3);
    assert!(!f.agent.needs_inputs(key(2)));
}

#[test]
fn a_job_that_cannot_be_fetched_is_reported() {
    let mut f = fetching(1);
    f.dispatch_each(1..=2, 0);
    f.skip();
    f.fetch_failed(1);
    f.expect(&["d1: done 1.1"]);
    f.pass(HOLD_BACK);
    f.expect(&["d2: taken"]);
    f.fetch_failed(2);
    f.expect(&["report 2.1"]);
    f.command(acknowledge(1), "a");
    f.command(acknowledge(2), "a");
    assert_eq!(f.agent.counts(), Default::default());
}

#[test]
fn a_job_that_is_being_fetched_has_not_begun() {
    let mut f = fetching(1);
    f.dispatch_each(1..=3, 0);
    f.skip();
    f.command(recall(1), "r");
    f.expect(&["d1: taken", "stop f1", "r: taken"]);
    f.command(cancel(2), "c");
    f.expect(&["d2: taken", "stop f2", "c: taken"]);
    f.dispatch(Dispatch { attempt: 2, ..dispatch(3, 0) });
    f.expect(&["stop f3", "took 3.2", "fetch 3.2 as f4"]);
    f.tell(Event::BusClosed);
    f.expect(&["stop f4", "leave"]);
}

#[test]
fn facts_about_unknown_fetches_are_noticed() {
    let mut f = fetching(1);
    f.fetched(1);
    f.expect(&["inconsistent"]);
    f.fetch_failed(1);
    f.expect(&["inconsistent"]);
    f.dispatch(dispatch(1, 0));
    f.fetched(1);
    f.skip();
    f.fetched(1);
    f.expect(&["inconsistent"]);
}

/// The coordinator dispatches a job for each free slot at once, and all of them may have to be fetched.
#[test]
fn a_worker_with_many_slots_takes_a_job_for_each_while_all_are_fetched() {
    let mut f = fetching(100);
    // As many again: those that are known to be fetched do not count as taking slots.
    let most = 2 * (100 + u64::from(MAX_STAGED));
    f.dispatch_each(1..=most, 4);
    assert_eq!(f.agent.counts().fetching as u64, most);
    f.skip();
    f.dispatch(dispatch(1000, 4));
    f.expect(&["refused", "d1000: no-free-slot"]);
}
