//! The command-line tool as its users type it, embedded.

use parity_scale_codec::Encode as _;
use pvf_guests::adder::{ADDER, Block, Head, params};
use pvf_shared::params::{ExecutorParam, ExecutorParams};
use pvf_tests::processes::binary;
use serde_json::Value;
use sp_maybe_compressed_blob::compress_weakly;
use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};
use tempfile::TempDir;

/// A folder with files, and the tool with a store in it.
pub(crate) struct Desk {
    dir: TempDir,
}

impl Desk {
    pub(crate) fn new() -> Self {
        let desk = Self { dir: tempfile::tempdir().unwrap() };
        desk.file("code.wasm", ADDER);
        desk.file("good", &params(&Head::genesis().encode(), &Block { state: 0, increment: 1 }.encode(), 7, [1; 32]));
        desk.file("bad", &params(&Head::genesis().encode(), &Block { state: 9, increment: 1 }.encode(), 7, [1; 32]));
        desk
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    pub(crate) fn pvf(&self, args: &[&str]) -> Output {
        let mut command = Command::new(binary("pvf"));
        command.current_dir(self.path()).env("PVF_STORE", self.path().join("store")).args(args);
        command.env_remove("PVF_NATS").output().unwrap()
    }

    /// Runs it and expects this exit code and these words on stderr.
    pub(crate) fn fails(&self, args: &[&str], code: i32, words: &[&str]) {
        let output = self.pvf(args);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {stderr}");
        for word in words {
            assert!(stderr.contains(word), "{args:?}: {word:?} is not in {stderr:?}");
        }
        assert!(!stderr.contains("panicked"), "{args:?}: {stderr}");
    }

    /// Runs it with `--json` and expects this exit code; gives the objects.
    pub(crate) fn json(&self, args: &[&str], code: i32) -> Vec<Value> {
        let output = self.pvf(&[args, &["--json"]].concat());
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {stderr}");
        String::from_utf8(output.stdout).unwrap().lines().map(|l| serde_json::from_str(l).unwrap()).collect()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[test]
fn the_demo_shows_a_valid_chain_and_an_invalid_block() {
    let desk = Desk::new();
    let output =
        Command::new(binary("pvf")).arg("demo").env_remove("PVF_STORE").env_remove("PVF_NATS").output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{stdout}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(stdout.contains("5 valid blocks, the state is 15, and 1 invalid block"), "{stdout}");
    let verdicts =
        |objects: &[Value]| -> Vec<_> { objects.iter().map(|o| o["verdict"].as_str().unwrap().to_owned()).collect() };
    let objects = desk.json(&["demo", "--files", "try"], 0);
    assert_eq!(verdicts(&objects), ["ok", "valid", "valid", "valid", "valid", "valid", "invalid"]);
    let again =
        ["execute", "try/adder.wasm", "--params", "try/block-1.params", "try/block-5.params", "try/bad-block.params"];
    assert_eq!(verdicts(&desk.json(&again, 1)), ["valid", "valid", "invalid"]);
}

#[test]
fn execute_says_what_json_promises() {
    let desk = Desk::new();
    let answer = &desk.json(&["execute", "code.wasm", "--params", "good"], 0)[0];
    assert_eq!(answer["verdict"], "valid");
    assert_eq!(answer["reason"], Value::Null);
    let head = Head::genesis().next(&Block { state: 0, increment: 1 });
    assert_eq!(answer["result"]["head_data"], format!("0x{}", hex(&head.encode())));
    assert_eq!(answer["result"]["new_validation_code"], Value::Null);
    assert_eq!(answer["result"]["upward_messages"], serde_json::json!([]));
    assert_eq!(answer["result"]["horizontal_messages"], serde_json::json!([]));
    assert_eq!(answer["result"]["processed_downward_messages"], 0);
    assert_eq!(answer["result"]["hrmp_watermark"], 7);
    assert!(answer["code_hash"].as_str().unwrap().starts_with("0x"));
    assert_eq!(answer["artifact"]["cached"], false);
    assert!(answer["artifact"]["bytes"].as_u64().unwrap() > 1000);
    for stage in ["queued", "prepare", "execute", "total"] {
        assert!(answer["timings_ms"][stage].is_f64(), "{stage}");
    }
    assert!(answer["worker"].is_string());
    // A second process finds the artifact.
    let answer = &desk.json(&["execute", "code.wasm", "--params", "bad"], 1)[0];
    assert_eq!(answer["verdict"], "invalid");
    assert!(answer["reason"].as_str().unwrap().contains("worker reported invalid"));
    assert_eq!(answer["artifact"]["cached"], true);
}

#[test]
fn parts_and_params_are_the_same_request() {
    let desk = Desk::new();
    desk.file("head", &Head::genesis().encode());
    let block = Block { state: 0, increment: 1 }.encode();
    desk.file("block", &block);
    let root = "01".repeat(32);
    let rest = ["--relay-parent-number", "7", "--relay-parent-storage-root", &root];
    let whole = &desk.json(&["execute", "code.wasm", "--params", "good"], 0)[0];
    let head = format!("0x{}", hex(&Head::genesis().encode()));
    for parts in
        [["--parent-head", "@head", "--block-data", "@block"], ["--parent-head", &head, "--block-data", &hex(&block)]]
    {
        let args = [&["execute", "code.wasm"], &parts[..], &rest[..]].concat();
        let answer = &desk.json(&args, 0)[0];
        assert_eq!(answer["result"], whole["result"]);
    }
    desk.file("compressed", &compress_weakly(&block, 1000).unwrap());
    let args = ["execute", "code.wasm", "--kind", "dispute", "--parent-head", "@head", "--block-data", "@compressed"];
    assert_eq!(desk.json(&[&args[..], &rest[..]].concat(), 0)[0]["result"], whole["result"]);
}

#[test]
fn a_batch_has_a_line_for_each_in_order_and_the_worst_exit_code() {
    let desk = Desk::new();
    let answers = desk.json(&["execute", "code.wasm", "--params", "good", "bad", "good"], 1);
    let verdicts: Vec<_> =
        answers.iter().map(|o| (o["input"].as_str().unwrap(), o["verdict"].as_str().unwrap())).collect();
    assert_eq!(verdicts, [("good", "valid"), ("bad", "invalid"), ("good", "valid")]);
}

#[test]
fn executor_params_as_json_and_as_scale() {
    let desk = Desk::new();
    desk.file("p.json", br#"[{"StackLogicalMax":65536},{"PvfExecTimeout":["Backing",2000]},"WasmExtBulkMemory"]"#);
    let params = ExecutorParams(vec![ExecutorParam::StackLogicalMax(65_536)]);
    desk.file("p.scale", &params.encode());
    for file in ["p.json", "p.scale"] {
        let answer = &desk.json(&["precheck", "code.wasm", "--executor-params", file], 0)[0];
        assert_eq!(answer["verdict"], "ok", "{file}");
    }
}

#[test]
fn verdicts_of_broken_code() {
    let desk = Desk::new();
    desk.file("text", b"this is not wasm");
    desk.file("cut.wasm", &ADDER[..ADDER.len() / 2]);
    let bomb = compress_weakly(&vec![0; 31 * 1024 * 1024], 64 * 1024 * 1024).unwrap();
    desk.file("bomb.wasm", &bomb);
    for (file, reason) in
        [("text", "prevalidation"), ("cut.wasm", "prevalidation"), ("bomb.wasm", "could not decompress")]
    {
        for args in [&["precheck", file][..], &["execute", file, "--params", "good"]] {
            let answer = &desk.json(args, 1)[0];
            assert_eq!(answer["verdict"], "preparation_failed");
            assert!(answer["reason"].as_str().unwrap().contains(reason), "{answer}");
        }
    }
    let heads_up = &desk.json(&["heads-up", "code.wasm"], 0)[0];
    assert_eq!(heads_up["verdict"], "ok");
}

#[test]
fn a_pov_bomb_is_invalid() {
    let desk = Desk::new();
    desk.file("head", &Head::genesis().encode());
    desk.file("bomb", &compress_weakly(&vec![0; 41 * 1024 * 1024], 64 * 1024 * 1024).unwrap());
    let root = "01".repeat(32);
    let args = [
        "execute",
        "code.wasm",
        "--parent-head",
        "@head",
        "--block-data",
        "@bomb",
        "--relay-parent-number",
        "7",
        "--relay-parent-storage-root",
        &root,
    ];
    let answer = &desk.json(&args, 1)[0];
    assert_eq!(
        (answer["verdict"].as_str(), answer["reason"].as_str()),
        (Some("invalid"), Some("PoV failed to decompress"))
    );
}

#[test]
fn bad_input_names_the_field_and_exits_with_2() {
    let desk = Desk::new();
    desk.file("twice.json", br#"[{"MaxMemoryPages":1},{"MaxMemoryPages":2}]"#);
    desk.file("range.json", br#"[{"StackLogicalMax":7}]"#);
    desk.file("unknown.json", br#"[{"Nonsense":7}]"#);
    desk.file("rubbish.scale", &[4, 99]);
    desk.file("cut", &[1, 2, 3]);
    let root = "01".repeat(32);
    let parts = ["--relay-parent-number", "7", "--relay-parent-storage-root", &root];
    desk.fails(&["precheck", "absent.wasm"], 2, &["CODE", "absent.wasm", "No such file"]);
    desk.fails(&["precheck", "."], 2, &["CODE", "directory"]);
    desk.fails(&["execute", "code.wasm", "--params", "absent"], 2, &["--params", "absent"]);
    desk.fails(&["execute", "code.wasm", "--params", "cut"], 2, &["--params cut", "ValidationParams"]);
    let precheck = |file: &str, words: &[&str]| {
        desk.fails(&["precheck", "code.wasm", "--executor-params", file], 2, words);
    };
    precheck("twice.json", &["MaxMemoryPages given more than once"]);
    precheck("range.json", &["StackLogicalMax = 7 is outside 1024..=131072"]);
    precheck("unknown.json", &["not valid JSON", "Nonsense"]);
    precheck("rubbish.scale", &["not valid SCALE"]);
    precheck("absent", &["--executor-params", "No such file"]);
    let hex = |head: &str, data: &str, words: &[&str]| {
        let args = [&["execute", "code.wasm", "--parent-head", head, "--block-data", data], &parts[..]].concat();
        desk.fails(&args, 2, words);
    };
    hex("xyz", "00", &["--parent-head", "not hex"]);
    hex("00", "@absent", &["--block-data", "absent"]);
    desk.fails(&["execute", "code.wasm"], 2, &["--params"]);
    let timeout = |time: &str, words: &[&str]| {
        desk.fails(&["execute", "code.wasm", "--params", "good", "--timeout", time], 2, words);
    };
    timeout("2h", &["--timeout", "outside 1ms to 1h"]);
    timeout("2d", &["--timeout", "ms, s, m or h"]);
    desk.fails(&["execute", "code.wasm", "--params", "good", "--kind", "fun"], 2, &["--kind", "backing-system"]);
    desk.fails(&["precheck", "code.wasm", "--store", "ftp://x"], 2, &["ftp", "unknown scheme"]);
    let elsewhere = ["precheck", "code.wasm", "--nats", "nats://127.0.0.1:1", "--store", "memory://"];
    desk.fails(&elsewhere, 2, &["memory://", "memory of one process"]);
    desk.fails(&["frobnicate"], 2, &["frobnicate"]);
    desk.fails(&["status"], 2, &["--nats"]);
}

#[test]
fn what_cannot_be_reached_exits_with_3() {
    let desk = Desk::new();
    let nobody = ["precheck", "code.wasm", "--nats", "nats://127.0.0.1:1"];
    desk.fails(&nobody, 3, &["nats://127.0.0.1:1"]);
    // A file where the store's folder should be: nobody can write there, not even root.
    desk.file("file", b"");
    desk.fails(&["precheck", "code.wasm", "--store", "file/store"], 3, &["store file/store", "cannot open"]);
    // /proc can be opened, but nobody can make files there.
    desk.fails(&["precheck", "code.wasm", "--store", "/proc/self"], 3, &["store /proc/self", "cannot write"]);
    desk.fails(&["precheck", "code.wasm", "--store", "s3://bucket"], 3, &["store s3://bucket"]);
}

/// The state of each check by its name.
pub(crate) fn diagnosis(desk: &Desk, args: &[&str], code: i32) -> std::collections::BTreeMap<String, Value> {
    let [report] = &desk.json(&[&["doctor"], args].concat(), code)[..] else { panic!("one object") };
    assert_eq!((report["ok"] == true, report["red"] == 0), (code == 0, code == 0));
    let checks = report["checks"].as_array().unwrap();
    checks.iter().map(|check| (check["name"].as_str().unwrap().to_owned(), check.clone())).collect()
}

#[test]
fn the_doctor_finds_nothing_wrong_here_and_says_what_is_wrong_elsewhere() {
    let desk = Desk::new();
    let well = diagnosis(&desk, &[], 0);
    for name in ["kernel", "cgroup", "CPU baseline", "landlock", "seccomp", "empty root", "store", "clock", "bus"] {
        assert!(well[name]["ok"] == true && well[name]["fix"].is_null(), "{}", well[name]);
    }
    assert_eq!(well.len(), 22, "{:?}", well.keys());
    assert!(!diagnosis(&desk, &["--role", "coordinator"], 0).contains_key("seccomp"));
    // A bus that nobody listens at, a store that is a file, a processor of the future.
    let ill = diagnosis(&desk, &["--nats", "127.0.0.1:1", "--store", "/dev/null/x", "--cpu-baseline", "v9"], 1);
    for (name, found, fix) in
        [("bus", "127.0.0.1:1", "nats-server"), ("store", "/dev/null/x", "PVF_STORE"), ("CPU baseline", "v9", "v3")]
    {
        let check = &ill[name];
        assert!(check["ok"] == false, "{check}");
        assert!(check["found"].as_str().unwrap().contains(found), "{check}");
        assert!(check["fix"].as_str().unwrap().contains(fix), "{check}");
    }
    let text = desk.pvf(&["doctor", "--nats", "127.0.0.1:1"]);
    let text = (text.status.code(), String::from_utf8(text.stdout).unwrap());
    assert!(text.0 == Some(1) && text.1.contains("RED   bus") && text.1.contains("fix: --nats"), "{text:?}");
}

#[test]
fn an_expired_request_exits_with_3() {
    let desk = Desk::new();
    desk.file("slow.wasm", &pvf_guests::corpus::busy(u64::MAX));
    let answer = &desk.json(&["execute", "slow.wasm", "--params", "good", "--timeout", "60s", "--wait", "500ms"], 3)[0];
    assert_eq!(answer["verdict"], "deadline");
    let answer = &desk.json(&["execute", "slow.wasm", "--params", "good", "--timeout", "100ms"], 1)[0];
    assert!(answer["reason"].as_str().unwrap().contains("hard timeout: more than 100 ms"), "{answer}");
}

#[test]
fn the_example_embeds_a_host_with_a_host_function_of_its_own() {
    let output = Command::new(binary("examples/embed")).output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{stdout}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(stdout.contains("valid") && stdout.contains("forty-two"), "{stdout}");
}
