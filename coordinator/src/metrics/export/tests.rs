use super::*;
use crate::testing::{artifact, hello, new_client, new_worker, opinions};
use pvf_scheduler::{DropReason, Gauges, RetryReason};
use pvf_shared::{
    ids::{CodeHash, JobId, RequestId},
    verdict::PrepareError,
};

fn notices() -> Vec<Notice> {
    let (worker, host, job, client) = (new_worker(WorkerKind::Execute), String::from("host"), JobId(1), new_client());
    let artifact = Arc::new(artifact());
    let usage = JobUsage {
        cpu: Duration::from_millis(700),
        wall: Duration::from_millis(1500),
        max_rss_kib: 20_000,
        io: Duration::from_millis(3),
        ..JobUsage::default()
    };
    let reported = |kind| Notice::JobReported { job, attempt: 1, worker, kind, queued: Duration::from_secs(3), usage };
    let silent = Duration::from_secs(6);
    vec![
        Notice::WorkerJoined { worker, hello: Box::new(hello()) },
        Notice::WorkerLeft { worker, host: host.clone(), jobs: 0 },
        Notice::WorkerLost { worker, host: host.clone(), jobs: 1, silent },
        Notice::WorkerSuspect { worker, host, why: "refused".into() },
        Notice::WorkerRecovered { worker },
        Notice::JobRetried { job, attempt: 1, kind: WorkerKind::Execute, worker, why: RetryReason::WorkerLost },
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
        let known = family.name.starts_with("pvf_") || family.name.starts_with("polkadot_pvf_");
        assert!(known && !family.name.ends_with("_total"), "{}", family.name);
        assert!(!family.help.is_empty() && !family.unit.is_empty(), "{}", family.name);
        for label in family.labels {
            assert!(["kind", "queue", "state", "reason", "result"].contains(label), "{}: {label}", family.name);
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
            "pvf_workers_recovered 1",
            "pvf_retries{kind=\"execute\",reason=\"worker-lost\"} 1",
            "pvf_retries{kind=\"prepare\",reason=\"not-begun\"} 0",
            "pvf_preparations_failed 1",
            "pvf_artifacts_dropped{reason=\"damaged\"} 1",
            "pvf_artifacts_dropped{reason=\"unused\"} 0",
            "pvf_clients_gone 1",
            "pvf_engines_seen 1",
            // The scheduler counts these itself.
            "pvf_workers_joined 0",
            "pvf_scheduler_inconsistencies 0",
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
    };
    counters.publish_sizes(Sizes { scheduler, bus_connected: true, active: true });
    let expected = [
        "polkadot_pvf_prepare_enqueued 20",
        "polkadot_pvf_prepare_concluded 18",
        "polkadot_pvf_execute_enqueued 16",
        "polkadot_pvf_execute_finished 14",
        "pvf_execute_selected{kind=\"dispute\"} 2",
        "pvf_execute_selected{kind=\"backing\"} 8",
        "pvf_overloaded 10",
        "pvf_workers_joined 12",
        "pvf_scheduler_inconsistencies 2",
        "pvf_queue_depth{kind=\"background\",queue=\"prepare\"} 1",
        "pvf_queue_depth{kind=\"backing-system\",queue=\"execute\"} 6",
        "pvf_workers{kind=\"prepare\"} 1",
        "pvf_workers{kind=\"execute\"} 10",
        "pvf_slots{kind=\"execute\",state=\"total\"} 40",
        "pvf_slots{kind=\"execute\",state=\"busy\"} 33",
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
