//! The real scheduler and the real worker cores among modelled clients, processes and a modelled store, on a virtual
//! clock and with every kind of fault. A seed decides everything: the same seed gives the same run, to the last effect.
//!
//! The simulation is the shell of both state machines. `ops` generates operations and shrinks a list of them that
//! fails, `world` keeps the virtual clock, `actions` performs operations, `scheduled` what becomes due, `effects` what
//! the scheduler asks for. `network` carries messages, with loss, duplication and latency. `workers` drives the cores
//! of the workers, `processes` models the kernel's part of a job. `checks` has the rules: they are derived from
//! messages, never from what a state machine says about itself.

mod actions;
mod checks;
mod clients;
mod effects;
mod network;
mod operators;
mod ops;
mod processes;
mod scheduled;
mod setup;
mod shares;
mod store;
mod truth;
mod workers;
mod world;

pub use ops::{Op, generate};
pub use world::{Summary, World};

use pvf_scheduler::Policy;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What a run found.
#[derive(Debug)]
pub struct Failure {
    /// The seed of the run.
    pub seed: u64,
    /// The rule that was broken.
    pub message: String,
    /// Steps before it was.
    pub steps: u64,
    /// The shortest list of operations that was found to fail.
    pub ops: Vec<Op>,
}

/// Runs a simulation of about this many steps.
///
/// # Errors
/// A rule was broken.
pub fn run(seed: u64, steps: u64) -> Result<Summary, Box<Failure>> {
    let mut done = Vec::new();
    match attempt(World::new(seed), &mut generate(seed), steps, &mut done) {
        Ok(summary) => Ok(summary),
        Err((message, steps)) => {
            eprintln!("seed {seed} failed after {steps} steps: {message}\nlooking for a shorter list of operations");
            // The same failure, not another one that shows up on the way.
            let kind = |message: &str| message.split(['(', ':', '/']).next().unwrap_or_default().to_owned();
            let fails = |ops: &[Op]| {
                let found = attempt(World::new(seed), &mut ops.iter().cloned(), u64::MAX, &mut Vec::new());
                found.is_err_and(|(other, _)| kind(&other) == kind(&message))
            };
            let ops = ops::shrink(done, fails);
            Err(Box::new(Failure { seed, message, steps, ops }))
        }
    }
}

/// Runs exactly these operations.
///
/// # Errors
/// A rule was broken.
pub fn replay(seed: u64, ops: &[Op]) -> Result<Summary, String> {
    replay_with(seed, ops, |_| {})
}

/// The same with a policy that is changed.
///
/// # Errors
/// A rule was broken.
pub fn replay_with(seed: u64, ops: &[Op], change: impl FnOnce(&mut Policy)) -> Result<Summary, String> {
    let world = World::with(seed, change);
    attempt(world, &mut ops.iter().cloned(), u64::MAX, &mut Vec::new()).map_err(|(message, _)| message)
}

fn attempt(
    mut world: World,
    ops: &mut dyn Iterator<Item = Op>,
    steps: u64,
    done: &mut Vec<Op>,
) -> Result<Summary, (String, u64)> {
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
