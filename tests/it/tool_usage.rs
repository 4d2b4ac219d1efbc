//! What the jobs behind a verdict used, as `pvf` shows it.

use crate::{repository, tool::CliFixture};
use pvf_guests::adder::{Block, Head};
use serde_json::Value;
use sp_maybe_compressed_blob::compress_weakly;

/// Arguments of an execution of the adder on this block data, which is in a file.
fn execution(cli: &CliFixture, block_data: &[u8]) -> Vec<String> {
    cli.file("head", &Head::genesis().encode());
    cli.file("block", block_data);
    let root = "01".repeat(32);
    let args = ["execute", "code.wasm", "--parent-head", "@head", "--block-data", "@block"];
    let rest = ["--relay-parent-number", "7", "--relay-parent-storage-root", &root];
    [&args[..], &rest].concat().into_iter().map(str::to_owned).collect()
}

fn json(cli: &CliFixture, args: &[String]) -> Value {
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    cli.json(&args, 0).remove(0)
}

/// What `pvf` prints without `--json`, by lines.
fn text(cli: &CliFixture, args: &[&str]) -> Vec<String> {
    let output = cli.pvf(args);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{args:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text.lines().map(str::to_owned).collect()
}

fn is_between(value: &Value, least: f64, most: f64) -> bool {
    value.as_f64().is_some_and(|value| (least..=most).contains(&value))
}

#[test]
fn json_has_what_preparation_and_execution_used_and_their_limits() {
    let cli = CliFixture::new();
    let block = Block { state: 0, increment: 1 }.encode();
    let compressed = compress_weakly(&block, 1000).unwrap();
    let answer = json(&cli, &execution(&cli, &compressed));
    let preparation = &answer["usage"]["preparation"];
    assert!(is_between(&preparation["cpu_ms"], 0.001, 360_000.0), "{preparation}");
    assert_eq!(preparation["cpu_limit_ms"], 360_000.0);
    assert!(preparation["max_rss_bytes"].as_u64().unwrap() > 1 << 20 && preparation["worker"].is_string());
    assert_eq!((&preparation["heap_bytes"], &preparation["heap_limit_bytes"]), (&Value::Null, &Value::Null));
    let executions = answer["usage"]["executions"].as_array().unwrap();
    let [execution_usage] = &executions[..] else { panic!("one attempt: {answer}") };
    assert_eq!((&execution_usage["attempt"], &execution_usage["outcome"]), (&1.into(), &"valid".into()));
    assert_eq!(execution_usage["worker"], answer["worker"]);
    assert_eq!(execution_usage["cpu_limit_ms"], 2000.0);
    assert!(is_between(&execution_usage["cpu_ms"], 0.001, 2000.0), "{execution_usage}");
    assert_eq!(execution_usage["memory_pages_limit"], 2080);
    assert!(is_between(&execution_usage["memory_pages"], 1.0, 2080.0), "{execution_usage}");
    // With the compact prefix of the SCALE encoding.
    assert_eq!(execution_usage["pov_bytes"], compressed.len() + 1);
    assert_eq!(
        (&execution_usage["pov_decompressed_bytes"], &execution_usage["pov_limit_bytes"]),
        (&block.len().into(), &(40 << 20).into())
    );
    // A second process finds the artifact in the store, and knows nothing of its preparation.
    let answer = json(&cli, &execution(&cli, &block));
    assert_eq!(answer["usage"]["preparation"], Value::Null);
    let execution_usage = &answer["usage"]["executions"][0];
    assert_eq!((&execution_usage["pov_bytes"], &execution_usage["pov_limit_bytes"]), (&17.into(), &Value::Null));
}

#[test]
fn every_field_of_the_usage_is_documented() {
    let cli = CliFixture::new();
    let page = std::fs::read_to_string(repository::root().join("docs/integrate/verdicts.md")).unwrap();
    let answer = &cli.json(&["execute", "code.wasm", "--params", "good"], 0)[0];
    let usage = &answer["usage"];
    let mut keys = 0;
    for object in [usage, &usage["preparation"], &usage["executions"][0]] {
        for key in object.as_object().unwrap().keys() {
            assert!(page.contains(&format!("`{key}`")), "{key}");
            keys += 1;
        }
    }
    assert!(keys > 15, "{usage}");
}

#[test]
fn text_has_a_line_for_each_job() {
    let cli = CliFixture::new();
    cli.file("limited.json", br#"[{"PrecheckingMaxMemory":1073741824}]"#);
    let lines = text(&cli, &["precheck", "code.wasm", "--executor-params", "limited.json"]);
    let [verdict, prepare] = &lines[..] else { panic!("{lines:?}") };
    assert!(verdict.starts_with("code.wasm: ok"), "{verdict}");
    assert!(prepare.starts_with("    prepare ") && prepare.contains(" of 60 s CPU"), "{prepare}");
    assert!(prepare.contains("MiB of memory") && prepare.contains(", heap "), "{prepare}");
    assert!(prepare.contains(" of 1024.0 MiB"), "{prepare}");
    // Both were executed with the artifact that is there: no preparation.
    let lines = text(&cli, &["execute", "code.wasm", "--params", "good", "good"]);
    assert_eq!(lines.len(), 4, "{lines:?}");
    for pair in lines.chunks(2) {
        assert!(pair[0].starts_with("good: valid"), "{lines:?}");
        assert!(pair[1].starts_with("    execute ") && pair[1].contains(" of 2 s CPU"), "{lines:?}");
        assert!(pair[1].contains(" of memory, ") && pair[1].contains(" of 2080 guest pages"), "{lines:?}");
        assert!(pair[1].ends_with("decompressed PoV 16 B"), "{lines:?}");
    }
}
