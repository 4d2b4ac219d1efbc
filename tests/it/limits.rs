//! Limits and mounts of the machine that leave a worker too little: a valid candidate stays valid, or the verdict is
//! `internal`, and `pvf doctor` is red.

use crate::tool::{CliFixture, diagnosis_of};
use pvf_guests::distinct_adder;
use pvf_shared::verdict::Outcome;
use pvf_tests::{
    fleet::{Fleet, Role, command},
    processes::{Process, has_ended, signal, until},
    requests::{good_block, pvf_of},
};
use serde_json::Value;
use std::{
    fs::File,
    process::{Command, Stdio},
};

/// More warm artifacts than descriptors allow: templates are given up, and no candidate suffers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_execute_worker_with_few_descriptors_serves_more_codes_than_it_can_keep_warm() {
    let mut fleet = Fleet::start(1, 0).await;
    fleet.add_limited(Role::Execute, &["--slots", "2", "--spares", "4"], 160);
    fleet.complete(1, 1).await;
    for n in 0..32 {
        let pvf = pvf_of(distinct_adder(n));
        let both = tokio::join!(
            fleet.host.execute_pvf(pvf.clone(), good_block()),
            fleet.host.execute_pvf(pvf.clone(), good_block())
        );
        for answer in [both.0, both.1] {
            let answer = answer.unwrap();
            assert!(matches!(answer.outcome, Outcome::Valid(_)), "code {n}: {answer:?}");
            assert_eq!(answer.attempts, 1, "code {n}: {answer:?}");
        }
    }
}

/// Logs go to a file on a full disk.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_cannot_be_written_ends_no_role() {
    let fleet = Fleet::start(0, 0).await;
    let roles = ["prepare-worker", "execute-worker"].map(|role| {
        let mut command = command("pvf", &fleet.nats.url, fleet.store());
        let full = File::options().write(true).open("/dev/full").expect("/dev/full");
        command.arg(role).env("PVF_LOG", "debug").stdin(Stdio::null()).stdout(Stdio::null()).stderr(full);
        Process(command.spawn().expect("a worker"))
    });
    fleet.complete(1, 1).await;
    let answer = fleet.host.execute_pvf(pvf_of(distinct_adder(0)), good_block()).await.unwrap();
    assert!(matches!(answer.outcome, Outcome::Valid(_)), "{answer:?}");
    for mut role in roles {
        assert!(!has_ended(role.pid()), "a worker has ended");
        signal(role.pid(), libc::SIGTERM);
        let status = until("the worker ends", async || role.0.try_wait().expect("its status")).await;
        assert!(status.success(), "{status}");
    }
}

/// Runs `pvf` in a shell after these commands, in mount and user namespaces of its own: its exit code and its only
/// object.
fn pvf_after(cli: &CliFixture, commands: &str, arguments: &str) -> (Option<i32>, Value) {
    let script = format!("{commands}\nexec \"$0\" {arguments} --json");
    let pvf = cli.command(&[]);
    let output = Command::new("unshare")
        .args(["--map-root-user", "--mount", "bash", "-c", &script])
        .arg(pvf.get_program())
        .current_dir(cli.path())
        .env("PVF_STORE", cli.path().join("store"))
        .env_remove("PVF_NATS")
        .output()
        .expect("unshare of util-linux");
    let text = String::from_utf8(output.stdout).unwrap();
    let json = serde_json::from_str(&text);
    let json = json.unwrap_or_else(|e| panic!("{e}: {text}{}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code(), json)
}

/// A file system without room for an artifact.
#[test]
fn a_full_cache_folder_is_red_and_internal() {
    let cli = CliFixture::new();
    let full =
        "mount -t tmpfs -o size=8k tmpfs /mnt; head -c 8k /dev/zero > /mnt/full; export PVF_CACHE_DIR=/mnt/cache";
    let (code, report) = pvf_after(&cli, full, "doctor");
    assert_eq!(code, Some(1), "{report}");
    let checks = diagnosis_of(&report);
    for check in ["cache folder", "self-test"] {
        assert!(checks[check]["ok"] == false, "{report}");
    }
    assert!(checks["cache folder"]["fix"].as_str().unwrap().contains("--cache-dir"), "{report}");
    let (code, answer) = pvf_after(&cli, full, "execute code.wasm --params good");
    assert_eq!((code, answer["verdict"].as_str()), (Some(3), Some("internal")), "{answer}");
    assert!(answer["reason"].as_str().unwrap().contains("No space left"), "{answer}");
}

#[test]
fn what_the_machine_denies_is_red_and_no_verdict_on_the_candidate() {
    let cli = CliFixture::new();
    for (name, commands, red) in [
        ("noexec", "mount -t tmpfs -o noexec tmpfs /mnt; export TMPDIR=/mnt", "cache folder"),
        ("stack", "ulimit -Ss 8192; ulimit -Hs 8192", "resource limits"),
        ("data", "ulimit -d 100000", "resource limits"),
        ("address space", "ulimit -v 4000000", "resource limits"),
    ] {
        let (code, report) = pvf_after(&cli, commands, "doctor");
        assert_eq!(code, Some(1), "{name}: {report}");
        let checks = diagnosis_of(&report);
        for check in [red, "self-test"] {
            assert!(checks[check]["ok"] == false, "{name}: {report}");
        }
        let (code, answer) = pvf_after(&cli, commands, "execute code.wasm --params good");
        // A small candidate needs less than the self-test, which takes what the parameters allow.
        let verdict = (code, answer["verdict"].as_str().unwrap());
        assert!(matches!(verdict, (Some(3), "internal") | (Some(0), "valid")), "{name}: {answer}");
    }
}

/// A native stack that the machine's hard limit does not allow says nothing about the candidate.
#[test]
fn a_native_stack_over_the_machines_limit_is_an_infrastructure_failure() {
    let cli = CliFixture::new();
    cli.file("largest.json", br#"[{"StackNativeMax":4294967295}]"#);
    for (parameters, expected) in [("", (0, "valid")), ("--executor-params largest.json", (3, "internal"))] {
        let commands = "ulimit -Ss 8192; ulimit -Hs 1048576";
        let (code, answer) = pvf_after(&cli, commands, &format!("execute code.wasm --params good {parameters}"));
        assert_eq!((code, answer["verdict"].as_str()), (Some(expected.0), Some(expected.1)), "{parameters}: {answer}");
    }
}
