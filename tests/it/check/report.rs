//! `pvf check`: what is over a limit is found and named, and the exit code says so.

use super::{adder_pov, exported, guest, run, snapshot};
use crate::tool::CliFixture;
use pvf_guests::adder::{ADDER, Block, Head};
use serde_json::{Value, json};

/// The rows with this name, of sections and PoVs.
fn rows(report: &Value, check: &str) -> Vec<Value> {
    let lists = ["sections", "povs"].into_iter().flat_map(|list| report[list].as_array().unwrap());
    let rows = lists.flat_map(|of| of["rows"].as_array().unwrap());
    rows.filter(|row| row["check"] == check).cloned().collect()
}

/// The state of the only row with this name, or of the first of several.
fn state(report: &Value, check: &str) -> String {
    let rows = rows(report, check);
    rows.first().unwrap_or_else(|| panic!("no {check}: {report}"))["state"].as_str().unwrap().to_owned()
}

fn check(cli: &CliFixture, args: &[&str], code: i32) -> Value {
    cli.json(&[&["check"], args].concat(), code).remove(0)
}

/// Limits that are never reached.
fn generous() -> Value {
    json!({"max_code_size": 4 << 20, "validation_code_bomb_limit": 40 << 20, "max_pov_size": 1 << 20,
        "max_head_data_size": 20_480, "max_upward_message_size": 1, "max_upward_message_num_per_candidate": 1,
        "hrmp_max_message_num_per_candidate": 1, "hrmp_channel_max_message_size": 1})
}

#[test]
fn a_runtime_and_a_chain_of_blocks_pass() {
    let cli = CliFixture::new();
    cli.file("net.json", snapshot(&generous(), &json!([{"MaxMemoryPages": 8192}])).as_bytes());
    let mut head = Head::genesis();
    for n in 0..3_u64 {
        let block = Block { state: (0..n).sum(), increment: n };
        cli.file(&format!("{n}.pov"), &exported(&head.encode(), &block.encode()));
        head = head.next(&block);
    }
    let args = ["code.wasm", "--network", "net.json", "--pov", ".", "--html", "report.html", "--summary", "report.md"];
    let report = check(&cli, &args, 0);
    assert_eq!((&report["format"], &report["state"]), (&json!("pvf-check/1"), &json!("ok")), "{report}");
    for name in [
        "code-size",
        "imports",
        "exports",
        "precheck",
        "precheck-cpu",
        "instantiation",
        "validation",
        "pov-size",
        "execute-cpu",
        "execute-cpu-approval",
        "guest-memory",
        "head-data",
        "same-result",
        "stack",
        "threads",
        "cpu-levels",
    ] {
        assert_eq!(state(&report, name), "ok", "{name}");
    }
    assert_eq!(report["povs"].as_array().unwrap().len(), 3);
    assert_eq!(rows(&report, "next-head")[0]["value"], "the parent of another PoV");
    assert_eq!(rows(&report, "next-head").len(), 3, "two and the section of all: of the last one nothing is known");
    assert_eq!(rows(&report, "guest-memory")[0]["limit"], 8224);
    let page = std::fs::read_to_string(cli.path().join("report.html")).unwrap();
    assert!(page.contains("<p class=\"verdict ok\">passes</p>") && page.ends_with("</html>\n"), "{page}");
    let summary = std::fs::read_to_string(cli.path().join("report.md")).unwrap();
    assert!(summary.starts_with("### pvf check: passes\n"), "{summary}");
    let formats = [
        ("text", "\nverdict: passes\n"),
        ("markdown", "### pvf check: passes"),
        ("junit", "failures=\"0\""),
        ("github", "pvf check: passes"),
    ];
    for (format, part) in formats {
        let args = ["check", "code.wasm", "--network", "net.json", "--pov", "0.pov", "--runs", "1", "--format", format];
        let (text, _) = run(&cli, &[&args[..], &["--no-determinism"]].concat(), 0);
        assert!(text.contains(part), "{format}: {text}");
    }
}

#[test]
fn what_is_over_a_limit_is_named() {
    let cli = CliFixture::new();
    let loops = guest(
        "",
        "(local $n i32) (loop $again (br_if $again (i32.ne
        (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 400000000))))",
    );
    cli.file("heavy.wasm", &loops);
    cli.file("missing.wasm", &guest("(import \"env\" \"ext_crypto_of_tomorrow_version_1\" (func))", ""));
    cli.file("no-export.wasm", &wat::parse_str("(module (memory (export \"memory\") 1))").unwrap());
    cli.file("a.pov", &exported(b"head", b"block"));
    cli.file("large.pov", &exported(b"head", &vec![0; 5000]));
    let params = json!([{"PvfExecTimeout": ["Backing", 10]}, {"PvfExecTimeout": ["Approval", 60_000]}]);
    let mut limits = generous();
    limits["max_pov_size"] = json!(4000);
    limits["max_head_data_size"] = json!(0);
    cli.file("net.json", snapshot(&limits, &params).as_bytes());
    let with = |code: &str, pov: &str| {
        check(&cli, &[code, "--pov", pov, "--network", "net.json", "--runs", "1", "--no-determinism"], 1)
    };
    // How far over the limit the block is, is known: the run may take longer.
    let heavy = with("heavy.wasm", "a.pov");
    assert_eq!((state(&heavy, "validation"), state(&heavy, "execute-cpu")), ("ok".into(), "failed".into()));
    assert!(rows(&heavy, "execute-cpu")[0]["percent"].as_f64().unwrap() > 100.0);
    assert_eq!(state(&heavy, "execute-cpu-approval"), "ok");
    let large = with("heavy.wasm", "large.pov");
    assert_eq!(state(&large, "pov-size"), "failed");
    let missing = with("missing.wasm", "a.pov");
    assert_eq!(state(&missing, "imports"), "failed");
    assert!(rows(&missing, "imports")[0]["note"].as_str().unwrap().contains("ext_crypto_of_tomorrow_version_1"));
    let without = with("no-export.wasm", "a.pov");
    assert_eq!((state(&without, "exports"), state(&without, "validation")), ("failed".into(), "failed".into()));
    limits["max_code_size"] = json!(ADDER.len() - 1);
    cli.file("net.json", snapshot(&limits, &json!([])).as_bytes());
    let (text, _) = run(&cli, &["check", "code.wasm", "--network", "net.json", "--no-determinism"], 1);
    assert!(text.contains("verdict: fails: 1 failure") && text.contains("code-size"), "{text}");
    cli.file("broken.wasm", b"\0asm\x01\0\0\0garbage");
    let broken = check(&cli, &["broken.wasm"], 1);
    assert_eq!(state(&broken, "precheck"), "failed");
}

#[test]
fn a_pov_that_is_invalid_fails_and_is_explained_on_request() {
    let cli = CliFixture::new();
    cli.file("bad.pov", &adder_pov(9));
    let args = ["check", "code.wasm", "--pov", "bad.pov", "--no-determinism"];
    let (text, _) = run(&cli, &args, 1);
    assert!(text.contains("validation") && text.contains("FAILED") && !text.contains("guest log"), "{text}");
    let (text, _) = run(&cli, &[&args[..], &["--explain"]].concat(), 1);
    assert!(text.contains("diagnostic run on this machine (not the verdict)"), "{text}");
}

#[test]
fn warnings_pass_unless_they_are_told_not_to() {
    let cli = CliFixture::new();
    let mut limits = generous();
    limits["max_code_size"] = json!(ADDER.len() + 1);
    cli.file("net.json", snapshot(&limits, &json!([])).as_bytes());
    let args = ["code.wasm", "--network", "net.json", "--no-determinism"];
    assert_eq!(state(&check(&cli, &args, 0), "code-size"), "warning");
    assert_eq!(state(&check(&cli, &[&args[..], &["--strict"]].concat(), 1), "code-size"), "warning");
    let bad =
        [(&["--warn-at", "0"], "--warn-at"), (&["--slowdown", "0.5"], "--slowdown"), (&["--runs", "0"], "--runs")];
    for (option, word) in bad {
        cli.fails(&[&["check", "code.wasm"], &option[..]].concat(), 2, &[word]);
    }
    cli.fails(&["check", "code.wasm", "--html", "no/such/folder"], 2, &["--html"]);
    cli.fails(&["check", "code.wasm", "--pov", "code.wasm"], 2, &["--pov: code.wasm", "validation code, not a PoV"]);
}

#[test]
fn two_runtimes_are_compared_over_pairs_that_make_sense() {
    let cli = CliFixture::new();
    cli.file("a.pov", &exported(b"head", b"block"));
    // The second one takes another head only.
    let fixed = guest("", "");
    let traps = guest("", "(unreachable)");
    cli.file("old.wasm", &fixed);
    cli.file("same.wasm", &guest("(import \"env\" \"ext_allocator_free_version_1\" (func (param i32)))", ""));
    cli.file("other.wasm", &traps);
    let report = check(&cli, &["old.wasm", "same.wasm", "--pov", "a.pov", "--no-determinism"], 0);
    assert_eq!(rows(&report, "pairs")[0]["value"], "1 of 1 PoVs have the same result on both");
    assert_eq!(rows(&report, "imports-added")[0]["value"], "ext_allocator_free_version_1");
    assert_eq!(report["povs"].as_array().unwrap().len(), 2, "the margins on both");
    // An old PoV that the new runtime rejects is explained, and no failure.
    let report = check(&cli, &["old.wasm", "other.wasm", "--pov", "a.pov", "--no-determinism"], 0);
    assert!(rows(&report, "pairs")[0]["note"].as_str().unwrap().contains("expected of an upgrade"), "{report}");
    // A PoV of the new runtime must be accepted by it.
    let args = ["old.wasm", "other.wasm", "--pov-new", "a.pov", "--no-determinism"];
    let report = check(&cli, &args, 1);
    assert_eq!(state(&report, "validation"), "failed");
    assert_eq!(report["povs"][0]["runtime"], "other.wasm");
}
