//! A sample of the simulations of which `pvf-sim` runs thousands.

use pvf_scheduler::Policy;
use pvf_shared::priority::ExecuteKind;
use pvf_tests::sim::{self, Op};
use std::time::Duration;

#[test]
fn simulations_find_nothing() {
    for seed in 0..60 {
        if let Err(failure) = sim::run(seed, 2_500) {
            panic!("seed {seed}: {} after {} steps: {:#?}", failure.message, failure.steps, failure.ops);
        }
    }
}

/// Coordinators are replaced while jobs run, and their successors go on with these.
#[test]
fn successors_of_coordinators_adopt_running_jobs() {
    let runs: Vec<_> = (100..120).map(|seed| sim::run(seed, 1_500).unwrap()).collect();
    let (restarts, adopted) = runs.iter().fold((0, 0), |sum, run| (sum.0 + run.restarts, sum.1 + run.adopted));
    assert!(restarts > 10 && adopted > 10, "{restarts} coordinators were replaced, {adopted} jobs adopted");
}

/// One of two or three machines gives wrong answers, most of the time. Disputes have second opinions, and without other
/// faults none of these answers reaches a client.
#[test]
fn no_wrong_answer_of_one_machine_decides_a_dispute() {
    let dispute = |candidate| {
        let (kind, code) = (ExecuteKind::Dispute, (candidate % 6) as u8);
        Op::Execute { client: (candidate % 4) as u8, kind, code, candidate, leaf: None, fresh: false, seconds: 300 }
    };
    // Those that end their process or their worker say nothing, wherever they run.
    let says_something = |candidate: &u32| !matches!(candidate % 29, 17 | 23);
    let disputes = (0..100).filter(says_something);
    let ops: Vec<_> = disputes.flat_map(|candidate| [dispute(candidate), Op::Wait(1000)]).collect();
    // A machine may be busy for as long as a candidate runs.
    let patient = |policy: &mut Policy| policy.cross_check.wait = Duration::from_secs(60);
    let mut disagreements = 0;
    for seed in 0..60 {
        let run = sim::replay_with(seed, &ops, patient).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
        assert_eq!((run.requests, run.lies), (94, 0), "seed {seed}: {run:?}");
        disagreements += run.disagreements;
    }
    assert!(disagreements > 100, "{disagreements}");
}

#[test]
fn a_seed_gives_the_same_run_each_time() {
    for seed in [3, 17] {
        let (first, again) = (sim::run(seed, 3_000).unwrap(), sim::run(seed, 3_000).unwrap());
        assert_eq!(first, again);
        assert!(first.dispatches > 100 && first.answered > 100, "{first:?}");
    }
}
