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

#[test]
fn a_seed_gives_the_same_run_each_time() {
    for seed in [3, 17] {
        let (first, again) = (sim::run(seed, 3_000).unwrap(), sim::run(seed, 3_000).unwrap());
        assert_eq!(first, again);
        assert!(first.dispatches > 100 && first.answered > 100, "{first:?}");
    }
}
