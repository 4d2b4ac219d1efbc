//! A sample of the simulations of which `pvf-sim` runs thousands.

use pvf_tests::sim;

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

#[test]
fn a_seed_gives_the_same_run_each_time() {
    for seed in [3, 17] {
        let (first, again) = (sim::run(seed, 3_000).unwrap(), sim::run(seed, 3_000).unwrap());
        assert_eq!(first, again);
        assert!(first.dispatches > 100 && first.answered > 100, "{first:?}");
    }
}
