//! The command-line tool `pvf` with the embedded host, run as a user runs it.

use parity_scale_codec::Encode as _;
use pvf_guests::adder::{ADDER, Block, FRESH_ADDER, Head, params};
use pvf_shared::params::{ExecutorParam, ExecutorParams};
use pvf_tests::processes::binary;
use serde_json::Value;
use sp_maybe_compressed_blob::compress_weakly;
use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};
use tempfile::TempDir;

/// A folder with input files and a store, and `pvf` run in it.
pub(crate) struct CliFixture {
    dir: TempDir,
}

impl CliFixture {
    pub(crate) fn new() -> Self {
        let cli = Self { dir: tempfile::tempdir().unwrap() };
        let candidate = |state| params(&Head::genesis().encode(), &Block { state, increment: 1 }.encode(), 7, [1; 32]);
        cli.file("code.wasm", ADDER);
        cli.file("good", &candidate(0));
        cli.file("bad", &candidate(9));
        cli
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// `pvf` with these arguments; `PVF_STORE` is a folder of the fixture.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(binary("pvf"));
        command.current_dir(self.path()).env("PVF_STORE", self.path().join("store")).args(args);
        command.env("PVF_LOG_FORMAT", "text");
        let keys = ["PVF_SIGNING_KEY", "PVF_TRUSTED_KEYS", "PVF_UNSIGNED"];
        for variable in ["PVF_NATS", "NATS_URL", "NATS_CONTEXT"].into_iter().chain(keys) {
            command.env_remove(variable);
        }
        command
    }

    pub(crate) fn pvf(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Runs `pvf` and expects this exit code, and these words on stderr.
    pub(crate) fn fails(&self, args: &[&str], code: i32, words: &[&str]) {
        let output = self.pvf(args);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {stderr}");
        for word in words {
            assert!(stderr.contains(word), "{args:?}: {word:?} is not in {stderr:?}");
        }
        assert!(!stderr.contains("panicked"), "{args:?}: {stderr}");
    }

    /// Runs `pvf` with `--json` and expects this exit code; returns the objects of stdout.
    pub(crate) fn json(&self, args: &[&str], code: i32) -> Vec<Value> {
        let output = self.pvf(&[args, &["--json"]].concat());
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {stderr}");
        String::from_utf8(output.stdout).unwrap().lines().map(|l| serde_json::from_str(l).unwrap()).collect()
    }
}

/// The verdicts of these objects.
fn verdicts(objects: &[Value]) -> Vec<&str> {
    objects.iter().map(|object| object["verdict"].as_str().unwrap()).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[test]
fn the_demo_shows_a_valid_chain_and_an_invalid_block() {
    let cli = CliFixture::new();
    let output =
        Command::new(binary("pvf")).arg("demo").env_remove("PVF_STORE").env_remove("PVF_NATS").output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{stdout}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(stdout.contains("5 valid blocks, the state is 15, and 1 invalid block"), "{stdout}");
    let objects = cli.json(&["demo", "--files", "try"], 0);
    assert_eq!(verdicts(&objects), ["ok", "valid", "valid", "valid", "valid", "valid", "invalid"]);
    let again =
        ["execute", "try/adder.wasm", "--params", "try/block-1.params", "try/block-5.params", "try/bad-block.params"];
    assert_eq!(verdicts(&cli.json(&again, 1)), ["valid", "valid", "invalid"]);
}

#[test]
fn the_committed_adder_behaves_like_its_source() {
    let cli = CliFixture::new();
    cli.file("fresh.wasm", FRESH_ADDER);
    cli.file(
        "overflow",
        &params(
            &Head { number: u64::MAX, ..Head::genesis() }.encode(),
            &Block { state: 0, increment: u64::MAX }.encode(),
            u32::MAX,
            [0; 32],
        ),
    );
    cli.file("short-block", &params(&Head::genesis().encode(), &[0; 15], 7, [1; 32]));
    cli.file("long-block", &params(&Head::genesis().encode(), &[0; 17], 7, [1; 32]));
    cli.file("short-head", &params(&[0; 71], &[0; 16], 7, [1; 32]));
    cli.file("no-block", &params(&Head::genesis().encode(), &[], 7, [1; 32]));
    let candidates = ["--params", "good", "overflow", "bad", "short-block", "long-block", "short-head", "no-block"];
    let [committed, fresh] = ["code.wasm", "fresh.wasm"].map(|code| {
        let answers = cli.json(&[&["execute", code], &candidates[..]].concat(), 1);
        let fields = |a: Value| (a["input"].clone(), a["verdict"].clone(), a["reason"].clone(), a["result"].clone());
        answers.into_iter().map(fields).collect::<Vec<_>>()
    });
    assert_eq!(committed, fresh);
    let valid: Vec<_> = fresh.iter().filter(|(_, verdict, ..)| verdict == "valid").map(|(input, ..)| input).collect();
    assert_eq!(valid, ["good", "overflow"]);
}

#[test]
fn execute_writes_every_documented_json_key() {
    let cli = CliFixture::new();
    let answer = &cli.json(&["execute", "code.wasm", "--params", "good"], 0)[0];
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
    // A second process finds the artifact in the store.
    let answer = &cli.json(&["execute", "code.wasm", "--params", "bad"], 1)[0];
    assert_eq!(answer["verdict"], "invalid");
    assert!(answer["reason"].as_str().unwrap().contains("worker reported invalid"));
    assert_eq!(answer["artifact"]["cached"], true);
}

#[test]
fn separate_options_and_a_params_file_make_the_same_request() {
    let cli = CliFixture::new();
    cli.file("head", &Head::genesis().encode());
    let block = Block { state: 0, increment: 1 }.encode();
    cli.file("block", &block);
    let root = "01".repeat(32);
    let rest = ["--relay-parent-number", "7", "--relay-parent-storage-root", &root];
    let whole = &cli.json(&["execute", "code.wasm", "--params", "good"], 0)[0];
    let head = format!("0x{}", hex(&Head::genesis().encode()));
    for parts in
        [["--parent-head", "@head", "--block-data", "@block"], ["--parent-head", &head, "--block-data", &hex(&block)]]
    {
        let args = [&["execute", "code.wasm"], &parts[..], &rest[..]].concat();
        let answer = &cli.json(&args, 0)[0];
        assert_eq!(answer["result"], whole["result"]);
    }
    cli.file("compressed", &compress_weakly(&block, 1000).unwrap());
    let args = ["execute", "code.wasm", "--kind", "dispute", "--parent-head", "@head", "--block-data", "@compressed"];
    assert_eq!(cli.json(&[&args[..], &rest[..]].concat(), 0)[0]["result"], whole["result"]);
}

#[test]
fn a_batch_reports_each_request_in_order_and_exits_with_the_greatest_code() {
    let cli = CliFixture::new();
    let answers = cli.json(&["execute", "code.wasm", "--params", "good", "bad", "good"], 1);
    let inputs: Vec<_> = answers.iter().map(|answer| answer["input"].as_str().unwrap()).collect();
    assert_eq!(inputs, ["good", "bad", "good"]);
    assert_eq!(verdicts(&answers), ["valid", "invalid", "valid"]);
}

#[test]
fn executor_params_are_read_as_json_and_as_scale() {
    let cli = CliFixture::new();
    cli.file("p.json", br#"[{"StackLogicalMax":65536},{"PvfExecTimeout":["Backing",2000]},"WasmExtBulkMemory"]"#);
    let params = ExecutorParams(vec![ExecutorParam::StackLogicalMax(65_536)]);
    cli.file("p.scale", &params.encode());
    for file in ["p.json", "p.scale"] {
        let answer = &cli.json(&["precheck", "code.wasm", "--executor-params", file], 0)[0];
        assert_eq!(answer["verdict"], "ok", "{file}");
    }
}

#[test]
fn malformed_code_is_a_preparation_failure() {
    let cli = CliFixture::new();
    cli.file("text.wasm", b"\0asm and then text");
    cli.file("cut.wasm", &ADDER[..ADDER.len() / 2]);
    let bomb = compress_weakly(&vec![0; 31 * 1024 * 1024], 64 * 1024 * 1024).unwrap();
    cli.file("bomb.wasm", &bomb);
    for (file, reason) in
        [("text.wasm", "prevalidation"), ("cut.wasm", "prevalidation"), ("bomb.wasm", "could not decompress")]
    {
        for args in [&["precheck", file][..], &["execute", file, "--params", "good"]] {
            let answer = &cli.json(args, 1)[0];
            assert_eq!(answer["verdict"], "preparation_failed");
            assert!(answer["reason"].as_str().unwrap().contains(reason), "{answer}");
        }
    }
    let heads_up = &cli.json(&["heads-up", "code.wasm"], 0)[0];
    assert_eq!((&heads_up["verdict"], &heads_up["heads_up"]), (&"ok".into(), &"prepared".into()));
}

#[test]
fn a_pov_bomb_is_invalid() {
    let cli = CliFixture::new();
    cli.file("head", &Head::genesis().encode());
    cli.file("bomb", &compress_weakly(&vec![0; 41 * 1024 * 1024], 64 * 1024 * 1024).unwrap());
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
    let answer = &cli.json(&args, 1)[0];
    assert_eq!(
        (answer["verdict"].as_str(), answer["reason"].as_str()),
        (Some("invalid"), Some("PoV failed to decompress"))
    );
}

#[test]
fn wrong_input_names_the_option_and_exits_with_2() {
    let cli = CliFixture::new();
    cli.file("unknown.json", br#"[{"Nonsense":7}]"#);
    cli.file("rubbish.scale", &[4, 99]);
    cli.file("cut", &[1, 2, 3]);
    let root = "01".repeat(32);
    let parts = ["--relay-parent-number", "7", "--relay-parent-storage-root", &root];
    cli.fails(&["precheck", "absent.wasm"], 2, &["CODE", "absent.wasm", "No such file"]);
    cli.fails(&["precheck", "."], 2, &["CODE", "directory"]);
    cli.fails(&["execute", "code.wasm", "--params", "absent"], 2, &["--params", "absent"]);
    cli.fails(&["execute", "code.wasm", "--params", "cut"], 2, &["--params cut", "ValidationParams"]);
    let precheck = |file: &str, words: &[&str]| {
        cli.fails(&["precheck", "code.wasm", "--executor-params", file], 2, words);
    };
    precheck("unknown.json", &["not valid JSON", "Nonsense"]);
    precheck("rubbish.scale", &["not valid SCALE"]);
    precheck("absent", &["--executor-params", "No such file"]);
    let hex = |head: &str, data: &str, words: &[&str]| {
        let args = [&["execute", "code.wasm", "--parent-head", head, "--block-data", data], &parts[..]].concat();
        cli.fails(&args, 2, words);
    };
    hex("xyz", "00", &["--parent-head", "not hex"]);
    hex("00", "@absent", &["--block-data", "absent"]);
    cli.fails(&["execute", "code.wasm"], 2, &["--params"]);
    let timeout = |time: &str, words: &[&str]| {
        cli.fails(&["execute", "code.wasm", "--params", "good", "--timeout", time], 2, words);
    };
    timeout("2h", &["--timeout", "outside 1ms to 1h"]);
    timeout("2d", &["--timeout", "ms, s, m or h"]);
    cli.fails(&["execute", "code.wasm", "--params", "good", "--kind", "fun"], 2, &["--kind", "backing-system"]);
    cli.fails(&["precheck", "code.wasm", "--store", "ftp://x"], 2, &["ftp", "unknown scheme"]);
    cli.fails(&["frobnicate"], 2, &["frobnicate"]);
    cli.fails(&["status"], 2, &["--nats"]);
}

#[test]
fn an_unreachable_bus_or_store_exits_with_3() {
    let cli = CliFixture::new();
    let unreachable = ["precheck", "code.wasm", "--nats", "nats://127.0.0.1:1"];
    cli.fails(&unreachable, 3, &["nats://127.0.0.1:1"]);
    // A file in place of the store's folder: not even root can create files in it.
    cli.file("file", b"");
    cli.fails(&["precheck", "code.wasm", "--store", "file/store"], 3, &["store file/store", "cannot open"]);
    // /proc/self can be opened, but not even root can create files in it.
    cli.fails(&["precheck", "code.wasm", "--store", "/proc/self"], 3, &["store /proc/self", "cannot write"]);
    cli.fails(&["precheck", "code.wasm", "--store", "s3://bucket"], 3, &["store s3://bucket"]);
}

/// The report of `pvf doctor`: each check by its name.
pub(crate) fn diagnosis(cli: &CliFixture, args: &[&str], code: i32) -> std::collections::BTreeMap<String, Value> {
    let [report] = &cli.json(&[&["doctor"], args].concat(), code)[..] else { panic!("one object") };
    assert_eq!((report["ok"] == true, report["red"] == 0), (code == 0, code == 0));
    diagnosis_of(report)
}

/// The checks of a report of `pvf doctor` by their names.
pub(crate) fn diagnosis_of(report: &Value) -> std::collections::BTreeMap<String, Value> {
    let checks = report["checks"].as_array().unwrap();
    checks.iter().map(|check| (check["name"].as_str().unwrap().to_owned(), check.clone())).collect()
}

#[test]
fn the_doctor_reports_a_fix_for_each_failed_check() {
    let cli = CliFixture::new();
    let complete = diagnosis(&cli, &[], 0);
    for name in [
        "kernel",
        "cgroup",
        "CPU baseline",
        "landlock",
        "seccomp",
        "empty root",
        "no file read",
        "resources bounded",
        "memory of jobs",
        "self-test",
        "store",
        "clock",
        "bus",
    ] {
        assert!(complete[name]["ok"] == true && complete[name]["fix"].is_null(), "{}", complete[name]);
    }
    assert_eq!(complete.len(), 42, "{:?}", complete.keys());
    // The landlock ABI, and how deep the defence is.
    assert!(complete["landlock"]["found"].as_str().unwrap().contains(", ABI "), "{}", complete["landlock"]);
    assert_eq!(complete["no file read"]["found"], "3 deep: empty root, landlock ABI 1, seccomp");
    assert_eq!(complete["resources bounded"]["found"], "1 deep: limits");
    assert!(!diagnosis(&cli, &["--role", "coordinator"], 0).contains_key("seccomp"));
    // A bus without a server, a store that cannot be opened, a CPU level that does not exist.
    let broken = diagnosis(&cli, &["--nats", "127.0.0.1:1", "--store", "/dev/null/x", "--cpu-baseline", "v9"], 1);
    for (name, found, fix) in
        [("bus", "127.0.0.1:1", "nats-server"), ("store", "/dev/null/x", "PVF_STORE"), ("CPU baseline", "v9", "v3")]
    {
        let check = &broken[name];
        assert!(check["ok"] == false, "{check}");
        assert!(check["found"].as_str().unwrap().contains(found), "{check}");
        assert!(check["fix"].as_str().unwrap().contains(fix), "{check}");
    }
    let text = cli.pvf(&["doctor", "--nats", "127.0.0.1:1"]);
    let text = (text.status.code(), String::from_utf8(text.stdout).unwrap());
    assert!(text.0 == Some(1) && text.1.contains("RED   bus") && text.1.contains("fix: --nats"), "{text:?}");
}

#[test]
fn an_expired_request_exits_with_3() {
    let cli = CliFixture::new();
    cli.file("slow.wasm", &pvf_guests::corpus::busy(u64::MAX));
    let answer = &cli.json(&["execute", "slow.wasm", "--params", "good", "--timeout", "60s", "--wait", "500ms"], 3)[0];
    assert_eq!(answer["verdict"], "deadline");
    let answer = &cli.json(&["execute", "slow.wasm", "--params", "good", "--timeout", "100ms"], 1)[0];
    assert!(answer["reason"].as_str().unwrap().contains("hard timeout: more than 100 ms"), "{answer}");
}

#[test]
fn the_example_embeds_a_host_with_an_additional_host_function() {
    let output = Command::new(binary("examples/embed")).output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{stdout}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(stdout.contains("valid") && stdout.contains("forty-two"), "{stdout}");
}
