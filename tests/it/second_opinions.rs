//! Second opinions, end to end. The rules are the scheduler's own tests; here are the options, the workers' identities
//! and versions, a worker that gives wrong answers, and the record that a client gets.

use crate::http::{free_address, get};
use pvf::ExecuteRequest;
use pvf_shared::{
    Bytes,
    bundle::Bundle,
    priority::ExecuteKind,
    verdict::{InternalError, Outcome},
    wire::OpinionResult,
};
use pvf_tests::{
    fleet::{Fleet, FleetConfig, Role},
    processes::{binary, copy_environment},
    requests::{adder, bad_block, good_block, pvf_of},
};
use std::{fs, path::Path};

fn dispute(request: ExecuteRequest) -> ExecuteRequest {
    ExecuteRequest { kind: ExecuteKind::Dispute, ..request }
}

/// A fleet without execute workers, which waits so long for second opinions.
async fn fleet(wait: &str, arguments: &[&str]) -> Fleet {
    let settings = format!("[policy.cross_check]\nwait = \"{wait}\"\n");
    let arguments = [&["--cross-check", "dispute,invalid=1"], arguments].concat();
    let coordinator_arguments = arguments.into_iter().map(str::to_owned).collect();
    Fleet::with(FleetConfig { execute: 0, settings, coordinator_arguments, ..FleetConfig::default() }).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_machines_judge_what_the_option_names() {
    let mut fleet = fleet("10m", &[]).await;
    ["one", "two"].into_iter().for_each(|host| fleet.add_with(Role::Execute, &["--host", host]));
    fleet.complete(1, 2).await;
    for (request, verdict) in
        [(dispute(good_block()), "valid"), (dispute(bad_block()), "invalid"), (bad_block(), "invalid")]
    {
        let answer = fleet.host.execute_pvf(adder(), request).await.unwrap();
        assert_eq!(answer.outcome.name(), verdict, "{answer:?}");
        let record = answer.second_opinion.expect("a record");
        assert_eq!(record.result, OpinionResult::Agreed, "{record:?}");
        let mut hosts: Vec<_> = record.opinions.iter().map(|opinion| opinion.host.as_str()).collect();
        hosts.sort_unstable();
        assert_eq!(hosts, ["one", "two"]);
        for opinion in &record.opinions {
            assert_eq!((opinion.end.name(), opinion.result.is_some()), (verdict, verdict == "valid"));
            assert_eq!(opinion.version, env!("CARGO_PKG_VERSION"));
            assert!(opinion.host_functions.starts_with("sp-io ") && opinion.engine.as_str().starts_with("wt"));
        }
    }
    let answer = fleet.host.execute_pvf(adder(), good_block()).await.unwrap();
    assert!(matches!(answer.outcome, Outcome::Valid(_)) && answer.second_opinion.is_none(), "{answer:?}");
    assert_eq!(answer.attempts, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_workers_of_one_machine_are_no_two_opinions() {
    let mut fleet = fleet("1s", &[]).await;
    (0..2).for_each(|_| fleet.add(Role::Execute));
    fleet.complete(1, 2).await;
    let answer = fleet.host.execute_pvf(adder(), dispute(good_block())).await.unwrap();
    assert!(matches!(answer.outcome, Outcome::Valid(_)), "{answer:?}");
    let record = answer.second_opinion.expect("a record");
    assert!(matches!(&record.result, OpinionResult::Missing(why) if why.contains("within 1 s")), "{record:?}");
    assert_eq!(record.opinions.len(), 1);
}

/// An execute worker of `worker/examples/hostile-worker.rs` in a file of this name, which says whether it lies.
fn add_hostile(fleet: &mut Fleet, folder: &Path, name: &str) {
    let exe = folder.join(format!("pvf-execute-worker-{name}"));
    fs::copy(binary("examples/hostile-worker"), &exe).unwrap();
    fleet.add_changed(Role::Execute, &["--host", name], |command| {
        let mut other = std::process::Command::new(&exe);
        other.args(command.get_args());
        copy_environment(command, &mut other);
        *command = other;
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_answer_of_one_machine_reaches_no_client_and_raises_an_alarm() {
    let http = free_address();
    let mut fleet = fleet("10m", &["--http", &http.to_string()]).await;
    let folder = tempfile::tempdir().unwrap();
    ["lying", "honest"].into_iter().for_each(|name| add_hostile(&mut fleet, folder.path(), name));
    fleet.complete(1, 2).await;
    // In truth the candidate is invalid: the guest traps.
    let (pvf, request) =
        (pvf_of(pvf_guests::corpus::calls("ext_hostile_lies_if_it_is_a_liar_version_1")), dispute(good_block()));
    let answer = fleet.host.execute_pvf(pvf.clone(), request.clone()).await.unwrap();
    let Outcome::Internal(InternalError::Disagreement(why)) = &answer.outcome else { panic!("{answer:?}") };
    assert!(why.contains("at lying") && why.contains("at honest"), "{why}");
    let bundle = fleet.host.bundle(&pvf, Some(&request), &answer).await;
    let file: Bytes = bundle.parts().unwrap().concat().into();
    let record = Bundle::decode(&file).unwrap().notes.second_opinion.expect("a record in the bundle");
    assert_eq!((&record.result, answer.second_opinion.as_ref()), (&OpinionResult::Disagreed, Some(&record)));
    let mut opinions: Vec<_> = record.opinions.iter().map(|of| (of.host.as_str(), of.end.name())).collect();
    opinions.sort_unstable();
    assert_eq!(opinions, [("honest", "invalid"), ("lying", "valid")]);
    let (_, metrics) = get(http, "/metrics").unwrap();
    assert!(metrics.contains("pvf_cross_checks_total{result=\"disagreed\"} 1"), "{metrics}");
    // What the two agree about is answered.
    let answer = fleet.host.execute_pvf(adder(), dispute(good_block())).await.unwrap();
    assert!(matches!(answer.outcome, Outcome::Valid(_)), "{answer:?}");
}
