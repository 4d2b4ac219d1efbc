//! Limits of networks: fetched from a node, written, shown and used.

use super::{
    adder_pov,
    node::{Chain, Node, SESSION},
    run, snapshot,
};
use crate::tool::CliFixture;
use pvf_guests::adder::ADDER;
use pvf_shared::params::{ExecutorParam, ExecutorParams, PvfExecKind};
use serde_json::{Value, json};

fn chain() -> Chain {
    Chain {
        params: ExecutorParams(vec![ExecutorParam::MaxMemoryPages(8192)]),
        pending: Some(ExecutorParams(vec![ExecutorParam::PvfExecTimeout(PvfExecKind::Backing, 2_500)])),
        codes: [(1000, ADDER.to_vec()), (2000, ADDER.to_vec())].into(),
        next: [(2000, b"\0asm next".to_vec())].into(),
        ..Chain::default()
    }
}

#[test]
fn a_snapshot_of_a_node_is_written_and_used_without_it() {
    let cli = CliFixture::new();
    let node = Node::start(chain());
    let (_, said) = run(&cli, &["network", "fetch", "--rpc", &node.url, "--out", "net.json"], 0);
    assert!(said.contains("wrote net.json with Mocknet, block 20000000, session 4711"), "{said}");
    let text = std::fs::read_to_string(cli.path().join("net.json")).unwrap();
    let fetched: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&fetched["format"], &fetched["session"]), (&json!("pvf-network/1"), &json!(SESSION)));
    assert_eq!(fetched["limits"]["max_code_size"], 4 << 20);
    assert_eq!(fetched["limits"]["validation_code_bomb_limit"], 40 << 20);
    assert_eq!(fetched["limits"]["hrmp_channel_max_message_size"], 102_400);
    assert_eq!(fetched["executor_params"], json!([{"MaxMemoryPages": 8192}]));
    assert_eq!(fetched["pending"][0]["session"], SESSION + 2);
    assert_eq!(fetched["pending"][0]["executor_params"], json!([{"PvfExecTimeout": ["Backing", 2500]}]));
    let [first, second] = &fetched["parachains"].as_array().unwrap()[..] else { panic!("{fetched}") };
    assert_eq!((&first["id"], first["code_hash"] == second["code_hash"]), (&json!(1000), true));
    assert!(first.get("future_code_hash").is_none() && second["future_code_hash"].is_string());

    let (shown, _) = run(&cli, &["network", "show", "net.json"], 0);
    for part in ["Mocknet", "max_pov_size", "10.0 MiB", "8224", "from session 4713: other executor parameters"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    cli.file("a.pov", &adder_pov(0));
    // The memory limit of the answer is that of the snapshot, with the extra pages.
    let answer = cli.json(&["execute", "code.wasm", "--pov", "a.pov", "--network", "net.json"], 0).remove(0);
    assert_eq!(answer["usage"]["executions"][0]["memory_pages_limit"], 8224);
    // And so it is if the node is asked at once.
    let answer = cli.json(&["execute", "code.wasm", "--pov", "a.pov", "--network", &node.url], 0).remove(0);
    assert_eq!(answer["usage"]["executions"][0]["memory_pages_limit"], 8224);
}

#[test]
fn a_runtime_without_the_newest_apis_is_asked_another_way() {
    let cli = CliFixture::new();
    let node = Node::start(Chain { is_old: true, ..chain() });
    let (text, _) = run(&cli, &["network", "fetch", "--rpc", &node.url], 0);
    let fetched: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(fetched["limits"]["validation_code_bomb_limit"], 40 << 20);
    assert_eq!(fetched["parachains"].as_array().unwrap().len(), 2);
    let (text, _) = run(&cli, &["network", "fetch", "--rpc", &node.url, "--no-parachains"], 0);
    assert!(serde_json::from_str::<Value>(&text).unwrap().get("parachains").is_none());
}

#[test]
fn what_a_node_cannot_answer_is_named() {
    let cli = CliFixture::new();
    let node = Node::start(Chain::default());
    let unknown = format!("0x{}", "ee".repeat(32));
    cli.fails(&["network", "fetch", "--rpc", &node.url, "--at", &unknown], 3, &["it has no block"]);
    cli.fails(&["network", "fetch", "--rpc", &node.url, "--at", "0x12"], 2, &["--at", "64 hex digits"]);
    cli.fails(&["network", "fetch", "--rpc", "wss://rpc.example.org"], 2, &["https://"]);
    let unreachable = format!("http://{}", crate::http::free_address());
    cli.fails(&["network", "fetch", "--rpc", &unreachable], 3, &[&unreachable]);
    cli.fails(&["precheck", "code.wasm", "--network", "moonbeam"], 2, &["--network moonbeam", "polkadot"]);
    cli.file("net.json", b"{\"format\":\"pvf-network/9\"}");
    cli.fails(&["precheck", "code.wasm", "--network", "net.json"], 2, &["--network net.json"]);
}

#[test]
fn networks_that_come_with_the_tool_say_what_is_assumed() {
    let cli = CliFixture::new();
    let (shown, said) = run(&cli, &["network", "show", "polkadot"], 0);
    assert!(shown.contains("known: ") && shown.contains("assumed: "), "{shown}");
    assert!(said.contains("warning: assumed and not known of polkadot"), "{said}");
    let (_, said) = run(&cli, &["precheck", "code.wasm", "--network", "kusama"], 0);
    assert!(said.contains("warning: assumed and not known of kusama"), "{said}");
}

#[test]
fn the_bomb_limit_is_that_of_the_network_or_of_the_option() {
    let cli = CliFixture::new();
    let limit = ADDER.len() - 1;
    cli.file("net.json", snapshot(&json!({"validation_code_bomb_limit": limit}), &json!([])).as_bytes());
    let compressed = sp_maybe_compressed_blob::compress_weakly(ADDER, 1 << 20).unwrap();
    cli.file("code.compressed.wasm", &compressed);
    let answer = cli.json(&["precheck", "code.compressed.wasm", "--network", "net.json"], 1).remove(0);
    assert!(answer["reason"].as_str().unwrap().contains("decompress"), "{answer}");
    let option = format!("{}B", ADDER.len());
    let args = ["precheck", "code.compressed.wasm", "--network", "net.json", "--code-bomb-limit", &option];
    assert_eq!(cli.json(&args, 0)[0]["verdict"], "ok");
    cli.fails(&["precheck", "code.wasm", "--code-bomb-limit", "5GiB"], 2, &["4095MiB"]);
}
