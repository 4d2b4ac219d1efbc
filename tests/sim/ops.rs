//! What can happen, generated from a seed, and the search for the shortest list that still fails.

use pvf_shared::priority::ExecuteKind;

/// One thing that happens.
#[expect(missing_docs, reason = "the names of the fields say it")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Nothing for so many milliseconds.
    Wait(u32),
    /// A client asks for an execution.
    Execute {
        client: u8,
        kind: ExecuteKind,
        code: u8,
        candidate: u32,
        leaf: Option<u8>,
        fresh: bool,
        seconds: u16,
    },
    /// A client asks for many executions of each kind at once.
    Burst {
        client: u8,
        code: u8,
        first: u32,
        each: u8,
    },
    Precheck {
        client: u8,
        code: u8,
    },
    HeadsUp {
        client: u8,
        code: u8,
    },
    /// A client does not want one of its requests any more.
    Cancel {
        client: u8,
        which: u8,
    },
    /// A client's view of the relay chain moves.
    Leaf {
        client: u8,
        activated: u8,
        deactivated: u8,
    },
    /// A client dies; another takes its place.
    ClientDies {
        client: u8,
    },
    /// A worker dies without a word; another takes its place after so many milliseconds.
    WorkerDies {
        worker: u8,
        back: u32,
    },
    /// A worker stands still, then goes on.
    WorkerStops {
        worker: u8,
        ms: u32,
    },
    /// A worker finishes what it has and goes; another takes its place.
    WorkerDrains {
        worker: u8,
    },
    /// A worker forgets its jobs.
    WorkerForgets {
        worker: u8,
    },
    /// The store loses or damages a code's artifacts.
    LoseArtifacts {
        code: u8,
    },
    DamageArtifacts {
        code: u8,
    },
    /// The store fails for a while.
    StoreFails {
        ms: u32,
    },
    /// The coordinator cannot reach the bus for a while.
    LinkDown {
        ms: u32,
    },
    /// Messages get lost and doubled, percent of each, from now on.
    Weather {
        lost: u8,
        doubled: u8,
    },
    /// The coordinator is replaced by one that knows nothing.
    Restart,
}

/// An endless list of operations.
pub fn generate(seed: u64) -> impl Iterator<Item = Op> {
    let mut rng = fastrand::Rng::with_seed(seed);
    // Each run has a temper of its own: some are calm, some are full of faults.
    let faults = rng.u32(0..30);
    std::iter::from_fn(move || Some(if rng.u32(0..100) < faults { fault(&mut rng) } else { usual(&mut rng) }))
}

fn usual(rng: &mut fastrand::Rng) -> Op {
    let client = rng.u8(0..4);
    // Few candidates, so that many are the same; mostly good codes.
    let code = if rng.u8(0..8) == 0 { rng.u8(0..24) } else { rng.u8(0..6) };
    match rng.u32(0..100) {
        0..35 => Op::Wait(match rng.u8(0..10) {
            0 => rng.u32(1000..30_000),
            1..4 => rng.u32(50..1000),
            _ => rng.u32(0..50),
        }),
        35..72 => Op::Execute {
            client,
            kind: ExecuteKind::ALL[rng.usize(0..4)],
            code,
            candidate: rng.u32(0..400),
            leaf: (rng.u8(0..3) == 0).then(|| rng.u8(0..4)),
            fresh: rng.u8(0..10) == 0,
            seconds: if rng.u8(0..6) == 0 { rng.u16(1..10) } else { rng.u16(20..300) },
        },
        72..78 => Op::Burst { client, code: rng.u8(0..6), first: rng.u32(1000..1_000_000), each: rng.u8(4..20) },
        78..82 => Op::Precheck { client, code },
        82..86 => Op::HeadsUp { client, code },
        86..94 => Op::Cancel { client, which: rng.u8(..) },
        _ => Op::Leaf { client, activated: rng.u8(0..4), deactivated: rng.u8(0..4) },
    }
}

fn fault(rng: &mut fastrand::Rng) -> Op {
    let worker = rng.u8(..);
    match rng.u32(0..100) {
        0..15 => Op::WorkerDies { worker, back: rng.u32(0..20_000) },
        15..30 => Op::WorkerStops { worker, ms: rng.u32(100..15_000) },
        30..38 => Op::WorkerDrains { worker },
        38..44 => Op::WorkerForgets { worker },
        44..52 => Op::LoseArtifacts { code: rng.u8(0..12) },
        52..60 => Op::DamageArtifacts { code: rng.u8(0..12) },
        60..66 => Op::StoreFails { ms: rng.u32(10..5000) },
        66..72 => Op::LinkDown { ms: rng.u32(100..12_000) },
        72..82 => Op::Weather { lost: rng.u8(0..20), doubled: rng.u8(0..20) },
        82..86 => Op::Weather { lost: 0, doubled: 0 },
        86..93 => Op::Restart,
        _ => Op::ClientDies { client: rng.u8(0..4) },
    }
}

/// The shortest list that still fails and that is found by leaving out ever smaller parts.
pub fn shrink(mut ops: Vec<Op>, fails: impl Fn(&[Op]) -> bool) -> Vec<Op> {
    if !fails(&ops) {
        // It needs the rest of the generator's operations to show: nothing to be gained here.
        return ops;
    }
    let mut part = ops.len().div_ceil(2);
    loop {
        let mut at = 0;
        let mut shorter = false;
        while at < ops.len() {
            let mut rest = ops.clone();
            rest.drain(at..(at + part).min(ops.len()));
            if fails(&rest) {
                ops = rest;
                shorter = true;
            } else {
                at += part;
            }
        }
        if part == 1 && !shorter {
            return ops;
        }
        if !shorter {
            part = part.div_ceil(2);
        }
    }
}
