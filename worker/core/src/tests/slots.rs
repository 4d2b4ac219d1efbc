//! Slots, staging and displacement, with facts about processes in every order.

use super::*;
use pvf_proto::config::MAX_STAGED;

#[test]
fn free_slots_are_given_away_at_once() {
    let mut f = Fixture::new(2);
    f.dispatch(dispatch(1, 0));
    f.expect(&["took 1.1", "start 1.1 as r1"]);
    f.dispatch(dispatch(2, 0));
    f.expect(&["took 2.1", "start 2.1 as r2"]);
}

#[test]
fn a_staged_job_has_the_slot_when_the_run_before_it_ends() {
    let mut f = Fixture::new(1);
    f.dispatch_each(1..=3, 0);
    // Job 3 waits in the queue: nothing that it could begin behind.
    f.expect(&["took 1.1", "start 1.1 as r1", "took 2.1", "stage 2.1 as r2 behind r1", "took 3.1"]);
    f.released(1);
    f.expect(&["stage 3.1 as r3 behind r2"]);
    f.began(2);
    f.ended(1);
    f.expect(&["d1: done 1.1"]);
    assert_eq!(f.agent.counts().running, 1);
}

/// The kernel starts a staged process without the worker, which may learn of the beginning first.
#[test]
fn a_slot_that_the_kernel_passed_on_is_not_given_away_again() {
    let mut f = Fixture::new(1);
    f.dispatch_each(1..=4, 0);
    f.skip();
    f.began(2);
    f.expect(&["stage 3.1 as r3 behind r2"]);
    // Late facts of the run that ended.
    f.released(1);
    f.expect(&[]);
    f.ended(1);
    f.expect(&["d1: done 1.1"]);
    assert_eq!(f.agent.counts().running, 1);
}

#[test]
fn a_staged_job_that_began_and_ended_unseen_frees_one_slot() {
    let mut f = Fixture::new(1);
    f.dispatch_each(1..=4, 0);
    f.skip();
    // The end of run 2 is seen before that of run 1, behind which it was staged.
    f.released(2);
    f.expect(&["stage 3.1 as r3 behind r1"]);
    f.ended(2);
    f.expect(&["d2: done 2.1"]);
    f.released(1);
    f.expect(&["stage 4.1 as r4 behind r3"]);
    f.ended(1);
    f.expect(&["d1: done 1.1"]);
    assert_eq!(f.agent.counts().running, 1);
}

#[test]
fn a_staged_job_that_fails_before_it_begins_frees_no_slot() {
    let mut f = Fixture::new(1);
    f.dispatch_each(1..=3, 0);
    f.skip();
    f.released(2);
    f.ended(2);
    f.expect(&["stage 3.1 as r3 behind r1", "d2: done 2.1"]);
    assert_eq!((f.agent.counts().running, f.agent.counts().staged), (1, 1));
}

#[test]
fn an_end_without_a_released_slot_releases_it() {
    let mut f = Fixture::new(1);
    f.dispatch(dispatch(1, 0));
    f.dispatch(dispatch(2, 0));
    f.skip();
    f.ended(1);
    f.expect(&["d1: done 1.1"]);
    assert_eq!(f.agent.counts().running, 1);
}

#[test]
fn a_more_urgent_job_displaces_staged_ones_and_they_run_again_in_their_order() {
    let mut f = Fixture::new(2);
    f.dispatch_each(1..=5, 4);
    f.expect(&[
        "took 1.1",
        "start 1.1 as r1",
        "took 2.1",
        "start 2.1 as r2",
        "took 3.1",
        "stage 3.1 as r3 behind r1",
        "took 4.1",
        "stage 4.1 as r4 behind r2",
        "took 5.1",
    ]);
    f.dispatch(dispatch(6, 1));
    f.expect(&["took 6.1", "stop r4", "displaced 4.1", "stop r3", "displaced 3.1", "stage 6.1 as r5 behind r1"]);
    // Another slot than that which job 6 waits for is free first: it goes to job 6 all the same.
    f.released(2);
    f.expect(&["grant r5", "stage 3.1 as r6 behind r1", "stage 4.1 as r7 behind r5"]);
    f.began(5);
    f.released(1);
    f.expect(&["stage 5.1 as r8 behind r6"]);
}

#[test]
fn only_the_most_urgent_class_is_staged() {
    let mut f = Fixture::new(2);
    for (job, urgency) in [(1, 4), (2, 4), (3, 1), (4, 4)] {
        f.dispatch(dispatch(job, urgency));
    }
    f.expect(&[
        "took 1.1",
        "start 1.1 as r1",
        "took 2.1",
        "start 2.1 as r2",
        "took 3.1",
        "stage 3.1 as r3 behind r1",
        "took 4.1",
    ]);
    f.released(1);
    f.expect(&["stage 4.1 as r4 behind r2"]);
}

#[test]
fn queued_jobs_start_by_urgency_then_by_arrival() {
    let mut f = Fixture::of_kind(WorkerKind::Prepare, 1);
    for (job, urgency) in [(1, 9), (2, 4), (3, 1), (4, 4), (5, 1)] {
        f.dispatch(Dispatch { spec: preparation(), ..dispatch(job, urgency) });
    }
    // Preparations are never staged.
    f.expect(&["took 1.1", "start 1.1 as r1", "took 2.1", "took 3.1", "took 4.1", "took 5.1"]);
    for (run, job) in [(2, 3), (3, 5), (4, 2), (5, 4)] {
        f.released(run - 1);
        f.expect(&[format!("start {job}.1 as r{run}").as_str()]);
    }
}

#[test]
fn a_job_staged_behind_a_cancelled_one_has_its_slot() {
    let mut f = Fixture::new(1);
    f.dispatch_each(1..=3, 0);
    f.skip();
    f.command(cancel(1), "c");
    f.expect(&["d1: taken", "stop r1", "stage 3.1 as r3 behind r2", "c: taken"]);
    f.released(2);
    f.ended(2);
    f.expect(&["d2: done 2.1"]);
}

#[test]
fn a_free_slot_goes_to_the_most_urgent_job_staged_or_queued() {
    let mut f = Fixture::new(2);
    for (job, urgency) in [(1, 4), (2, 4), (3, 4), (4, 4)] {
        f.dispatch(dispatch(job, urgency));
    }
    f.skip();
    f.released(1);
    f.released(2);
    f.expect(&[]);
    assert_eq!(f.agent.counts().running, 2);
    for (job, urgency) in [(5, 4), (6, 4), (7, 1)] {
        f.dispatch(dispatch(job, urgency));
    }
    f.skip();
    f.command(cancel(4), "c");
    // Job 7 was staged behind run 3; run 4 goes first.
    f.expect(&[
        "d4: taken",
        "stop r4",
        "grant r7",
        "stage 5.1 as r8 behind r3",
        "stage 6.1 as r9 behind r7",
        "c: taken",
    ]);
}

#[test]
fn a_bounded_number_of_jobs_waits() {
    let mut f = Fixture::new(1);
    f.dispatch_each(1..=2 * (1 + u64::from(MAX_STAGED)), 0);
    f.skip();
    f.dispatch(dispatch(1000, 0));
    f.expect(&["refused", "d1000: no-free-slot"]);
    f.released(1);
    f.expect(&["stage 3.1 as r3 behind r2"]);
    f.dispatch(dispatch(1001, 0));
    f.expect(&["took 1001.1"]);
}

#[test]
fn facts_about_unknown_runs_are_noticed() {
    let mut f = Fixture::new(1);
    f.began(1);
    f.expect(&["inconsistent"]);
    f.released(1);
    f.expect(&["inconsistent"]);
    f.ended(1);
    f.expect(&["inconsistent"]);
    f.dispatch(dispatch(1, 0));
    f.dispatch(dispatch(2, 0));
    f.dispatch(dispatch(3, 0));
    f.ended(1);
    f.skip();
    f.released(1);
    f.expect(&["inconsistent"]);
}

/// Generated lists of events: whatever comes in whatever order, slots are never given away twice.
#[test]
fn generated_events_keep_the_invariants() {
    for seed in 0..300_u64 {
        let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = |below: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % below
        };
        let mut f = Fixture::new(1 + (seed % 3) as u32);
        f.fetches_at_once = seed % 2 == 0;
        let (mut live, mut fetching) = (Vec::new(), Vec::new());
        for job in 1..200 {
            match next(12) {
                0..4 => f.dispatch(dispatch(job, next(3) as u8)),
                4 => f.command(cancel(next(job)), "c"),
                5 => f.command(recall(next(job)), "r"),
                6 => f.command(acknowledge(next(job)), "a"),
                done @ 10.. if !fetching.is_empty() => {
                    let fetch: u64 = fetching.swap_remove(next(fetching.len() as u64) as usize);
                    if done == 10 { f.fetched(fetch) } else { f.fetch_failed(fetch) }
                }
                10.. => {}
                fact => {
                    let at = next(live.len().max(1) as u64) as usize;
                    match (live.get(at).copied(), fact) {
                        (None, _) => {}
                        (Some((run, _, _)), 7) => f.began(run),
                        (Some((run, ..)), 8) => f.released(run),
                        (Some((run, ..)), _) => f.ended(run),
                    }
                }
            }
            while let Some(action) = f.actions.pop_front() {
                match action {
                    Action::Notice(Notice::Inconsistent { what }) => panic!("seed {seed}: {what}"),
                    Action::Start { run, dispatch, behind } => live.push((run.0, dispatch.job, behind)),
                    Action::Fetch { fetch, .. } => fetching.push(fetch.0),
                    Action::StopFetch { fetch } => fetching.retain(|other| *other != fetch.0),
                    Action::Stop { run } => live.retain(|(live, ..)| *live != run.0),
                    _ => {}
                }
            }
            let known = |run: u64| f.agent.has_run(RunId(run));
            live.retain(|(run, ..)| known(*run));
        }
    }
}
