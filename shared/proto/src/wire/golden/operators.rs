//! Messages of operators.

use super::*;

pub(super) fn add_golden(golden: &mut GoldenMessages) {
    golden.add("drain", &FromOperator::Drain { workers: vec![worker()] });
    for (name, state) in [
        ("told", DrainState::Told { jobs: 2 }),
        ("draining", DrainState::Draining { jobs: 1 }),
        ("left", DrainState::Left),
        ("lost", DrainState::Lost),
        ("unknown", DrainState::Unknown),
    ] {
        let drains = vec![WorkerDrain { worker: worker(), state }];
        golden.add(&format!("drain reply {name}"), &OperatorReply::Drains(drains));
    }
}
