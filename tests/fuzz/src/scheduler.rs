//! The scheduler in the simulation of `tests/sim`, which checks what must hold: the operations come from the input
//! instead of the simulation's generator.

use crate::{
    Seeds,
    sim::{Op, replay},
};
use libfuzzer_sys::arbitrary::{Result, Unstructured};
use pvf_shared::priority::ExecuteKind;

/// Longer inputs take too long.
const MAX_OPS: usize = 80;

/// The seed of the simulation's random numbers, and the operations.
fn read(bytes: &[u8]) -> (u64, Vec<Op>) {
    let mut u = Unstructured::new(bytes);
    let seed = u.arbitrary::<u8>().unwrap_or(0);
    let ops = std::iter::from_fn(|| if u.is_empty() { None } else { op(&mut u).ok() });
    (seed.into(), ops.take(MAX_OPS).collect())
}

/// An operation within the limits of the simulation, with other frequencies than its generator's.
fn op(u: &mut Unstructured<'_>) -> Result<Op> {
    let what = u.int_in_range(0..=19)?;
    let (client, code) = (u.int_in_range(0..=3)?, u.int_in_range(0..=23)?);
    Ok(match what {
        0 => Op::Wait(u.int_in_range(0..=50)?),
        1 => Op::Wait(u.int_in_range(0..=2_000)?),
        2 => Op::Wait(u.int_in_range(0..=60_000)?),
        3..=5 => Op::Execute {
            client,
            kind: *u.choose(&ExecuteKind::ALL)?,
            code,
            candidate: u.int_in_range(0..=63)?,
            leaf: u.arbitrary::<Option<u8>>()?.map(|leaf| leaf % 4),
            fresh: u.ratio(1, 4)?,
            seconds: u.int_in_range(1..=300)?,
        },
        6 => Op::Burst { client, code, first: u.int_in_range(1000..=60_000)?, each: u.int_in_range(1..=12)? },
        7 => Op::Precheck { client, code },
        8 => Op::HeadsUp { client, code },
        9 => Op::Cancel { client, which: u.arbitrary()? },
        10 => Op::Leaf { client, activated: u.int_in_range(0..=3)?, deactivated: u.int_in_range(0..=3)? },
        11 => Op::ClientDies { client },
        12 => Op::WorkerDies { worker: u.arbitrary()?, back: u.int_in_range(0..=30_000)? },
        13 => Op::WorkerStops { worker: u.arbitrary()?, ms: u.int_in_range(1..=20_000)? },
        14 if u.arbitrary()? => Op::OperatorDrains { worker: u.arbitrary()? },
        14 => Op::WorkerDrains { worker: u.arbitrary()? },
        15 => Op::WorkerForgets { worker: u.arbitrary()? },
        16 if u.arbitrary()? => Op::LoseArtifacts { code },
        16 => Op::DamageArtifacts { code },
        17 if u.arbitrary()? => Op::StoreFails { ms: u.int_in_range(1..=8_000)? },
        17 => Op::LinkDown { ms: u.int_in_range(1..=20_000)? },
        18 => Op::Network { lost: u.int_in_range(0..=50)?, duplicated: u.int_in_range(0..=50)? },
        _ => Op::Restart,
    })
}

/// Runs one input.
pub fn run(bytes: &[u8]) {
    let (seed, ops) = read(bytes);
    if let Err(found) = replay(seed, &ops) {
        panic!("{found}");
    }
}

/// Describes an input in the form that a reproduction of `tests/sim` has.
pub fn show(bytes: &[u8]) -> String {
    let (seed, ops) = read(bytes);
    format!("seed {seed}, {ops:#?}")
}

/// Random bytes: any input is a run.
pub fn seeds() -> Seeds {
    let seed = |n: u64| {
        let mut rng = fastrand::Rng::with_seed(n);
        let bytes: Vec<u8> = (0..40 + n * 8).map(|_| rng.u8(..)).collect();
        (format!("seed {n}"), bytes)
    };
    (0..24).map(seed).collect()
}
