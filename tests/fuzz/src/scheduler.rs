//! The scheduler among modelled clients, workers and a modelled store (`tests/sim`), which knows what must hold: the
//! input decides what happens, the simulation's generator is left out.

use crate::{
    Seeds,
    sim::{Op, replay},
};
use libfuzzer_sys::arbitrary::{Result, Unstructured};
use pvf_shared::priority::ExecuteKind;

/// More takes too long.
const MAX_OPS: usize = 80;

/// The seed for what the model itself leaves to chance, and what happens.
fn read(bytes: &[u8]) -> (u64, Vec<Op>) {
    let mut u = Unstructured::new(bytes);
    let seed = u.arbitrary::<u8>().unwrap_or(0);
    let ops = std::iter::from_fn(|| if u.is_empty() { None } else { op(&mut u).ok() });
    (seed.into(), ops.take(MAX_OPS).collect())
}

/// Within what the model is made for, but in other proportions than its generator has.
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
        14 => Op::WorkerDrains { worker: u.arbitrary()? },
        15 => Op::WorkerForgets { worker: u.arbitrary()? },
        16 if u.arbitrary()? => Op::LoseArtifacts { code },
        16 => Op::DamageArtifacts { code },
        17 if u.arbitrary()? => Op::StoreFails { ms: u.int_in_range(1..=8_000)? },
        17 => Op::LinkDown { ms: u.int_in_range(1..=20_000)? },
        18 => Op::Weather { lost: u.int_in_range(0..=50)?, doubled: u.int_in_range(0..=50)? },
        _ => Op::Restart,
    })
}

/// One run.
pub fn run(bytes: &[u8]) {
    let (seed, ops) = read(bytes);
    if let Err(found) = replay(seed, &ops) {
        panic!("{found}");
    }
}

/// What an input is, in words: for `tests/sim`, as a reproduction has it.
pub fn show(bytes: &[u8]) -> String {
    let (seed, ops) = read(bytes);
    format!("seed {seed}, {ops:#?}")
}

/// A few of any bytes: each is a run.
pub fn seeds() -> Seeds {
    let seed = |n: u64| {
        let mut rng = fastrand::Rng::with_seed(n);
        let bytes: Vec<u8> = (0..40 + n * 8).map(|_| rng.u8(..)).collect();
        (format!("seed {n}"), bytes)
    };
    (0..24).map(seed).collect()
}
