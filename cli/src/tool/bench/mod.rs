//! `pvf bench`: a load test with a user's own codes and candidates, on the embedded host or on a fleet.
//!
//! * `inputs` has the candidates, `pace` the times at which requests of an open loop are due, `load` sends them.
//! * `measured` adds up the answers, `times` has how often which time was measured, `report` shows it.
//!
//! An open loop measures from the time that a request was due, not from when it was sent. Otherwise a host that stands
//! still would delay the requests that would have shown it (coordinated omission).

pub(crate) mod args;
mod inputs;
mod load;
mod measured;
mod pace;
mod report;
mod times;

use super::{
    args::Global,
    failure::{Exit, Failure},
    network::limits::Network,
    progress::Progress,
    target::Target,
    usage::time,
};
use crate::ValidationHost;
use args::{Bench, WarmUp};
use clap::ArgMatches;
use load::{Load, Pace, Position};
use measured::Measured;
use pace::Until;
use pvf_shared::{signals::Shutdown, telemetry::to_stderr};
use report::{Counters, Report};
use rustix::time::{ClockId, clock_gettime};
use std::{
    collections::BTreeSet,
    pin::{Pin, pin},
    time::{Duration, Instant},
};

/// How long workers are waited for, and how often they are looked for. Without one the requests wait.
const WORKERS_WITHIN: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// The exit code is the greatest of all verdicts, as of a batch.
pub(crate) async fn bench(global: &Global, args: &Bench, matches: &ArgMatches) -> Result<Exit, Failure> {
    let network = Network::of(&args.limits).await?;
    let candidates = inputs::candidates(args, matches, &network)?;
    let mut shutdown = Shutdown::catch().map_err(|error| Failure::no_result("signals", error))?;
    let target = Target::open(global).await?;
    let result = Box::pin(measure(&target.host, args, candidates, pin!(shutdown.asked()))).await;
    target.close().await;
    let mut report = result?;
    report.place = match &global.bus {
        Some(bus) => format!("fleet {} at {}", global.fleet, bus.shown()),
        None => "the embedded host".into(),
    };
    match global.json {
        true => outln!("{}", report.json()),
        false => out!("{}", report.text()),
    }
    Ok(report.measured.worst)
}

async fn measure(
    host: &ValidationHost,
    args: &Bench,
    candidates: Vec<inputs::Candidate>,
    mut stop: Pin<&mut impl Future<Output = ()>>,
) -> Result<Report, Failure> {
    let slots = slots(host).await?;
    let codes: BTreeSet<_> = candidates.iter().map(|candidate| candidate.pvf.code_hash()).collect();
    let until = args.load.requests.map_or(Until::Elapsed(args.load.duration), Until::Sent);
    let load = Load { candidates, kinds: args.kind.clone(), pace: Pace::of(&args.load, slots), until };
    let warmed_up = warm_up(host, args.load.warm_up, (&load, slots), stop.as_mut()).await?;
    let (before, cpu) = (Counters::of(&host.status().await?), cpu_of_this_process());
    let measured = run(host, &load, stop, "").await?;
    let own_cpu = cpu_of_this_process().saturating_sub(cpu);
    // The result is worth more than these.
    let after = host.status().await.ok().map(|status| Counters::of(&status));
    Ok(Report {
        place: String::new(),
        codes: codes.len(),
        warm_up: (args.load.warm_up, warmed_up),
        fleet: after.and_then(|after| after.since(&before)),
        own_cpu,
        measured,
        load,
    })
}

/// The slots for executions. The workers of the embedded host, and of a fleet that starts, are there a little later
/// than their coordinator. Fails at once where there is no fleet.
async fn slots(host: &ValidationHost) -> Result<u64, Failure> {
    let give_up = Instant::now() + WORKERS_WITHIN;
    loop {
        let slots = host.status().await?.execute.slots;
        if slots > 0 || Instant::now() >= give_up {
            return Ok(slots.max(1));
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// What comes before the measurement, and how long that took.
async fn warm_up(
    host: &ValidationHost,
    warm_up: WarmUp,
    (load, slots): (&Load, u64),
    stop: Pin<&mut impl Future<Output = ()>>,
) -> Result<Duration, Failure> {
    let (candidates, kinds) = (load.candidates.clone(), load.kinds.clone());
    let load = match warm_up {
        WarmUp::None => return Ok(Duration::ZERO),
        WarmUp::Once => {
            let until = Until::Sent(candidates.len() as u64);
            let concurrency = usize::try_from(slots).unwrap_or(usize::MAX);
            Load { candidates, kinds, pace: Pace::Closed { concurrency }, until }
        }
        WarmUp::For(time) => Load { candidates, kinds, pace: load.pace, until: Until::Elapsed(time) },
    };
    let measured = run(host, &load, stop, "warm-up, not measured: ").await?;
    if measured.is_interrupted {
        return Err(Failure::NoResult("interrupted in the warm-up: nothing is measured".into()));
    }
    for (why, count) in &measured.unanswered {
        to_stderr(format_args!("warning: warm-up: {count} requests without a verdict: {why}"));
    }
    Ok(measured.elapsed)
}

/// Runs a load, with its progress on stderr.
async fn run(
    host: &ValidationHost,
    load: &Load,
    stop: Pin<&mut impl Future<Output = ()>>,
    what: &str,
) -> Result<Measured, Failure> {
    let progress = Progress::of_load(match load.until {
        Until::Elapsed(time) => millis(time),
        Until::Sent(requests) => requests,
    });
    let tell = |measured: &Measured, position: Position| {
        progress.bar.set_position(match load.until {
            Until::Elapsed(_) => millis(position.elapsed),
            Until::Sent(_) => measured.answered_count() + measured.unanswered_count(),
        });
        let (answered, in_flight) = (measured.answered_count(), position.in_flight);
        let rate = answered as f64 / position.elapsed.as_secs_f64().max(0.001);
        let [p50, p99] = [0.5, 0.99].map(|part| time(measured.latency.quantile(part)));
        let latency = if answered == 0 { String::new() } else { format!(", p50 {p50}, p99 {p99}") };
        progress.bar.set_prefix(format!("{what}{answered} answered, {rate:.1}/s{latency}, {in_flight} in flight"));
    };
    let result = progress.during(host, load.run(host, stop, tell)).await;
    drop(progress);
    result
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// CPU time of this process without its children: jobs run in children.
fn cpu_of_this_process() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or_default(), u32::try_from(time.tv_nsec).unwrap_or_default())
}
