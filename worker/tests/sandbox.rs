//! Every mechanism of the sandbox is enforced: according to the probe, and as seen from outside on real templates,
//! forks and preparations.

mod common;

use common::{
    WORKER, artifact, execute_job, name_of, own_worker, prepare_job, processes_of, refused, runner, runner_with,
    sandbox, sandbox_up_to, until, valid,
};
use pvf_guests::corpus::{echo_like, large};
use pvf_shared::{
    Bytes,
    job::{ExecuteOutcome, PrepareJob},
    params::ExecutorParams,
    verdict::InternalError,
};
use pvf_worker::{
    sandbox::{LandlockAbi, Mechanism, Plan, Property},
    supervise::Prepared,
};
use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};

#[test]
fn the_probe_finds_every_mechanism() {
    let report = sandbox();
    assert!(
        report.is_complete(),
        "the sandbox is incomplete on this machine, and its tests need all of it:\n{}",
        report.complaint()
    );
    let found = report.landlock.clone().unwrap();
    assert_eq!(report.plan(), Plan::all().with_landlock_abi(found.used));
    assert_eq!(report.findings.len(), Mechanism::ALL.len());
    // The best that the kernel has is proved.
    let best = LandlockAbi::ALL.into_iter().rfind(|abi| i64::from(abi.number()) <= found.offered);
    assert_eq!((Some(found.used), found.higher), (best, None));
}

/// As on kernels that offer no more: the sandbox is complete at each landlock ABI, with less depth, and jobs run in it.
#[tokio::test]
async fn the_sandbox_is_complete_at_each_landlock_abi() {
    let code = echo_like();
    let artifact = artifact(&code).await;
    let best = sandbox().landlock.clone().unwrap().used;
    for abi in LandlockAbi::ALL.into_iter().filter(|abi| *abi <= best) {
        let report = sandbox_up_to(abi);
        assert!(report.is_complete() && report.status().secure, "ABI {abi}:\n{}", report.complaint());
        let found = report.landlock.clone().unwrap();
        assert_eq!((found.used, found.higher), (abi, None));
        let deep = [Property::FilesRead, Property::FilesWritten, Property::Tcp, Property::Signals]
            .map(|property| report.enforcing(property).len());
        let since = [LandlockAbi::V1, LandlockAbi::V3, LandlockAbi::V4, LandlockAbi::V6];
        assert_eq!(deep, since.map(|since| 2 + usize::from(abi >= since)), "ABI {abi}");
        let runner = runner_with(Path::new(WORKER), report);
        let job = execute_job(&code, ExecutorParams::default());
        valid(runner.execute(&job, artifact.file(), Bytes::from_static(b"block")).await.0);
        let (prepared, _) = runner.prepare(&prepare_job(&code, ExecutorParams::default()), code.clone().into()).await;
        assert!(matches!(prepared, Prepared::Artifact(_)), "ABI {abi}: {prepared:?}");
    }
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
async fn templates_and_spares_are_sandboxed_as_seen_from_outside() {
    let exe = own_worker("locked");
    let runner = runner(&exe);
    let code = echo_like();
    let artifact = artifact(&code).await;
    let job = execute_job(&code, ExecutorParams::default());
    valid(runner.execute(&job, artifact.file(), Bytes::from_static(b"block")).await.0);
    let named = |name: &str| processes_of(&exe).into_iter().find(|pid| name_of(*pid) == name);
    let (template, spare) = until(|| Some((named("pvf-template")?, named("pvf-spare")?))).await;
    // A spare sets its name before it is sandboxed; installing the third filter is the last step.
    until(|| (status(spare)["Seccomp_filters"] == "3").then_some(())).await;
    let me = std::process::id() as i32;
    for (pid, filters, inside) in [(template, "2", "1"), (spare, "3", "2")] {
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
        let none = ["Max core file size", "Max locked memory", "Max msgqueue size"].map(|limit| (limit, "0"));
        // The capacity of stderr.
        for (limit, value) in none.into_iter().chain([("Max file size", "1048576")]) {
            let line = limits.lines().find(|line| line.starts_with(limit)).unwrap();
            let values: Vec<_> = line[limit.len()..].split_whitespace().take(2).collect();
            assert_eq!(values, [value; 2], "{line}");
        }
        let space = limits.lines().find(|line| line.starts_with("Max address space")).unwrap();
        assert!(!space.contains("unlimited"), "{space}");
    }
    drop(runner);
    until(|| processes_of(&exe).is_empty().then_some(())).await;
    fs::remove_file(exe).unwrap();
}

#[tokio::test]
async fn preparations_are_sandboxed_before_they_start_threads() {
    let exe = own_worker("compiling");
    let runner = runner(&exe);
    let code = large(20_000);
    let job = PrepareJob { threads: 2, ..prepare_job(&code, ExecutorParams::default()) };
    // Threads inherit the sandbox, so with more than one thread the preparation must be in it.
    let look = || {
        let pid = processes_of(&exe).into_iter().find(|pid| name_of(*pid) == "pvf-prepare")?;
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten();
        let tasks: Vec<_> = tasks.filter_map(|task| fs::read_to_string(task.path().join("status")).ok()).collect();
        let root = fs::read_dir(format!("/proc/{pid}/root")).ok()?.count();
        (tasks.len() > 1).then_some((tasks, root))
    };
    let (tasks, root) = tokio::select! {
        ended = runner.prepare(&job, code.clone().into()) => panic!("ended too early: {ended:?}"),
        seen = until(look) => seen,
    };
    assert_eq!(root, 0);
    for task in tasks {
        for line in ["NoNewPrivs:\t1", "Seccomp:\t2", "Seccomp_filters:\t2", "CapEff:\t0000000000000000"] {
            assert!(task.lines().any(|l| l == line), "{line}: {task}");
        }
    }
    fs::remove_file(exe).unwrap();
}

/// The worker applies the other mechanisms where one is missing, and jobs have the same results.
#[tokio::test]
async fn jobs_run_without_any_one_mechanism() {
    let code = echo_like();
    let artifact = artifact(&code).await;
    let job = execute_job(&code, ExecutorParams::default());
    for missing in Mechanism::ALL {
        let mut report = sandbox().clone();
        for finding in &mut report.findings {
            // Mechanisms that depend on the missing one.
            let depends = |other| match missing {
                Mechanism::UserNamespace => (other as u16) <= Mechanism::EmptyRoot as u16,
                Mechanism::MountNamespace => other == Mechanism::EmptyRoot,
                Mechanism::NoNewPrivileges => other == Mechanism::Landlock || other == Mechanism::Seccomp,
                _ => false,
            };
            if finding.mechanism == missing || depends(finding.mechanism) {
                finding.missing = Some("a test".into());
            }
        }
        assert!(!report.is_complete() && !report.status().missing.is_empty());
        let runner = runner_with(Path::new(WORKER), report);
        let (outcome, _) = runner.execute(&job, artifact.file(), Bytes::from_static(b"block")).await;
        assert!(matches!(outcome, ExecuteOutcome::Valid(_)), "without {missing}: {outcome:?}");
        let job = prepare_job(&code, ExecutorParams::default());
        let (prepared, _) = runner.prepare(&job, code.clone().into()).await;
        assert!(matches!(prepared, Prepared::Artifact(_)), "without {missing}: {prepared:?}");
    }
}

/// A mechanism of the plan cannot be applied: the job does not run.
#[tokio::test]
async fn a_job_that_cannot_be_sandboxed_as_planned_does_not_run() {
    let mut report = sandbox().clone();
    let mount = report.findings.iter_mut().find(|finding| finding.mechanism == Mechanism::MountNamespace).unwrap();
    // The plan still contains the empty root, which requires the mount namespace.
    mount.missing = Some("a test".into());
    let runner = runner_with(Path::new(WORKER), report);
    let code = echo_like();
    let artifact = artifact(&code).await;
    let job = execute_job(&code, ExecutorParams::default());
    let why = refused(runner.execute(&job, artifact.file(), Bytes::new()).await.0);
    assert!(why.contains("empty root: requires a mount namespace"), "{why}");
    let job = prepare_job(&code, ExecutorParams::default());
    let (prepared, _) = runner.prepare(&job, code.clone().into()).await;
    assert!(
        matches!(&prepared, Prepared::Internal(InternalError::Kernel(why)) if why.contains("empty root")),
        "{prepared:?}"
    );
}
