use super::*;
use crate::testing::{artifact, hello, new_client, new_worker, opinions};
use pvf_scheduler::{DropReason, Gauges, RetryReason, WorkKind};
use pvf_shared::{
    bus::BusStats,
    ids::{CodeHash, JobId, RequestId},
    verdict::{AmbiguousReason, PrepareError},
    wire::{Timings, VerdictUsage},
};

fn notices() -> Vec<Notice> {
    let (worker, host, job, client) = (new_worker(WorkerKind::Execute), String::from("host"), JobId(1), new_client());
    let artifact = Arc::new(artifact());
    let usage = JobUsage {
        cpu: Duration::from_millis(700),
        cpu_limit: Duration::from_secs(2),
        pov: Some(5),
        wall: Duration::from_millis(1500),
        max_rss_kib: 20_000,
        io: Duration::from_millis(3),
        ..JobUsage::default()
    };
    let queued = Duration::from_secs(3);
    let about = pvf_scheduler::JobSubject::Execution(None);
    let reported = |kind| Notice::JobReported {
        job,
        attempt: 1,
        worker,
        about: about.clone(),
        end: "valid",
        kind,
        queued,
        usage: Box::new(usage),
    };
    let silent = Duration::from_secs(6);
    vec![
        Notice::WorkerJoined { worker, hello: Box::new(hello()) },
        Notice::WorkerLeft { worker, host: host.clone(), jobs: 0 },
        Notice::WorkerLost { worker, host: host.clone(), jobs: 1, silent },
        Notice::WorkerSuspect { worker, host, why: "refused".into() },
        Notice::WorkerRecovered { worker },
        Notice::JobRetried {
            job,
            attempt: 1,
            kind: WorkerKind::Execute,
            worker,
            about: about.clone(),
            why: RetryReason::WorkerLost,
        },
        reported(Some(ExecuteKind::Dispute)),
        reported(None),
        Notice::ExecutionQuarantined { hosts: vec![], request: RequestId::new(), client, code: CodeHash([1; 32]) },
        Notice::OpinionsDiffer { job, request: None, client: None, code: CodeHash([1; 32]), opinions: opinions() },
        Notice::NoSecondOpinion { job, code: CodeHash([1; 32]), why: "none came".into() },
        Notice::PreparationQuarantined { artifact: artifact.clone() },
        Notice::PreparationFailed { artifact: artifact.clone(), error: PrepareError::OutOfMemory },
        Notice::ArtifactDropped { artifact, why: DropReason::Damaged },
        Notice::RequestShed { request: RequestId::new(), client, limit: "requests".into() },
        Notice::ClientGone { client, silent },
        Notice::EngineSeen { engine: hello().engine },
        Notice::Inconsistent { what: "test".into() },
    ]
}

/// The lines with values, without the comments.
fn values(counters: &Counters) -> Vec<String> {
    counters.render().lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
}

#[track_caller]
fn assert_has(values: &[String], lines: &[&str]) {
    for line in lines {
        assert!(values.iter().any(|value| value == line), "{line} is not in\n{}", values.join("\n"));
    }
}

#[test]
fn the_table_keeps_the_rules_for_names_and_labels() {
    let mut names: Vec<_> = TABLE.iter().map(|family| family.name).collect();
    for family in TABLE {
        let of_node = ["polkadot_pvf_", "polkadot_parachain_candidate_validation_"];
        let known = family.name.starts_with("pvf_") || of_node.iter().any(|prefix| family.name.starts_with(prefix));
        // As Prometheus asks for; the node's counters have no suffix.
        let is_counter = matches!(family.source, Source::Count(_) | Source::Event(..) | Source::Tally(_));
        let has_suffix = is_counter && family.name.starts_with("pvf_");
        assert!(known && family.name.ends_with("_total") == has_suffix, "{}", family.name);
        assert!(!family.help.is_empty() && !family.unit.is_empty(), "{}", family.name);
        for label in family.labels {
            let few = [
                "kind",
                "queue",
                "state",
                "reason",
                "result",
                "flavor",
                "work",
                "verdict",
                "blame",
                "end",
                "stage",
                "compressed",
                "version",
                "wire",
            ];
            assert!(few.contains(label), "{}: {label}", family.name);
        }
    }
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), TABLE.len());
}

#[test]
fn notices_are_counted_and_measured() {
    let counters = Counters::default();
    for notice in notices() {
        counters.count(&notice);
    }
    let values = values(&counters);
    assert_has(
        &values,
        &[
            "pvf_workers_recovered_total 1",
            "pvf_retries_total{kind=\"execute\",reason=\"worker-lost\"} 1",
            "pvf_retries_total{kind=\"prepare\",reason=\"not-begun\"} 0",
            "pvf_preparations_failed_total 1",
            "pvf_artifacts_dropped_total{reason=\"damaged\"} 1",
            "pvf_artifacts_dropped_total{reason=\"unused\"} 0",
            "pvf_clients_gone_total 1",
            "pvf_engines_seen_total 1",
            // The scheduler counts these itself.
            "pvf_workers_joined_total 0",
            "pvf_scheduler_inconsistencies_total 0",
            // Bucket bounds as the node writes them: dashboards compare the strings.
            "polkadot_pvf_preparation_time_bucket{le=\"1\"} 0",
            "polkadot_pvf_preparation_time_bucket{le=\"2\"} 1",
            "polkadot_pvf_preparation_time_sum 1.5",
            "polkadot_pvf_execution_time_bucket{le=\"2\"} 1",
            "polkadot_pvf_execution_queued_time_bucket{le=\"2\"} 0",
            "polkadot_pvf_execution_queued_time_bucket{le=\"3\"} 1",
            "polkadot_pvf_preparation_max_rss_bucket{le=\"16384\"} 0",
            "polkadot_pvf_preparation_max_rss_bucket{le=\"32768\"} 1",
            "pvf_schedule_to_start_seconds_count{kind=\"dispute\",queue=\"execute\"} 1",
            "pvf_schedule_to_start_seconds_count{kind=\"\",queue=\"prepare\"} 1",
            "pvf_job_cpu_seconds_sum{kind=\"prepare\"} 0.7",
            "pvf_job_io_seconds_bucket{kind=\"execute\",le=\"0.005\"} 1",
            "pvf_job_max_rss_bytes_sum{kind=\"execute\"} 20480000",
        ],
    );
}

#[test]
fn counts_and_sizes_are_those_published_last() {
    let counters = Counters::default();
    assert_has(
        &values(&counters),
        &["polkadot_pvf_prepare_enqueued 0", "pvf_queue_depth{kind=\"critical\",queue=\"prepare\"} 0"],
    );
    for n in 1..=2 {
        counters.publish_counts(Counts {
            prepare_enqueued: 10 * n,
            prepare_concluded: 9 * n,
            execute_enqueued: 8 * n,
            execute_finished: 7 * n,
            execute_selected: [n, 0, 0, 4 * n],
            overloaded: 5 * n,
            workers_joined: 6 * n,
            inconsistencies: n,
            ..Counts::default()
        });
    }
    let scheduler = Gauges {
        prepare_queue: [1, 2, 3],
        execute_queue: [4, 5, 6, 7],
        workers: [(1, 2, 1), (10, 40, 33)],
        requests: 8,
        request_bytes: 9,
        clients: 10,
        artifacts: 11,
        artifact_bytes: 12,
        prepare_oldest: [Duration::ZERO, Duration::from_millis(1500), Duration::ZERO],
        staged: [0, 5],
        workers_by_condition: [[1, 0, 0, 0], [7, 1, 2, 0]],
        attempts: 39,
        ..Gauges::default()
    };
    let bus = BusStats { reconnects: 2, slow_consumer: 1 };
    let deaf = Duration::from_millis(2500);
    counters.publish_sizes(Sizes { scheduler, bus_connected: true, active: true, token: 77, bus, deaf });
    let expected = [
        "polkadot_pvf_prepare_enqueued 20",
        "polkadot_pvf_prepare_concluded 18",
        "polkadot_pvf_execute_enqueued 16",
        "polkadot_pvf_execute_finished 14",
        "pvf_execute_selected_total{kind=\"dispute\"} 2",
        "pvf_execute_selected_total{kind=\"backing\"} 8",
        "pvf_overloaded_total 10",
        "pvf_workers_joined_total 12",
        "pvf_scheduler_inconsistencies_total 2",
        "pvf_queue_depth{kind=\"background\",queue=\"prepare\"} 1",
        "pvf_queue_depth{kind=\"backing-system\",queue=\"execute\"} 6",
        "pvf_workers{kind=\"prepare\"} 1",
        "pvf_workers{kind=\"execute\"} 10",
        "pvf_slots{kind=\"execute\",state=\"total\"} 40",
        "pvf_slots{kind=\"execute\",state=\"busy\"} 33",
        "pvf_slots{kind=\"execute\",state=\"staged\"} 5",
        "pvf_queue_oldest_seconds{kind=\"normal\",queue=\"prepare\"} 1.5",
        "pvf_workers_by_state{kind=\"execute\",state=\"paused\"} 2",
        "pvf_leases 39",
        "pvf_coordinator_token 77",
        "pvf_coordinator_deaf_seconds_total 2.5",
        "pvf_bus_reconnects_total 2",
        "pvf_bus_slow_consumer_total 1",
        "pvf_requests 8",
        "pvf_request_bytes 9",
        "pvf_clients 10",
        "pvf_artifacts 11",
        "pvf_artifact_bytes 12",
        "pvf_bus_connected 1",
    ];
    assert_has(&values(&counters), &expected);
    // Scraping changes nothing.
    assert_has(&values(&counters), &expected);
}

#[test]
fn every_count_of_the_scheduler_is_exported() {
    // A field that is added to `Counts` must be added here and to the table.
    let Counts {
        prepare_enqueued: _,
        prepare_dispatched: _,
        prepare_concluded: _,
        execute_enqueued: _,
        execute_dispatched: _,
        execute_selected: _,
        execute_finished: _,
        coalesced: _,
        retried: _,
        taken_up: _,
        execute_adopted: _,
        prepare_adopted: _,
        not_adopted: _,
        came_back: _,
        leases_over: _,
        late_reports: _,
        recalled: _,
        quarantined: _,
        overloaded: _,
        artifacts_pruned: _,
        workers_joined: _,
        workers_left: _,
        workers_lost: _,
        suspected: _,
        workers_paused: _,
        cross_checks: _,
        opinions_agreed: _,
        opinions_disagreed: _,
        opinions_missing: _,
        inconsistencies: _,
    } = Counts::default();
    let exported = TABLE.iter().filter(|family| matches!(family.source, Source::Count(_))).count();
    assert_eq!(exported, 27);
}

#[test]
fn the_families_of_the_existing_host_are_all_there() {
    let counters = Counters::default();
    notices().iter().for_each(|notice| counters.count(notice));
    let text = counters.render();
    // Name, type, labels of each, as polkadot-node-core-pvf registers them.
    for (name, kind) in [
        ("polkadot_pvf_worker_spawning", "counter"),
        ("polkadot_pvf_worker_spawned", "counter"),
        ("polkadot_pvf_worker_retired", "counter"),
        ("polkadot_pvf_prepare_enqueued", "counter"),
        ("polkadot_pvf_prepare_concluded", "counter"),
        ("polkadot_pvf_execute_enqueued", "counter"),
        ("polkadot_pvf_execute_finished", "counter"),
        ("polkadot_pvf_preparation_time", "histogram"),
        ("polkadot_pvf_execution_time", "histogram"),
        ("polkadot_pvf_execution_queued_time", "histogram"),
        ("polkadot_pvf_preparation_max_rss", "histogram"),
        ("polkadot_pvf_preparation_max_resident", "histogram"),
        ("polkadot_pvf_preparation_max_allocated", "histogram"),
        ("polkadot_pvf_preparation_peak_tracked_allocation", "histogram"),
        ("polkadot_parachain_candidate_validation_pov_size", "histogram"),
        ("polkadot_parachain_candidate_validation_code_size", "histogram"),
    ] {
        assert!(text.lines().any(|line| line == format!("# TYPE {name} {kind}")), "{name}\n{text}");
    }
    let bounds = |family: &str, labels: &str| {
        let prefix = format!("{family}_bucket{{{labels}le=\"");
        let of_line = |line: &str| Some(line.strip_prefix(&prefix)?.split_once('"')?.0.to_owned());
        text.lines().filter_map(of_line).collect::<Vec<_>>().join(" ")
    };
    let memory = "8192 16384 32768 65536 131072 262144 524288 1048576 2097152 4194304 +Inf";
    let sizes = "16384 32768 65536 131072 262144 524288 1048576 2097152 4194304 8388608 +Inf";
    for (family, labels, expected) in [
        ("polkadot_pvf_preparation_time", "", "0.1 0.5 1 2 3 10 20 30 60 120 240 360 480 +Inf"),
        ("polkadot_pvf_execution_time", "", "0.01 0.025 0.05 0.1 0.25 0.5 1 2 3 4 5 6 8 10 12 +Inf"),
        ("polkadot_pvf_execution_queued_time", "", "0.01 0.025 0.05 0.1 0.25 0.5 1 2 3 4 5 6 12 24 48 +Inf"),
        ("polkadot_pvf_preparation_max_rss", "", memory),
        ("polkadot_pvf_preparation_max_resident", "", memory),
        ("polkadot_pvf_preparation_max_allocated", "", memory),
        ("polkadot_pvf_preparation_peak_tracked_allocation", "", memory),
        ("polkadot_parachain_candidate_validation_code_size", "", sizes),
        ("polkadot_parachain_candidate_validation_pov_size", "compressed=\"true\",", sizes),
    ] {
        assert_eq!(bounds(family, labels), expected, "{family}");
    }
    for flavor in ["prepare", "execute"] {
        assert!(text.contains(&format!("polkadot_pvf_worker_spawned{{flavor=\"{flavor}\"}} 1\n")), "{text}");
    }
}

#[test]
fn a_verdict_is_counted_by_its_outcome_and_its_blame() {
    let counters = Counters::default();
    let about = Answered {
        work: WorkKind::Execute(ExecuteKind::Dispute),
        job: Some(JobId(1)),
        arrived: pvf_scheduler::Timestamp::default(),
    };
    let timings = Timings { queued: Duration::from_millis(20), total: Duration::from_secs(3), ..Timings::default() };
    let verdict = Verdict {
        request: RequestId::new(),
        outcome: Outcome::PossiblyInvalid(AmbiguousReason::WorkerDeath),
        code_hash: CodeHash([1; 32]),
        artifact: None,
        timings,
        worker: None,
        attempts: 2,
        usage: VerdictUsage::default(),
        second_opinion: None,
    };
    counters.answered(&verdict, about);
    let of = "kind=\"dispute\",verdict=\"possibly_invalid\",work=\"execute\"";
    assert_has(
        &values(&counters),
        &[
            &format!("pvf_verdicts_total{{blame=\"ambiguous\",{of}}} 1"),
            "pvf_verdicts_total{blame=\"none\",kind=\"dispute\",verdict=\"valid\",work=\"execute\"} 0",
            "pvf_artifact_requests_total{result=\"none\"} 1",
            "pvf_request_seconds_bucket{stage=\"queued\",work=\"execute\",le=\"0.025\"} 1",
            "pvf_request_seconds_sum{stage=\"total\",work=\"execute\"} 3",
        ],
    );
}
