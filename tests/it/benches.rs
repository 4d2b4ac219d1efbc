//! The command lines of the benches: each answers `--help`, refuses what it does not know, and says what is missing
//! before it measures.

use pvf_tests::processes::binary;
use std::process::{Command, Output};

/// Every program of this crate.
const PROGRAMS: [&str; 10] = [
    "pvf-bench-coordinator",
    "pvf-bench-failover",
    "pvf-bench-jobs",
    "pvf-bench-payloads",
    "pvf-bench-prepare",
    "pvf-bench-queue",
    "pvf-bench-real",
    "pvf-bench-scheduler",
    "pvf-real-blocks",
    "pvf-sim",
];

/// Programs that start a fleet.
const NEED_NATS: [&str; 7] = [
    "pvf-bench-coordinator",
    "pvf-bench-failover",
    "pvf-bench-jobs",
    "pvf-bench-payloads",
    "pvf-bench-queue",
    "pvf-bench-real",
    "pvf-real-blocks",
];

fn run(program: &str, arguments: &[&str]) -> Output {
    Command::new(binary(program)).args(arguments).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn help_is_printed_and_nothing_is_measured() {
    for program in PROGRAMS {
        let output = run(program, &["--help"]);
        let text = String::from_utf8(output.stdout.clone()).unwrap();
        assert!(
            output.status.success() && text.to_lowercase().contains("usage:"),
            "{program}: {text}{}",
            stderr(&output)
        );
        assert!(text.contains("--json"), "{program}: {text}");
        assert!(!text.contains("Internal"), "{program} shows a hidden argument: {text}");
    }
}

#[test]
fn unknown_arguments_are_refused_with_exit_code_2() {
    for program in PROGRAMS {
        for arguments in [&["--frobnicate"][..], &["--json", "--help=1"], &["--json=7"]] {
            let output = run(program, arguments);
            assert_eq!(output.status.code(), Some(2), "{program} {arguments:?}: {}", stderr(&output));
        }
    }
    for (program, arguments, named) in [
        ("pvf-bench-scheduler", ["--events", "0"], "--events"),
        ("pvf-bench-queue", ["--runs", "many"], "--runs"),
        ("pvf-bench-jobs", ["--only", "nothing"], "--only"),
        ("pvf-bench-coordinator", ["--slots", "1_025"], "from 1 to 1024"),
        ("pvf-bench-coordinator", ["--in-flight", "3"], "--clients 4 is more than --in-flight 3"),
    ] {
        let output = run(program, &arguments);
        assert!(output.status.code() == Some(2) && stderr(&output).contains(named), "{program}: {}", stderr(&output));
    }
}

#[test]
fn a_missing_nats_server_is_reported_before_anything_is_measured() {
    for program in NEED_NATS {
        let mut command = Command::new(binary(program));
        let output = command.env_remove("PVF_NATS_SERVER").env("PATH", "/nowhere").output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{program}: {}", stderr(&output));
        let text = stderr(&output);
        assert!(text.starts_with("error: no nats-server") && text.contains("PVF_NATS_SERVER"), "{program}: {text}");
        assert!(output.stdout.is_empty(), "{program}");
        let output = command.env("PVF_NATS_SERVER", "/nowhere/nats-server").output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{program}: {}", stderr(&output));
        assert!(stderr(&output).contains("/nowhere/nats-server"), "{program}: {}", stderr(&output));
    }
}

#[test]
fn the_scheduler_bench_reports_its_figures_as_json() {
    let small = ["--queued", "500", "--workers", "20", "--artifacts", "10", "--events", "2_000", "--json"];
    let output = run("pvf-bench-scheduler", &small);
    assert!(output.status.success(), "{}", stderr(&output));
    let rows: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let [row] = &rows.as_array().unwrap()[..] else { panic!("one size: {rows}") };
    assert_eq!((&row["queued"], &row["workers"], &row["artifacts"]), (&500.into(), &20.into(), &10.into()));
    for figure in ["events_per_second", "slowest_us", "p999_us", "bytes_per_queued_request"] {
        assert!(row[figure].as_f64().is_some_and(|value| value > 0.0), "{figure}: {row}");
    }
    for count in ["over_1ms", "over_1ms_of_processor_time", "over_1ms_of_user_time"] {
        assert!(row[count].is_u64(), "{count}: {row}");
    }
}

/// Runs a bench with as little as it takes, and checks what it prints. Its limits do not count here: exit code 1 is
/// none.
fn figures_of_a_small_run(program: &str, arguments: &[&str]) -> serde_json::Value {
    let output = run(program, &[arguments, &["--json"]].concat());
    assert!(matches!(output.status.code(), Some(0 | 1)), "{program}: {}{}", output.status, stderr(&output));
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{program}: {e}: {text}{}", stderr(&output)))
}

/// The other benches can measure at all: what they start works, and each figure is there.
#[test]
fn the_benches_of_jobs_queue_and_preparation_measure() {
    let jobs = figures_of_a_small_run("pvf-bench-jobs", &["--functions", "20", "--calls", "5", "--runs", "1"]);
    let rows = jobs["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 12, "{jobs}");
    for row in rows {
        assert!(row["ours"].as_f64().is_some_and(|figure| figure > 0.0), "{row}");
    }
    let payloads = figures_of_a_small_run("pvf-bench-payloads", &["--runs", "2", "--batch", "4", "--mib", "1"]);
    for (table, figure) in [("latency", "ms"), ("batches", "bus_bytes_ratio")] {
        let rows = payloads[table].as_array().unwrap();
        assert!(!rows.is_empty() && rows.iter().all(|row| row[figure].as_f64().is_some_and(|n| n > 0.0)), "{payloads}");
    }
    let queue = ["--backing", "100", "--disputes", "2", "--ms", "20", "--runs", "1"];
    let queue = figures_of_a_small_run("pvf-bench-queue", &queue);
    assert!(queue["ratio"].as_f64().is_some_and(|ratio| ratio > 0.0), "{queue}");
    let prepare = figures_of_a_small_run("pvf-bench-prepare", &["--functions", "20", "--runs", "1"]);
    assert!(prepare.as_object().is_some_and(|figures| !figures.is_empty()), "{prepare}");
}

#[test]
fn the_bench_of_the_coordinator_measures() {
    let small = ["--requests", "200", "--in-flight", "8", "--runs", "2"];
    let coordinator = figures_of_a_small_run("pvf-bench-coordinator", &small);
    let runs = coordinator["runs"].as_array().unwrap();
    let figures = ["verdicts_per_second", "bare_messages_per_second", "ratio"];
    let positive = |row: &serde_json::Value, figure: &str| row[figure].as_f64().is_some_and(|n| n > 0.0);
    assert!(runs.len() == 2 && runs.iter().all(|run| figures.iter().all(|f| positive(run, f))), "{coordinator}");
    // A submission, a dispatch with its answer, and the verdict.
    assert!(runs.iter().all(|run| run["messages_per_verdict"].as_f64().is_some_and(|n| n >= 4.0)), "{coordinator}");
}

#[test]
fn the_bench_of_takeovers_measures() {
    let small = ["--in-flight", "4", "--runs", "1", "--only", "term", "--restarts", "1", "--artifacts", "2"];
    let failover = figures_of_a_small_run("pvf-bench-failover", &small);
    let takeovers = failover["takeovers"].as_array().unwrap();
    assert!(takeovers.len() == 1 && takeovers[0]["gap_ms"].as_f64().is_some_and(|ms| ms > 0.0), "{failover}");
    assert!(takeovers[0]["verdicts"].as_u64().is_some_and(|n| n > 4) && takeovers[0]["not_valid"] == 0, "{failover}");
    let restarts = failover["restarts"].as_array().unwrap();
    assert!(restarts.len() == 1 && restarts[0]["prepared_again"] == 0 && restarts[0]["not_valid"] == 0, "{failover}");
}
