//! Many jobs through one worker's runner, and the descriptors, processes and memory that remain.

use pvf_guests::corpus::echo_like;
use pvf_shared::{Bytes, params::ExecutorParams};
use pvf_tests::bench::jobs::{execute_job, expect_valid, prepared, runner};
use pvf_tests::processes::processes_of;
use std::time::Instant;

/// Jobs in flight.
const SLOTS: usize = 2;
/// Lines of the output.
const LINES: u64 = 10;

/// Resources of this process and its descendants.
struct Held {
    descriptors: usize,
    processes: usize,
    rss_kib: u64,
    children_rss_kib: u64,
}

fn rss_kib(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).unwrap_or(0)
}

fn descriptors(pid: i32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, |entries| entries.count())
}

fn held() -> Held {
    let worker = std::process::id() as i32;
    let descendants = processes_of(worker);
    Held {
        descriptors: descriptors(worker) + descendants.iter().map(|pid| descriptors(*pid)).sum::<usize>(),
        processes: descendants.len(),
        rss_kib: rss_kib(worker),
        children_rss_kib: descendants.iter().map(|pid| rss_kib(*pid)).sum(),
    }
}

/// Runs this many jobs and prints a line after each tenth of them.
pub async fn soak(jobs: u64, json: bool) {
    let code = Bytes::from(echo_like());
    let artifact = prepared(&code).await;
    let runner = runner("pvf-execute-worker", SLOTS, SLOTS);
    let job = execute_job(ExecutorParams::default());
    if !json {
        println!(
            "{:>10} {:>8} {:>11} {:>9} {:>10} {:>13}",
            "jobs", "jobs/s", "descriptors", "processes", "RSS KiB", "children KiB"
        );
    }
    let (line, start) = ((jobs / LINES).max(1), Instant::now());
    for done in 0..=jobs / line {
        if done > 0 {
            let slots = (0..SLOTS as u64).map(|slot| {
                let share = line / SLOTS as u64 + u64::from(slot < line % SLOTS as u64);
                let (runner, job, artifact) = (&runner, &job, &artifact.file);
                async move {
                    for _ in 0..share {
                        expect_valid(&runner.execute(job, artifact, Bytes::from_static(b"block")).await.0);
                    }
                }
            });
            futures::future::join_all(slots).await;
        }
        let (jobs, held) = (done * line, held());
        let per_second = jobs as f64 / start.elapsed().as_secs_f64();
        let Held { descriptors, processes, rss_kib, children_rss_kib } = held;
        if json {
            println!(
                "{{\"jobs\":{jobs},\"jobs_per_second\":{per_second:.0},\"descriptors\":{descriptors},\"processes\":{processes},\"rss_kib\":{rss_kib},\"children_rss_kib\":{children_rss_kib}}}"
            );
        } else {
            println!(
                "{jobs:>10} {per_second:>8.0} {descriptors:>11} {processes:>9} {rss_kib:>10} {children_rss_kib:>13}"
            );
        }
    }
}
