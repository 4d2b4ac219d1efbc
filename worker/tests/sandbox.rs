//! Every mechanism of the sandbox is on: by what a child proved, and seen from outside on real templates and forks.

mod common;

use common::{artifact, execute_job, name_of, own_worker, processes_of, runner, sandbox, until, valid};
use pvf_guests::corpus::echo_like;
use pvf_shared::{Bytes, params::ExecutorParams};
use pvf_worker::sandbox::{Mechanism, Plan};
use std::{collections::HashMap, fs, path::PathBuf};

#[test]
fn everything_is_on() {
    let report = sandbox();
    assert!(
        report.is_complete(),
        "this machine cannot lock up jobs, so the tests of that cannot run:\n{}",
        report.complaint()
    );
    assert_eq!(report.plan(), Plan::all());
    assert_eq!(report.findings.len(), Mechanism::ALL.len());
}

/// `/proc/<pid>/status`, by name.
fn status(pid: i32) -> HashMap<String, String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = |line: &str| line.split_once(':').map(|(name, value)| (name.to_owned(), value.trim().to_owned()));
    text.lines().filter_map(line).collect()
}

fn namespace(pid: i32, name: &str) -> PathBuf {
    fs::read_link(format!("/proc/{pid}/ns/{name}")).unwrap()
}

#[tokio::test]
async fn templates_and_spares_are_locked_up_as_seen_from_outside() {
    let exe = own_worker("locked");
    let runner = runner(&exe);
    let code = echo_like();
    let artifact = artifact(&code).await;
    let job = execute_job(&code, ExecutorParams::default());
    valid(runner.execute(&job, artifact.path(), Bytes::from_static(b"block")).await.0);
    let named = |name: &str| processes_of(&exe).into_iter().find(|pid| name_of(*pid) == name);
    let (template, spare) = until(|| Some((named("pvf-template")?, named("pvf-spare")?))).await;
    // A spare takes its name before it is locked up; the second filter is the last that is done.
    until(|| (status(spare)["Seccomp_filters"] == "2").then_some(())).await;
    let me = std::process::id() as i32;
    for (pid, filters, inside) in [(template, "1", "1"), (spare, "2", "2")] {
        let status = status(pid);
        assert_eq!(status["NoNewPrivs"], "1");
        assert_eq!((status["Seccomp"].as_str(), status["Seccomp_filters"].as_str()), ("2", filters));
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(status[set], "0000000000000000", "{set}");
        }
        let numbers: Vec<_> = status["NSpid"].split_whitespace().collect();
        assert_eq!(numbers.len(), 2, "{numbers:?}");
        assert_eq!(numbers[0], pid.to_string());
        assert!(if inside == "1" { numbers[1] == "1" } else { numbers[1] != "1" }, "{numbers:?}");
        assert_eq!(status["Threads"], "1");
        for name in ["user", "pid", "mnt", "net", "ipc", "uts", "cgroup"] {
            assert_ne!(namespace(pid, name), namespace(me, name), "{name}");
            assert_eq!(namespace(pid, name), namespace(template, name), "{name}");
        }
        let root = fs::read_dir(format!("/proc/{pid}/root")).unwrap();
        assert_eq!(root.count(), 0);
        let mounts = fs::read_to_string(format!("/proc/{pid}/mounts")).unwrap();
        assert!(mounts.lines().count() == 1 && mounts.starts_with("pvf-empty / tmpfs ro,"), "{mounts}");
        let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
        for limit in ["Max core file size", "Max file size", "Max locked memory", "Max msgqueue size"] {
            let line = limits.lines().find(|line| line.starts_with(limit)).unwrap();
            let values: Vec<_> = line[limit.len()..].split_whitespace().take(2).collect();
            assert_eq!(values, ["0", "0"], "{line}");
        }
        let space = limits.lines().find(|line| line.starts_with("Max address space")).unwrap();
        assert!(!space.contains("unlimited"), "{space}");
    }
    drop(runner);
    until(|| processes_of(&exe).is_empty().then_some(())).await;
    fs::remove_file(exe).unwrap();
}
