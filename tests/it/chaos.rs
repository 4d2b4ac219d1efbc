//! Short runs of `pvf-chaos`, which runs for hours elsewhere: faults of every kind happen to a fleet under load, and no
//! request is lost, answered twice or with a contradiction, wrong or falsely blamed.

use pvf_tests::processes::binary;
use serde_json::Value;
use std::process::{Command, Stdio};

/// The report of a run, which must be good.
fn run(arguments: &[&str]) -> Value {
    let mut command = Command::new(binary("pvf-chaos"));
    // The schedule and the faults that are found are in the output of the test.
    let output = command.args(arguments).arg("--json").stderr(Stdio::inherit()).output().expect("pvf-chaos starts");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{arguments:?}: {}: {text}", output.status);
    serde_json::from_str(&text).unwrap()
}

#[test]
fn nothing_is_lost_on_one_server_of_the_bus_and_a_folder() {
    let report = run(&["--seed", "11", "--requests", "2500", "--every", "700ms"]);
    assert_eq!(report["tally"]["requests"], 2500, "{report}");
    let faults = report["faults"].as_object().unwrap();
    assert!(faults.len() >= 5, "several kinds of faults were done: {faults:?}");
}

#[test]
fn nothing_is_lost_on_three_servers_of_the_bus_and_s3() {
    let report = run(&["--seed", "12", "--requests", "2500", "--every", "700ms", "--nats", "3", "--store", "s3"]);
    assert_eq!(report["tally"]["requests"], 2500, "{report}");
    assert!(report["faults"].as_object().unwrap().len() >= 5, "{report}");
}
