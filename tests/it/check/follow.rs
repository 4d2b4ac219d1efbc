//! `pvf follow`: codes are prepared before they are needed.

use super::{
    guest,
    node::{Chain, Node},
    run,
};
use crate::tool::CliFixture;
use pvf_guests::adder::ADDER;
use pvf_shared::params::{ExecutorParam, ExecutorParams};

#[test]
fn codes_of_votes_and_upgrades_are_prepared_and_then_found() {
    let cli = CliFixture::new();
    let voted = guest("", "(nop)");
    let chain = Chain {
        codes: [(2000, guest("", ""))].into(),
        next: [(2000, ADDER.to_vec())].into(),
        voted: vec![voted.clone()],
        // Other parameters hold soon: the artifact depends on them.
        pending: Some(ExecutorParams(vec![ExecutorParam::StackLogicalMax(32_768)])),
        ..Chain::default()
    };
    let node = Node::start(chain);
    let objects = cli.json(&["follow", "--rpc", &node.url, "--once"], 0);
    assert_eq!(objects.len(), 4, "two codes under two sets of parameters: {objects:?}");
    assert!(objects.iter().all(|of| of["heads_up"] == "prepared"), "{objects:?}");
    let reasons: Vec<_> = objects.iter().map(|of| of["why"].as_str().unwrap()).collect();
    assert!(reasons.contains(&"validators vote on it"), "{reasons:?}");
    assert!(reasons.contains(&"parachain 2000 is about to upgrade to it"), "{reasons:?}");
    // The store has them now.
    cli.file("voted.wasm", &voted);
    let answer = cli.json(&["heads-up", "voted.wasm"], 0).remove(0);
    assert_eq!(answer["artifact"]["cached"], true, "{answer}");
    // With --all, the current codes as well.
    assert_eq!(cli.json(&["follow", "--rpc", &node.url, "--once", "--all"], 0).len(), 6);
    node.chain.lock().unwrap().voted.push(b"\0asm\x01\0\0\0garbage".to_vec());
    let (text, _) = run(&cli, &["follow", "--rpc", &node.url, "--once"], 1);
    assert!(text.contains("preparation failed"), "{text}");
}

#[test]
fn follow_takes_its_parameters_from_the_node() {
    let cli = CliFixture::new();
    cli.fails(&["follow", "--rpc", "http://127.0.0.1:9", "--network", "polkadot"], 2, &["--network"]);
    cli.fails(&["follow", "--rpc", "ws://127.0.0.1:9", "--once"], 2, &["--rpc", "http://"]);
    cli.fails(&["follow", "--rpc", "http://127.0.0.1:9", "--once"], 3, &["127.0.0.1:9"]);
}
