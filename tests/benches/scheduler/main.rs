//! `pvf-bench-scheduler`: measures the scheduler alone, on one core, with very long queues.

mod account;
mod fleet;

use account::{CountingAllocator, SlowOperation};
use clap::Parser;
use fleet::{ACCOUNT_EVERY, Fleet, LONGEST, Measured, Size};
use pvf_tests::bench::positive;
use std::{process::ExitCode, time::Duration};

/// Lengths of the queue that are measured before the longest, to show how the cost of an event grows.
const SHORTER: [u64; 3] = [1_000, 10_000, 100_000];
/// The bar: events a second, at least.
const EVENTS_PER_SECOND: f64 = 200_000.0;
/// The bar: memory of a queued request, at most, bytes.
const BYTES_PER_REQUEST: f64 = 1024.0;
/// At most this many slow operations are shown.
const SHOWN: usize = 10;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// Measure the scheduler alone, on one core, with very long queues.
///
/// Prints events a second, the slowest operation, the memory of a queued request, and how the cost of an event grows
/// with the length of the queue. Needs 1.5 GiB of memory at 1,000,000 queued requests; needs no nats-server.
#[derive(Parser)]
#[command(name = "pvf-bench-scheduler")]
struct Args {
    /// Queued requests of the longest measurement
    #[arg(long, value_name = "N", default_value = "1_000_000", value_parser = positive)]
    queued: u64,
    /// Workers; a tenth of them prepare
    #[arg(long, value_name = "N", default_value = "10_000", value_parser = positive)]
    workers: u64,
    /// Artifacts that the requests need
    #[arg(long, value_name = "N", default_value = "5_000", value_parser = positive)]
    artifacts: u64,
    /// Events to measure at each length of the queue
    #[arg(long, value_name = "N", default_value = "2_000_000", value_parser = positive)]
    events: u64,
    /// Measure only with --queued requests, not with 1,000, 10,000 and 100,000 before
    #[arg(long)]
    only: bool,
    /// Print one JSON array instead of text
    #[arg(long)]
    json: bool,
    /// Exit with code 1 if the longest measurement misses the bar: at least 200,000 events/s, no operation over 1 ms
    /// of processor time, at most 1 KiB a queued request
    #[arg(long)]
    check: bool,
}

struct Figures {
    queued: u64,
    per_second: f64,
    slowest_us: f64,
    p999_us: f64,
    slow: Vec<SlowOperation>,
    bytes: f64,
}

impl Figures {
    fn measure(size: Size) -> Self {
        let mut fleet = Fleet::new(size);
        let bytes = fleet.fill();
        let Measured { events, spent, mut operations, slow, .. } = fleet.run();
        operations.sort_unstable();
        let at = |permille: usize| micros(operations[(operations.len() - 1) * permille / 1000]);
        let (slowest_us, p999_us) = (at(1000), at(999));
        Self { queued: size.queued, per_second: events as f64 / spent.as_secs_f64(), slowest_us, p999_us, slow, bytes }
    }

    /// Operations over [`LONGEST`] of processor time, and of processor time in user mode.
    fn busy(&self) -> (usize, usize) {
        let over = |time: fn(&SlowOperation) -> Duration| self.slow.iter().filter(|op| time(op) > LONGEST).count();
        (over(|op| op.processor), over(|op| op.user))
    }

    fn json(&self, args: &Args) -> serde_json::Value {
        let tenths = |value: f64| (value * 10.0).round() / 10.0;
        let (busy, busy_user) = self.busy();
        serde_json::json!({
            "queued": self.queued,
            "workers": args.workers,
            "artifacts": args.artifacts,
            "events_per_second": self.per_second.round() as u64,
            "slowest_us": tenths(self.slowest_us),
            "p999_us": tenths(self.p999_us),
            "over_1ms": self.slow.len(),
            "over_1ms_of_processor_time": busy,
            "over_1ms_of_user_time": busy_user,
            "bytes_per_queued_request": self.bytes.round() as u64,
        })
    }

    fn print(&self, args: &Args, first: f64) {
        let (busy, busy_user) = self.busy();
        println!(
            "{:>9} queued, {} workers, {} artifacts: {:>9.0} events/s ({:.2} x the cost at the shortest), slowest \
             {:.0} us, 99.9 % under {:.1} us, {} over 1 ms ({busy} of processor time, {busy_user} in user mode), \
             {:.0} bytes a queued request",
            self.queued,
            args.workers,
            args.artifacts,
            self.per_second,
            first / self.per_second,
            self.slowest_us,
            self.p999_us,
            self.slow.len(),
            self.bytes
        );
        for op in self.slow.iter().filter(|op| op.processor > LONGEST).take(SHOWN) {
            println!(
                "          over 1 ms: {:.0} us of wall time; with up to {ACCOUNT_EVERY} operations before it {:.0} us \
                 of processor time ({:.0} us in user mode), {} page faults, {} context switches",
                micros(op.wall),
                micros(op.processor),
                micros(op.user),
                op.page_faults,
                op.context_switches
            );
        }
    }

    /// What misses the bar.
    fn misses(&self) -> Vec<String> {
        let mut misses = Vec::new();
        if self.per_second < EVENTS_PER_SECOND {
            misses.push(format!("{:.0} events/s, at least {EVENTS_PER_SECOND:.0} required", self.per_second));
        }
        let (busy, _) = self.busy();
        if busy > 0 {
            misses.push(format!("{busy} operations over 1 ms of processor time, none allowed"));
        }
        if self.bytes > BYTES_PER_REQUEST {
            misses.push(format!("{:.0} bytes a queued request, at most {BYTES_PER_REQUEST:.0} allowed", self.bytes));
        }
        misses
    }
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn main() -> ExitCode {
    let args = Args::parse();
    let shorter = SHORTER.into_iter().filter(|queued| *queued < args.queued && !args.only);
    let mut all: Vec<Figures> = Vec::new();
    for queued in shorter.chain([args.queued]) {
        let Args { workers, artifacts, events, .. } = args;
        let figures = Figures::measure(Size { queued, workers, artifacts, events });
        if !args.json {
            figures.print(&args, all.first().map_or(figures.per_second, |first| first.per_second));
        }
        all.push(figures);
    }
    if args.json {
        println!("{}", serde_json::Value::from_iter(all.iter().map(|figures| figures.json(&args))));
    }
    let misses = if args.check { all.last().map(Figures::misses).unwrap_or_default() } else { vec![] };
    for miss in &misses {
        eprintln!("error: the bar is missed at {} queued requests: {miss}", args.queued);
    }
    if args.check && misses.is_empty() {
        eprintln!("the bar is held at {} queued requests", args.queued);
    }
    ExitCode::from(u8::from(!misses.is_empty()))
}
