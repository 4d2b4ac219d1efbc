//! What a process does from whose start a resource is denied.

use super::{cgroups::Cgroup, denials::Denial};
use crate::tool::diagnosis_of;
use pvf_shared::{verdict::Outcome, wire::WorkerKind};
use pvf_tests::{
    fleet::{Fleet, command},
    processes::{Process, binary, children_of, has_ended, name_of, signal, until},
    requests::{good_block, pvf_of},
};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::Path,
    process::{Command, Stdio},
};

/// How a process ended, and what it said.
pub(super) struct Ended {
    /// Exit code; `None` for a signal.
    pub(super) code: Option<i32>,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

/// Runs `pvf` with these arguments in this folder, where the resource is denied.
pub(super) async fn run(denial: Denial, folder: &Path, arguments: &[&str]) -> Ended {
    let mut command = Command::new(binary("pvf"));
    command.current_dir(folder).args(arguments).env_remove("PVF_NATS").env("PVF_STORE", folder.join("store"));
    let _cgroup = denial.apply(&mut command, folder);
    let (stdout, stderr) = (folder.join("stdout"), folder.join("stderr"));
    let file = |path| File::create(path).expect("the folder of the test can be written");
    command.stdin(Stdio::null()).stdout(file(&stdout)).stderr(file(&stderr));
    let mut process = Process(command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}")));
    let what = format!("pvf {arguments:?} ends");
    let code = until(&what, async || process.0.try_wait().expect("its status")).await.code();
    let read = |path| String::from_utf8_lossy(&fs::read(path).expect("its output")).into_owned();
    Ended { code, stdout: read(stdout), stderr: read(stderr) }
}

/// The doctor's checks, or how it ended without any.
pub(super) async fn doctor(denial: Denial, folder: &Path) -> Result<BTreeMap<String, Value>, Ended> {
    let ended = run(denial, folder, &["doctor", "--json"]).await;
    match serde_json::from_str::<Value>(&ended.stdout) {
        Ok(report) => Ok(diagnosis_of(&report)),
        Err(_) => Err(ended),
    }
}

/// The verdict of an execution of a valid candidate and its reason, or how it ended without any.
pub(super) async fn execution(denial: Denial, folder: &Path) -> Result<(String, String), Ended> {
    let ended = run(denial, folder, &["execute", "code.wasm", "--params", "good", "--json", "--wait", "60s"]).await;
    match serde_json::from_str::<Value>(&ended.stdout) {
        Ok(answer) => {
            let text = |field: &str| answer[field].as_str().unwrap_or_default().to_owned();
            Ok((text("verdict"), text("reason")))
        }
        Err(_) => Err(ended),
    }
}

/// What an execute worker of a fleet does.
#[derive(Debug)]
pub(super) enum Seen {
    /// It registers, and a valid candidate is valid on it.
    Works,
    /// It does not register, and says this.
    Waits(String),
    /// It ends with this exit code, or by a signal, and says this.
    Ends(Option<i32>, String),
}

/// A worker whose log goes to a file.
pub(super) struct Logged {
    pub(super) process: Process,
    pub(super) log: std::path::PathBuf,
    // After the process.
    _cgroup: Option<Cgroup>,
}

impl Logged {
    /// Starts `pvf` as a worker of this fleet in this folder.
    pub(super) fn start(
        fleet: &Fleet,
        role: &str,
        folder: &Path,
        change: impl FnOnce(&mut Command) -> Option<Cgroup>,
    ) -> Self {
        let mut command = command("pvf", &fleet.nats.url, fleet.store());
        command.current_dir(folder).args([role, "--slots", "2", "--spares", "2"]);
        let cgroup = change(&mut command);
        let log = folder.join(format!("{role}.log"));
        let file = File::create(&log).expect("the folder of the test can be written");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
        let process = Process(command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}")));
        Self { process, log, _cgroup: cgroup }
    }

    /// The worker itself, where another program has started it.
    pub(super) fn pid(&self) -> i32 {
        let pid = self.process.pid();
        let below = children_of(pid).into_iter().find(|child| name_of(*child) == "pvf");
        if name_of(pid) == "unshare" { below.unwrap_or(pid) } else { pid }
    }

    pub(super) fn said(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Whether it has said, after so many bytes of its log, that it takes no jobs because of its machine.
    pub(super) fn has_paused_since(&self, said: usize) -> bool {
        self.said().get(said..).is_some_and(|new| new.contains("self-test failed"))
    }

    /// Asks it to end, and waits until the coordinator has forgotten it.
    pub(super) async fn end(self) {
        if !has_ended(self.process.pid()) {
            signal(self.pid(), libc::SIGTERM);
        }
        until("the worker ends", async || has_ended(self.process.pid()).then_some(())).await;
    }
}

/// Starts an execute worker to which the resource is denied, and sees what it does.
pub(super) async fn worker(fleet: &Fleet, denial: Denial, folder: &Path) -> Seen {
    let mut worker = Logged::start(fleet, "execute-worker", folder, |command| denial.apply(command, folder));
    let seen = until("the worker registers, waits or ends", async || {
        if let Some(status) = worker.process.0.try_wait().expect("its status") {
            return Some(Seen::Ends(status.code(), worker.said()));
        }
        if worker.has_paused_since(0) {
            return Some(Seen::Waits(worker.said()));
        }
        let status = fleet.host.status().await.ok()?;
        status.workers.iter().any(|worker| worker.kind == WorkerKind::Execute).then_some(Seen::Works)
    });
    let seen = seen.await;
    if let Seen::Works = seen {
        let answer = fleet.host.execute_pvf(pvf_of(pvf_guests::distinct_adder(0)), good_block()).await.unwrap();
        assert!(matches!(answer.outcome, Outcome::Valid(_)), "{answer:?}; the worker: {}", worker.said());
    }
    worker.end().await;
    fleet.complete(1, 0).await;
    seen
}
