//! Through the whole fleet: a client, NATS, the coordinator and the workers, all on the same cores.

use crate::{
    CORES, Subject,
    bare::Bare,
    table::{Limit, Row},
};
use futures::{StreamExt as _, stream};
use pvf::{ExecuteRequest, Pvf};
use pvf_guests::corpus::busy;
use pvf_shared::{params::ExecutorParams, priority::ExecuteKind, verdict::Outcome};
use pvf_tests::{
    bench::{bare_on_two_cores, calibrate, compiled, median},
    fleet::{Fleet, Role},
    requests::backing,
};
use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

/// Run time of the guest of the last measurement, milliseconds.
const LONG_MS: u64 = 5;
/// Rounds of the last measurement, in turn with the bare calls: the load of a machine changes from one second to the
/// next.
const ROUNDS: usize = 9;

/// Block data is unique: identical validations would be coalesced.
static NEXT: AtomicU64 = AtomicU64::new(0);

async fn one(fleet: &Fleet, pvf: &Pvf) -> f64 {
    let block = NEXT.fetch_add(1, Ordering::Relaxed).to_le_bytes().to_vec();
    let request = ExecuteRequest { kind: ExecuteKind::Approval, ..backing(&b"parent head"[..], block) };
    let start = Instant::now();
    let answer = fleet.host.execute_pvf(pvf.clone(), request).await.expect("an answer");
    assert!(matches!(answer.outcome, Outcome::Valid(_)), "{:?}", answer.outcome);
    start.elapsed().as_secs_f64() * 1e6
}

/// Executions a second, of this many with `at_once` in flight.
async fn many(fleet: &Fleet, pvf: &Pvf, calls: u64, at_once: usize) -> f64 {
    let start = Instant::now();
    stream::iter(0..calls).map(|_| one(fleet, pvf)).buffer_unordered(at_once).count().await;
    calls as f64 / start.elapsed().as_secs_f64()
}

/// Round trip of a NATS request to the coordinator, microseconds.
async fn round_trip(fleet: &Fleet) -> f64 {
    let mut times = Vec::new();
    for _ in 0..500 {
        let start = Instant::now();
        fleet.host.status().await.expect("a status");
        times.push(start.elapsed().as_secs_f64() * 1e6);
    }
    median(&mut times)
}

/// Measures one request in flight, many in flight, and a guest that runs for longer.
pub async fn executions(subject: &Subject, bare: Bare) -> Vec<Row> {
    eprintln!("starting a fleet");
    let mut fleet = Fleet::start(1, 0).await;
    fleet.add_with_slots(Role::Execute, CORES as u32);
    fleet.complete(1, 1).await;
    let pvf = Pvf::new(subject.code.clone(), ExecutorParams::default());
    fleet.host.precheck_pvf(pvf.clone()).await.expect("the code is prepared");
    many(&fleet, &pvf, 100, CORES).await;
    eprintln!("round trip to the coordinator: {:.0} us", round_trip(&fleet).await);
    eprintln!("executing on the fleet, one in flight");
    let mut times = Vec::new();
    for _ in 0..subject.calls {
        times.push(one(&fleet, &pvf).await);
    }
    let alone = median(&mut times) / 1e3;
    eprintln!("executing on the fleet, 32 in flight");
    let per_second = many(&fleet, &pvf, subject.calls * 2, 32).await;
    eprintln!("executing on the fleet, {LONG_MS} ms each");
    let long = busy(calibrate(LONG_MS));
    let bare_long = compiled(&long);
    let long = Pvf::new(long, ExecutorParams::default());
    fleet.host.precheck_pvf(long.clone()).await.expect("the code is prepared");
    many(&fleet, &long, 20, CORES).await;
    let (mut bare_per_second, mut long_per_second, mut ratios) = (vec![], vec![], vec![]);
    for _ in 0..ROUNDS {
        let n = 200;
        bare_per_second.push(n as f64 / bare_on_two_cores(&bare_long, n).as_secs_f64());
        long_per_second.push(many(&fleet, &long, n, 32).await);
        ratios.push(long_per_second[ratios.len()] / bare_per_second[ratios.len()]);
    }
    let ms = |us: f64| us / 1e3;
    let alone = Row {
        name: "fleet, one in flight, median",
        unit: "ms",
        call: Some(ms(bare.call)),
        bare: Some(ms(bare.fork)),
        ours: alone,
        limited: alone,
        limit: Limit::Most(1.5),
    };
    let many = Row {
        name: "fleet, 32 in flight",
        unit: "jobs/s",
        call: None,
        bare: Some(CORES as f64 / bare.fork_cpu * 1e6),
        ours: per_second,
        limited: per_second,
        limit: Limit::Least(800.0),
    };
    let long = Row {
        name: "fleet, 5 ms guest, 32 in flight (beside two bare cores)",
        unit: "jobs/s",
        call: Some(median(&mut bare_per_second)),
        bare: None,
        ours: median(&mut long_per_second),
        limited: median(&mut ratios),
        limit: Limit::Least(0.75),
    };
    vec![alone, many, long]
}
