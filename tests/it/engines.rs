//! A fleet of workers with different engines: artifacts are compiled for a CPU baseline and only run where it is the
//! same.

use pvf_guests::adder::{Block, Head};
use pvf_shared::{
    ids::EngineId,
    verdict::Outcome,
    wire::{FleetStatus, WorkerKind},
};
use pvf_tests::{
    fleet::{Fleet, FleetConfig, Role},
    host::artifacts_in,
    requests::{adder, backing, good_block},
};
use std::collections::BTreeSet;

/// Both are supported by every x86-64 machine of the last fifteen years.
const BASELINES: [&str; 2] = ["v1", "v2"];

fn engines(status: &FleetStatus, kind: WorkerKind) -> BTreeSet<&EngineId> {
    status.workers.iter().filter(|worker| worker.kind == kind).map(|worker| &worker.engine).collect()
}

/// The engines that the store has artifacts of.
fn stored_engines(fleet: &Fleet) -> BTreeSet<String> {
    let engine = |file: &std::path::PathBuf| file.parent().unwrap().file_name().unwrap().to_string_lossy().into_owned();
    artifacts_in(fleet.store()).iter().map(engine).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_engine_runs_its_own_artifacts() {
    let mut fleet = Fleet::start(0, 0).await;
    for baseline in BASELINES {
        fleet.add_with(Role::Prepare, &["--cpu-baseline", baseline]);
        fleet.add_with(Role::Execute, &["--cpu-baseline", baseline]);
    }
    fleet.complete(2, 2).await;
    let status = fleet.status().await;
    let both = engines(&status, WorkerKind::Execute);
    assert_eq!(both.len(), 2, "{both:?}");
    assert_eq!(both, engines(&status, WorkerKind::Prepare));
    let execute = async |fleet: &Fleet, block: u64| {
        let request = backing(Head::genesis().encode(), Block { state: 0, increment: block }.encode());
        let answer = fleet.host.execute_pvf(adder(), request).await.unwrap();
        assert!(matches!(answer.outcome, Outcome::Valid(_)), "{answer:?}");
        answer.worker.unwrap()
    };
    let first = execute(&fleet, 1).await;
    assert_eq!(stored_engines(&fleet).len(), 1, "one engine is enough for a request");
    // Without the execute worker of that engine, the code is prepared for the other one.
    let used = status.workers.iter().find(|worker| worker.id == first).unwrap().engine.clone();
    let index = usize::from(!used.to_string().contains("-v1-"));
    fleet.execute[index].kill();
    fleet.complete(2, 1).await;
    let second = execute(&fleet, 2).await;
    assert_ne!(first, second);
    let expected: BTreeSet<_> = both.iter().map(ToString::to_string).collect();
    assert_eq!(stored_engines(&fleet), expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prepare_worker_compiles_for_execute_workers_of_a_lower_baseline() {
    let mut fleet = Fleet::start(0, 0).await;
    fleet.add_with(Role::Prepare, &["--cpu-baseline", BASELINES[1]]);
    fleet.add_with(Role::Execute, &["--cpu-baseline", BASELINES[0]]);
    fleet.complete(1, 1).await;
    let answer = fleet.host.execute_pvf(adder(), good_block()).await.unwrap();
    assert!(matches!(answer.outcome, Outcome::Valid(_)), "{answer:?}");
    let status = fleet.status().await;
    let expected: BTreeSet<_> = engines(&status, WorkerKind::Execute).iter().map(ToString::to_string).collect();
    assert_eq!((stored_engines(&fleet), status.not_compiled_for), (expected, vec![]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_no_prepare_worker_compiles_for_is_named() {
    let settings = "[policy]\nprepare_worker_grace = \"1s\"\n".into();
    let mut fleet = Fleet::with(FleetConfig { prepare: 0, execute: 0, settings, ..FleetConfig::default() }).await;
    fleet.add_with(Role::Prepare, &["--cpu-baseline", BASELINES[0]]);
    fleet.add_with(Role::Execute, &["--cpu-baseline", BASELINES[1]]);
    fleet.complete(1, 1).await;
    let answer = fleet.host.execute_pvf(adder(), good_block()).await.unwrap();
    let status = fleet.status().await;
    let engine = engines(&status, WorkerKind::Execute).first().unwrap().to_string();
    let Outcome::Internal(error) = &answer.outcome else { panic!("{answer:?}") };
    assert!(error.to_string().contains(&format!("no prepare worker compiles for engine {engine}")), "{error}");
    let named: Vec<_> = status.not_compiled_for.iter().map(ToString::to_string).collect();
    assert_eq!((named, status.executed), (vec![engine], 0));
}
