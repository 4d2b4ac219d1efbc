//! Operations: what can happen in a run. They are generated from a seed; a list that fails is shrunk.

use pvf_shared::priority::ExecuteKind;

/// One operation.
#[expect(missing_docs, reason = "the field names are the documentation")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Time passes, milliseconds.
    Wait(u32),
    /// A client submits an execution.
    Execute {
        client: u8,
        kind: ExecuteKind,
        code: u8,
        candidate: u32,
        leaf: Option<u8>,
        fresh: bool,
        seconds: u16,
    },
    /// A client submits this many executions of each kind at once.
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
    /// A client cancels one of its requests.
    Cancel {
        client: u8,
        which: u8,
    },
    /// A client's relay chain leaves change.
    Leaf {
        client: u8,
        activated: u8,
        deactivated: u8,
    },
    /// A client dies; another one takes its place.
    ClientDies {
        client: u8,
    },
    /// A worker dies; another one takes its place after this many milliseconds.
    WorkerDies {
        worker: u8,
        back: u32,
    },
    /// A worker stands still for this long; its job processes go on.
    WorkerStops {
        worker: u8,
        ms: u32,
    },
    /// A worker drains and deregisters; another one takes its place.
    WorkerDrains {
        worker: u8,
    },
    /// An operator asks a worker to drain, and repeats it until the worker has left.
    OperatorDrains {
        worker: u8,
    },
    /// A worker loses its state and its jobs, and keeps its id.
    WorkerForgets {
        worker: u8,
    },
    /// The store loses a code's artifacts.
    LoseArtifacts {
        code: u8,
    },
    /// The store damages a code's artifacts.
    DamageArtifacts {
        code: u8,
    },
    /// The store fails for this long.
    StoreFails {
        ms: u32,
    },
    /// The coordinator cannot reach the bus for this long.
    LinkDown {
        ms: u32,
    },
    /// The connection of the coordinator carries nothing for this long, and does not say so.
    LinkSilent {
        ms: u32,
    },
    /// The coordinator's process stands still for this long.
    CoordinatorStops {
        ms: u32,
    },
    /// Every job that a worker begins fails at once for this long: its machine is broken.
    WorkerFailsAtOnce {
        worker: u8,
        ms: u32,
    },
    /// A worker's machine cannot run jobs for this long, by its self-test: it takes no new ones.
    WorkerUnfit {
        worker: u8,
        ms: u32,
    },
    /// What workers fetch from the store does not arrive for this long.
    StoreHangs {
        ms: u32,
    },
    /// The jobs that run at a worker stand still for this long, and the worker goes on listing them.
    JobHangs {
        worker: u8,
        ms: u32,
    },
    /// Messages are lost and duplicated from now on, percent of each.
    Network {
        lost: u8,
        duplicated: u8,
    },
    /// The coordinator is replaced by one that knows nothing.
    Restart,
}

/// An endless list of operations.
pub fn generate(seed: u64) -> impl Iterator<Item = Op> {
    let mut rng = fastrand::Rng::with_seed(seed);
    // Each run has its own share of faults, percent.
    let faults = rng.u32(0..30);
    std::iter::from_fn(move || Some(if rng.u32(0..100) < faults { fault(&mut rng) } else { regular(&mut rng) }))
}

fn regular(rng: &mut fastrand::Rng) -> Op {
    let client = rng.u8(0..4);
    // Few candidates, so that many requests coalesce; mostly good codes.
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
        30..34 => Op::WorkerDrains { worker },
        34..38 => Op::OperatorDrains { worker },
        38..44 => Op::WorkerForgets { worker },
        44..52 => Op::LoseArtifacts { code: rng.u8(0..12) },
        52..60 => Op::DamageArtifacts { code: rng.u8(0..12) },
        60..66 => Op::StoreFails { ms: rng.u32(10..5000) },
        66..70 => Op::LinkDown { ms: rng.u32(100..12_000) },
        70..73 => Op::LinkSilent { ms: rng.u32(100..30_000) },
        73..76 => Op::CoordinatorStops { ms: rng.u32(100..30_000) },
        76..78 => Op::StoreHangs { ms: rng.u32(10..40_000) },
        78..80 => Op::WorkerFailsAtOnce { worker, ms: rng.u32(1000..60_000) },
        80..81 => Op::JobHangs { worker, ms: rng.u32(5000..150_000) },
        81..82 => Op::WorkerUnfit { worker, ms: rng.u32(100..30_000) },
        82..83 => Op::Network { lost: 0, duplicated: 0 },
        83..88 => Op::Network { lost: rng.u8(0..20), duplicated: rng.u8(0..20) },
        88..94 => Op::Restart,
        _ => Op::ClientDies { client: rng.u8(0..4) },
    }
}

/// The shortest list that still fails and that is found by leaving out ever smaller parts.
pub fn shrink(mut ops: Vec<Op>, fails: impl Fn(&[Op]) -> bool) -> Vec<Op> {
    if !fails(&ops) {
        // It does not fail without the operations that the generator would add: it cannot be shrunk.
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
