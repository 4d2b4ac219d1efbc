//! `pvf-bench-payloads`: measures what large code and large PoVs cost, of a client that shares no store with its fleet.

use clap::Parser;
use futures::{StreamExt as _, future::join_all};
use pvf::{Pvf, ValidationHost};
use pvf_guests::corpus::{echo_like, returns};
use pvf_shared::{
    Bytes,
    bus::{
        Bus as _,
        nats::{NatsBus, NatsConnection},
    },
    subjects::Subject,
    units::{KIB, MIB},
    verdict::Outcome,
};
use pvf_tests::{
    bench::{FLEET, UNUSABLE, has_all, positive},
    fleet::{Fleet, Role},
    requests::{backing, padded, pvf_of},
};
use serde_json::{Value, json};
use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

/// Measure the time to the verdict with large PoVs and large code, and the bytes on the bus, on a real NATS with real
/// processes and two execute slots. The client shares no store with the fleet.
///
/// Needs a nats-server on the PATH or in PVF_NATS_SERVER.
#[derive(Parser)]
#[command(name = "pvf-bench-payloads")]
struct Args {
    /// Requests one after the other of each latency; the median counts
    #[arg(long, value_name = "N", default_value = "60", value_parser = positive)]
    runs: u64,
    /// Requests in flight at once, each with a PoV of its own
    #[arg(long, value_name = "N", default_value = "16", value_parser = positive)]
    batch: u64,
    /// Sizes of these PoVs, MiB
    #[arg(long, value_name = "N", default_values = ["1", "4", "10"], value_parser = positive)]
    mib: Vec<u64>,
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
}

/// Length of the large code, bytes.
const LARGE_CODE: usize = 4_700_000;
/// What is published at once when the bytes of a batch are sent with nothing else.
const CHUNK: usize = 256 * KIB;

fn noise(len: usize) -> Bytes {
    let mut bytes = vec![0; len];
    fastrand::fill(&mut bytes);
    bytes.into()
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

async fn valid(host: &ValidationHost, pvf: &Pvf, pov: Bytes) {
    let answer = host.execute_pvf(pvf.clone(), backing(&b"head"[..], pov)).await.expect("an answer");
    assert!(matches!(answer.outcome, Outcome::Valid(_)), "{:?}", answer.outcome);
}

/// The median time to the verdict of so many requests, one after the other.
async fn latency(host: &ValidationHost, pvf: &Pvf, pov_len: usize, runs: u64) -> f64 {
    let mut times = Vec::new();
    // The first one finds neither artifact nor template.
    for run in 0..=runs {
        let pov = noise(pov_len);
        let start = Instant::now();
        valid(host, pvf, pov).await;
        if run > 0 {
            times.push(millis(start.elapsed()));
        }
    }
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

async fn latencies(fleet: &Fleet, runs: u64) -> Vec<Value> {
    let tiny = returns(pvf_guests::corpus::RESULT);
    let large = padded(tiny.clone(), LARGE_CODE);
    let mut rows = Vec::new();
    for (name, code, pov_len) in [
        ("PoV of 1 MiB", &tiny, MIB),
        ("PoV of 4 MiB", &tiny, 4 * MIB),
        ("PoV of 1 KiB", &tiny, KIB),
        ("PoV of 1 KiB, code of 4.7 MB", &large, KIB),
    ] {
        let ms = latency(&fleet.host, &pvf_of(code.clone()), pov_len, runs).await;
        rows.push(json!({ "what": name, "ms": ms }));
    }
    rows
}

fn rss_kib(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process lives");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).unwrap_or(0)
}

/// Sends these bytes once through the server, from one connection to another.
async fn bare(fleet: &Fleet, povs: &[Bytes]) -> Duration {
    let to = NatsConnection::to(&fleet.nats.url).expect("a URL");
    let patience = Duration::from_secs(10);
    let sender = NatsBus::connect(&to, "bench", patience).await.expect("a bus");
    let receiver = NatsBus::connect(&to, "bench", patience).await.expect("a bus");
    let subject = Subject::received("bench.bare");
    let mut received = receiver.subscribe(&subject).await.expect("a subscription");
    let start = Instant::now();
    let receives = async {
        let mut left: usize = povs.iter().map(Bytes::len).sum();
        while left > 0 {
            left -= received.next().await.expect("the bus is there").payload.len();
        }
    };
    let sends = async {
        for pov in povs {
            for begin in (0..pov.len()).step_by(CHUNK) {
                let chunk = pov.slice(begin..pov.len().min(begin + CHUNK));
                sender.publish(&subject, chunk).await.expect("a chunk is sent");
            }
            // Within what the server holds back for a slow connection.
            sender.flush().await.expect("the bus is there");
        }
    };
    tokio::join!(receives, sends);
    start.elapsed()
}

/// Requests with large PoVs, all at once.
async fn batch(fleet: &Fleet, pvf: &Pvf, batch: u64, mib: u64) -> Value {
    let povs: Vec<_> = (0..batch).map(|_| noise(mib as usize * MIB)).collect();
    let bytes: u64 = povs.iter().map(|pov| pov.len() as u64).sum();
    let bare = bare(fleet, &povs).await;
    let bus = || ["in_bytes", "out_bytes"].map(|name| fleet.nats.varz(name));
    let (before, rss_before) = (bus(), rss_kib(fleet.coordinator.pid()));
    let start = Instant::now();
    join_all(povs.iter().map(|pov| valid(&fleet.host, pvf, pov.clone()))).await;
    let took = start.elapsed();
    let (after, rss) = (bus(), rss_kib(fleet.coordinator.pid()));
    let on_bus = (after[0] - before[0]).max(after[1] - before[1]);
    json!({
        "mib": mib,
        "requests": batch,
        "ms": millis(took),
        "bare_ms": millis(bare),
        "ratio": took.as_secs_f64() / bare.as_secs_f64(),
        "bus_bytes_ratio": on_bus as f64 / bytes as f64,
        "coordinator_rss_kib": rss,
        "coordinator_rss_growth_kib": rss.saturating_sub(rss_before),
        "slow_consumers": fleet.nats.varz("slow_consumers"),
    })
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    if !has_all(FLEET) {
        return ExitCode::from(UNUSABLE);
    }
    let mut fleet = Fleet::start(1, 0).await;
    fleet.add_with_slots(Role::Execute, 2);
    fleet.complete(1, 1).await;
    let latency = latencies(&fleet, args.runs).await;
    let pvf = pvf_of(echo_like());
    valid(&fleet.host, &pvf, noise(KIB)).await;
    let mut batches = Vec::new();
    for mib in &args.mib {
        batches.push(batch(&fleet, &pvf, args.batch, *mib).await);
    }
    if args.json {
        println!("{}", json!({ "latency": latency, "batches": batches }));
        return ExitCode::SUCCESS;
    }
    for row in &latency {
        println!("{:<30} {:>8.2} ms", row["what"].as_str().unwrap_or_default(), row["ms"].as_f64().unwrap_or_default());
    }
    for row in &batches {
        println!(
            "{} PoVs of {} MiB at once: {:.0} ms, {:.2} x sending them once ({:.0} ms); {:.3} x their bytes on the bus; \
             coordinator {} KiB, grown by {} KiB; slow consumers {}",
            row["requests"],
            row["mib"],
            row["ms"].as_f64().unwrap_or_default(),
            row["ratio"].as_f64().unwrap_or_default(),
            row["bare_ms"].as_f64().unwrap_or_default(),
            row["bus_bytes_ratio"].as_f64().unwrap_or_default(),
            row["coordinator_rss_kib"],
            row["coordinator_rss_growth_kib"],
            row["slow_consumers"],
        );
    }
    ExitCode::SUCCESS
}
