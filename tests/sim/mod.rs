//! The real scheduler among modelled clients, workers and a modelled store, on a virtual clock and with every kind
//! of fault. A seed decides everything: the same seed gives the same run, to the last effect.
//!
//! `ops` generates what happens and shrinks a list of it that fails, `world`
//! makes it happen (`deeds`, `effects`, `happenings`), `clients`, `workers`
//! and `store` are the models, `checks` knows what must hold, whatever the scheduler thinks of itself.

mod checks;
mod clients;
mod deeds;
mod effects;
mod happenings;
mod ops;
mod store;
mod truth;
mod workers;
mod world;

pub use ops::{Op, generate};
pub use world::{Summary, World};

use std::panic::{AssertUnwindSafe, catch_unwind};

/// What a run found.
#[derive(Debug)]
pub struct Failure {
    /// The seed of the run.
    pub seed: u64,
    /// What did not hold.
    pub message: String,
    /// After how many steps.
    pub steps: u64,
    /// The shortest list of operations that was found to fail.
    pub ops: Vec<Op>,
}

/// Runs a simulation of about this many steps.
pub fn run(seed: u64, steps: u64) -> Result<Summary, Box<Failure>> {
    let mut done = Vec::new();
    match attempt(seed, &mut generate(seed), steps, &mut done) {
        Ok(summary) => Ok(summary),
        Err((message, steps)) => {
            eprintln!("seed {seed} failed after {steps} steps: {message}\nlooking for a shorter list of operations");
            // The same failure, not another one that shows up on the way.
            let kind = |message: &str| message.split(['(', ':', '/']).next().unwrap_or_default().to_owned();
            let fails = |ops: &[Op]| {
                let found = attempt(seed, &mut ops.iter().cloned(), u64::MAX, &mut Vec::new());
                found.is_err_and(|(other, _)| kind(&other) == kind(&message))
            };
            let ops = ops::shrink(done, fails);
            Err(Box::new(Failure { seed, message, steps, ops }))
        }
    }
}

/// Runs exactly these operations.
pub fn replay(seed: u64, ops: &[Op]) -> Result<Summary, String> {
    attempt(seed, &mut ops.iter().cloned(), u64::MAX, &mut Vec::new()).map_err(|(message, _)| message)
}

fn attempt(
    seed: u64,
    ops: &mut dyn Iterator<Item = Op>,
    steps: u64,
    done: &mut Vec<Op>,
) -> Result<Summary, (String, u64)> {
    let mut world = World::new(seed);
    let result = catch_unwind(AssertUnwindSafe(|| {
        while world.steps() < steps
            && let Some(op) = ops.next()
        {
            done.push(op.clone());
            world.perform(&op);
        }
        world.settle()
    }));
    result.map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
        (text.unwrap_or_else(|| "a panic without a message".into()), world.steps())
    })
}
