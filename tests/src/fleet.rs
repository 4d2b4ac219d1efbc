//! A fleet of real processes on a real `nats-server`.

use crate::processes::{Process, binary, jobs_of, until};
use pvf_shared::{
    ValidationHost,
    bus::nats::NatsBus,
    client::ClientConfig,
    store::{BlobStore, seal::SealKey},
    wire::{FleetStatus, WorkerKind},
};
use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};
use tempfile::TempDir;

/// Where `nats-server` is: `PVF_NATS_SERVER`, or on the PATH.
fn nats_server() -> PathBuf {
    if let Some(path) = std::env::var_os("PVF_NATS_SERVER") {
        return path.into();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|dir| dir.join("nats-server")).find(|file| file.is_file());
    found.expect("these tests need a nats-server on the PATH or in PVF_NATS_SERVER; `.ci/test` installs one")
}

/// A `nats-server` on a port of its own.
pub struct Nats {
    /// Its URL.
    pub url: String,
    process: Process,
    _dir: TempDir,
}

impl Nats {
    /// Starts one with this `max_payload`, bytes.
    pub async fn start(max_payload: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        // Another process may take the port between our look and its start; then it is tried again.
        for _ in 0..5 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let config = dir.path().join("nats.conf");
            let text =
                format!("listen: \"127.0.0.1:{port}\"\nmax_payload: {max_payload}\nmax_pending: {}\n", 8 * max_payload);
            std::fs::write(&config, text).unwrap();
            let mut command = Command::new(nats_server());
            command.arg("--config").arg(&config).arg("--log").arg(dir.path().join("log"));
            let mut process = Process::start(command.stderr(Stdio::null()));
            let url = format!("nats://127.0.0.1:{port}");
            let up = until("nats-server listens or ends", async || {
                if process.0.try_wait().unwrap().is_some() {
                    return Some(false);
                }
                tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok().then_some(true)
            });
            if up.await {
                return Self { url, process, _dir: dir };
            }
        }
        panic!("nats-server does not start");
    }
}

impl Nats {
    /// Kills the server.
    pub fn kill(&mut self) {
        self.process.kill();
    }
}

/// Which worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A prepare worker.
    Prepare,
    /// An execute worker.
    Execute,
}

/// A fleet of processes.
pub struct Fleet {
    /// Its bus.
    pub nats: Nats,
    /// A handle on it.
    pub host: ValidationHost,
    /// Its coordinator.
    pub coordinator: Process,
    /// Its prepare workers.
    pub prepare: Vec<Process>,
    /// Its execute workers.
    pub execute: Vec<Process>,
    store: PathBuf,
    dir: TempDir,
}

fn coordinator(nats: &str, store: &Path, dir: &Path) -> Process {
    let settings = dir.join("coordinator.toml");
    Process::start(command("pvf-coordinator", nats, store).env("PVF_COORDINATOR_CONFIG", settings))
}

impl Fleet {
    /// So many workers, of one slot each, on a bus with the default payload of 1 MiB.
    pub async fn start(prepare: usize, execute: usize) -> Self {
        Self::with_payload(prepare, execute, 1024 * 1024).await
    }

    /// The same with another `max_payload`, bytes.
    pub async fn with_payload(prepare: usize, execute: usize, max_payload: usize) -> Self {
        Self::start_on(Nats::start(max_payload).await, (prepare, execute), "").await
    }

    /// So many workers, and a coordinator with these settings.
    pub async fn start_with(prepare: usize, execute: usize, settings: &str) -> Self {
        Self::start_on(Nats::start(1024 * 1024).await, (prepare, execute), settings).await
    }

    async fn start_on(nats: Nats, (prepare, execute): (usize, usize), settings: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("coordinator.toml"), settings).unwrap();
        // A folder that does not exist is made.
        let store = dir.path().join("not/there/yet");
        let coordinator = coordinator(&nats.url, &store, dir.path());
        let host = client(&nats.url, Some(&store)).await;
        let mut fleet = Self { nats, host, coordinator, prepare: vec![], execute: vec![], store, dir };
        for _ in 0..prepare {
            fleet.add(Role::Prepare);
        }
        for _ in 0..execute {
            fleet.add(Role::Execute);
        }
        fleet.complete(prepare, execute).await;
        fleet
    }

    /// Kills the coordinator and starts another.
    pub fn replace_coordinator(&mut self) {
        // Dropping the old one kills it.
        self.coordinator = coordinator(&self.nats.url, &self.store, self.dir.path());
    }

    /// Starts one more worker of one slot.
    pub fn add(&mut self, role: Role) {
        self.add_with_slots(role, 1);
    }

    /// Starts one more worker of so many slots.
    pub fn add_with_slots(&mut self, role: Role, slots: u32) {
        let (name, list) = match role {
            Role::Prepare => ("pvf-prepare-worker", &mut self.prepare),
            Role::Execute => ("pvf-execute-worker", &mut self.execute),
        };
        list.push(Process::start(command(name, &self.nats.url, &self.store).args(["--slots", &slots.to_string()])));
    }

    /// Waits until the coordinator knows exactly so many workers.
    pub async fn complete(&self, prepare: usize, execute: usize) {
        until("the fleet is complete", async || {
            let status = self.host.status().await.ok()?;
            let count = |kind| status.workers.iter().filter(|w| w.kind == kind).count();
            (count(WorkerKind::Prepare) == prepare && count(WorkerKind::Execute) == execute).then_some(())
        })
        .await;
    }

    /// What the coordinator says of itself.
    pub async fn status(&self) -> FleetStatus {
        self.host.status().await.expect("a coordinator that answers")
    }

    /// Its store's folder.
    pub fn store(&self) -> &Path {
        &self.store
    }

    /// Waits for the job of a worker.
    pub async fn job(&self, role: Role, index: usize) -> i32 {
        let list = if role == Role::Prepare { &self.prepare } else { &self.execute };
        let worker = list[index].pid();
        until("the worker has a job", async || jobs_of(worker).first().copied()).await
    }

    /// Waits for the job of any worker of this role: the worker's index and the job's pid.
    pub async fn any_job(&self, role: Role) -> (usize, i32) {
        let list = if role == Role::Prepare { &self.prepare } else { &self.execute };
        until("a worker has a job", async || {
            list.iter().enumerate().find_map(|(n, w)| jobs_of(w.pid()).first().map(|job| (n, *job)))
        })
        .await
    }
}

/// A role's command line.
pub fn command(name: &str, nats: &str, store: &Path) -> Command {
    let mut command = Command::new(binary(name));
    command.env("PVF_NATS", nats).env("PVF_STORE", store).env("PVF_LOG", "warn");
    command
}

/// A handle on the fleet behind this bus.
pub async fn client(nats: &str, store: Option<&Path>) -> ValidationHost {
    let bus = NatsBus::connect(nats, "test", Duration::from_secs(10)).await.expect("a bus");
    let store = store.map(|path| BlobStore::open(path.to_str().unwrap(), SealKey::unkeyed()).unwrap());
    let config = ClientConfig { patience: Duration::from_secs(20), ..ClientConfig::default() };
    ValidationHost::connect(Arc::new(bus), store, config).await.expect("a handle")
}
