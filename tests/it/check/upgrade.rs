//! `pvf check` on an upgrade: two runtimes, the block that asks for the new one, and what is decided already.

use super::{
    exported, guest,
    node::{Chain, Node},
    run,
};
use crate::tool::CliFixture;
use parity_scale_codec::{Compact, Encode as _};
use pvf_shared::params::{ExecutorParam, ExecutorParams, PvfExecKind};
use serde_json::Value;

/// A guest whose result asks for this code.
fn asks_for(code: &[u8]) -> Vec<u8> {
    // Empty head data, the code, no messages.
    let result = [vec![0, 1], Compact(code.len() as u32).encode(), code.to_vec(), vec![0, 0], vec![0; 8]].concat();
    let bytes: String = result.iter().map(|byte| format!("\\{byte:02x}")).collect();
    let text = format!(
        r#"(module (memory (export "memory") 17) (global (export "__heap_base") i32 (i32.const 65536))
            (data (i32.const 4096) "{bytes}")
            (func (export "validate_block") (param i32 i32) (result i64)
                (i64.const {packed})))"#,
        packed = 4096_u64 | (result.len() as u64) << 32
    );
    wat::parse_str(text).unwrap()
}

fn check(cli: &CliFixture, args: &[&str], code: i32) -> Value {
    cli.json(&[&["check", "--no-determinism", "--runs", "1"], args].concat(), code).remove(0)
}

fn row<'a>(pov: &'a Value, check: &str) -> &'a Value {
    let rows = pov["rows"].as_array().unwrap();
    rows.iter().find(|row| row["check"] == check).unwrap_or_else(|| panic!("no {check}: {pov}"))
}

#[test]
fn the_block_that_asks_for_the_new_runtime_is_named() {
    let cli = CliFixture::new();
    let new = guest("", "(nop)");
    cli.file("new.wasm", &new);
    cli.file("other.wasm", &guest("", "(unreachable)"));
    cli.file("old.wasm", &asks_for(&new));
    cli.file("a.pov", &exported(b"head", b"block"));
    let report = check(&cli, &["old.wasm", "new.wasm", "--pov", "a.pov"], 0);
    let pov = &report["povs"][0];
    assert_eq!(pov["role"], "asks for the upgrade");
    assert_eq!((&row(pov, "upgrade")["state"], &row(pov, "new-code-size")["value"]), (&"ok".into(), &new.len().into()));
    let notes = report["notes"].as_array().unwrap();
    assert!(
        notes.iter().any(|note| note.as_str().unwrap().contains("look at a.pov (asks for the upgrade)")),
        "{notes:?}"
    );
    // Both accept it, and say other things.
    assert!(report.to_string().contains("their results differ: a.pov"), "{report}");
    let report = check(&cli, &["old.wasm", "other.wasm", "--pov", "a.pov"], 0);
    assert_eq!(row(&report["povs"][0], "upgrade")["state"], "warning");
    let report = check(&cli, &["old.wasm", "--pov", "a.pov"], 0);
    assert_eq!(row(&report["povs"][0], "upgrade")["state"], "info");
}

#[test]
fn the_first_block_on_the_new_runtime_is_named_and_equal_names_are_told_apart() {
    let cli = CliFixture::new();
    for (folder, body) in [("old", "(unreachable)"), ("new", "")] {
        std::fs::create_dir(cli.path().join(folder)).unwrap();
        cli.file(&format!("{folder}/runtime.wasm"), &guest("", body));
    }
    cli.file("a.pov", &exported(b"head", b"block"));
    let report = check(&cli, &["old/runtime.wasm", "new/runtime.wasm", "--pov-new", "a.pov"], 0);
    let [pov] = &report["povs"].as_array().unwrap()[..] else { panic!("{report}") };
    assert_eq!((&pov["runtime"], &pov["role"]), (&"new/runtime.wasm".into(), &"first block on the new runtime".into()));
    assert_eq!(row(pov, "stack")["state"], "ok");
}

#[test]
fn what_a_network_has_decided_already_is_checked() {
    let cli = CliFixture::new();
    let (backing, approval) = (PvfExecKind::Backing, PvfExecKind::Approval);
    let timeouts =
        |ms| vec![ExecutorParam::PvfExecTimeout(backing, ms), ExecutorParam::PvfExecTimeout(approval, 60_000)];
    let mut stricter = timeouts(1);
    stricter.push(ExecutorParam::StackLogicalMax(32_768));
    let chain =
        Chain { params: ExecutorParams(timeouts(60_000)), pending: Some(ExecutorParams(stricter)), ..Chain::default() };
    let node = Node::start(chain);
    let loops = "(local $n i32) (loop $again (br_if $again (i32.ne
        (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 100000000))))";
    cli.file("loops.wasm", &guest("", loops));
    cli.file("a.pov", &exported(b"head", b"block"));
    let report = check(&cli, &["loops.wasm", "--pov", "a.pov", "--network", &node.url], 1);
    assert_eq!(row(&report["povs"][0], "execute-cpu")["state"], "ok");
    let sections = report["sections"].as_array().unwrap();
    let pending =
        sections.iter().find(|of| of["title"] == "from session 4713 on").unwrap_or_else(|| panic!("{report}"));
    assert_eq!(
        (&row(pending, "execute-cpu")["state"], &row(pending, "execute-cpu")["limit"]),
        (&"failed".into(), &1.0.into())
    );
    assert_eq!(row(pending, "precheck")["state"], "ok");
    assert_eq!(row(pending, "stack")["limit"], 32_768);
    assert!(!pending["rows"].as_array().unwrap().iter().any(|row| row["check"] == "code-size"), "it does not change");
}

#[test]
fn a_slower_machine_can_be_assumed() {
    let cli = CliFixture::new();
    cli.file("a.pov", &exported(b"head", b"block"));
    cli.file("ok.wasm", &guest("", ""));
    let percent = |slowdown: &str| {
        let report = check(&cli, &["ok.wasm", "--pov", "a.pov", "--slowdown", slowdown], 0);
        let row = row(&report["povs"][0], "execute-cpu").clone();
        row["percent"].as_f64().unwrap() / (row["value"].as_f64().unwrap() / row["limit"].as_f64().unwrap() * 100.0)
    };
    // Rounded to a tenth of a percent.
    assert!(percent("100") > 10.0);
    let (text, _) = run(&cli, &["check", "ok.wasm", "--no-determinism", "--slowdown", "2"], 0);
    assert!(text.contains("for one that is 2 times as slow"), "{text}");
}
