//! A fleet of real processes on a real `nats-server`.

use crate::processes::{Process, binary, copy_environment, jobs_of, limit_open_files, until};
use pvf_shared::{
    ValidationHost,
    bus::{
        BusError,
        nats::{NatsBus, NatsConnection},
    },
    client::ClientConfig,
    keys::KeyPairFiles,
    wire::{FleetStatus, WorkerKind},
};
use pvf_testkit::nats::{DEFAULT_PAYLOAD, NatsServer};
use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// A client tries this long to connect to the bus and to reach a coordinator.
const CLIENT_PATIENCE: Duration = Duration::from_secs(20);

/// Settings of a coordinator that has its lease for longer than the faults of the tests last.
pub const LONG_LEASE: &str = "[lease]\nduration = \"60s\"";

/// The role of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A prepare worker.
    Prepare,
    /// An execute worker.
    Execute,
}

/// How a fleet is started.
#[derive(Debug, Clone)]
pub struct FleetConfig {
    /// Prepare workers of one slot each.
    pub prepare: usize,
    /// Execute workers of one slot each.
    pub execute: usize,
    /// `max_payload` of the bus, bytes.
    pub max_payload: usize,
    /// Settings of the coordinator, TOML.
    pub settings: String,
    /// More arguments of the coordinator.
    pub coordinator_arguments: Vec<String>,
    /// Whether the fleet has keys; else it is unsigned.
    pub signed: bool,
}

impl Default for FleetConfig {
    fn default() -> Self {
        Self {
            prepare: 1,
            execute: 1,
            max_payload: DEFAULT_PAYLOAD,
            settings: String::new(),
            coordinator_arguments: vec![],
            signed: false,
        }
    }
}

/// A fleet of processes. All of them are killed when it is dropped.
pub struct Fleet {
    /// Its bus.
    pub nats: NatsServer,
    /// A client's handle.
    pub host: ValidationHost,
    /// Its coordinator.
    pub coordinator: Process,
    /// Its prepare workers.
    pub prepare: Vec<Process>,
    /// Its execute workers.
    pub execute: Vec<Process>,
    store: PathBuf,
    dir: TempDir,
    keys: Option<KeyPairFiles>,
    coordinator_arguments: Vec<String>,
}

impl Fleet {
    /// Starts this many workers of one slot each, on a bus with the default payload of 1 MiB.
    pub async fn start(prepare: usize, execute: usize) -> Self {
        Self::with(FleetConfig { prepare, execute, ..FleetConfig::default() }).await
    }

    /// Starts a fleet and waits until all its workers are registered.
    pub async fn with(config: FleetConfig) -> Self {
        let nats = NatsServer::start(config.max_payload).await;
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("coordinator.toml"), config.settings).unwrap();
        let keys = config.signed.then(|| new_keys(&dir.path().join("fleet.key")));
        let mut coordinator = coordinator(&nats.url, &dir, keys.as_ref());
        let coordinator = Process::start(coordinator.args(&config.coordinator_arguments));
        let store = store_in(&dir);
        let host = client(&nats.url).await;
        let (prepare, execute, coordinator_arguments) = (vec![], vec![], config.coordinator_arguments);
        let mut fleet = Self { nats, host, coordinator, prepare, execute, store, dir, keys, coordinator_arguments };
        for _ in 0..config.prepare {
            fleet.add(Role::Prepare);
        }
        for _ in 0..config.execute {
            fleet.add(Role::Execute);
        }
        fleet.complete(config.prepare, config.execute).await;
        fleet
    }

    /// The command line of a coordinator of this fleet.
    pub fn coordinator_command(&self) -> Command {
        let mut command = coordinator(&self.nats.url, &self.dir, self.keys.as_ref());
        command.args(&self.coordinator_arguments);
        command
    }

    /// Kills the coordinator and starts another.
    pub fn replace_coordinator(&mut self) {
        self.coordinator.kill();
        self.coordinator = Process::start(&mut self.coordinator_command());
    }

    /// Kills all processes but the bus, and starts as many workers of one slot and a coordinator again.
    pub fn restart(&mut self) {
        let counts = (self.prepare.len(), self.execute.len());
        self.prepare.clear();
        self.execute.clear();
        self.replace_coordinator();
        (0..counts.0).for_each(|_| self.add(Role::Prepare));
        (0..counts.1).for_each(|_| self.add(Role::Execute));
    }

    /// Starts one more worker of one slot.
    pub fn add(&mut self, role: Role) {
        self.add_with(role, &[]);
    }

    /// Starts one more worker of this many slots.
    pub fn add_with_slots(&mut self, role: Role, slots: u32) {
        self.add_with(role, &["--slots", &slots.to_string()]);
    }

    /// Starts one more worker that may have so many descriptors open.
    pub fn add_limited(&mut self, role: Role, arguments: &[&str], open_files: u64) {
        self.add_changed(role, arguments, |command| limit_open_files(command, open_files));
    }

    /// Starts one more worker with more arguments; it has one slot unless they say otherwise.
    pub fn add_with(&mut self, role: Role, arguments: &[&str]) {
        self.add_changed(role, arguments, |_| {});
    }

    /// Starts one more worker after these commands of a shell, in mount and user namespaces of its own.
    pub fn add_after(&mut self, role: Role, commands: &str, arguments: &[&str]) {
        self.add_changed(role, arguments, |command| {
            let script = format!("{commands}\nexec \"$0\" \"$@\"");
            let mut within = Command::new("unshare");
            within.args(["--map-root-user", "--mount", "bash", "-ec", &script]).arg(command.get_program());
            within.args(command.get_args());
            copy_environment(command, &mut within);
            *command = within;
        });
    }

    /// Starts one more worker by a changed command line.
    pub fn add_changed(&mut self, role: Role, arguments: &[&str], change: impl FnOnce(&mut Command)) {
        let (name, list) = match role {
            Role::Prepare => ("pvf-prepare-worker", &mut self.prepare),
            Role::Execute => ("pvf-execute-worker", &mut self.execute),
        };
        let mut command = command(name, &self.nats.url, &self.store);
        if !arguments.contains(&"--slots") {
            command.args(["--slots", "1"]);
        }
        if ["--signing-key", "--trusted-key"].iter().any(|option| arguments.contains(option)) {
            command.env_remove("PVF_UNSIGNED");
        } else if let Some(keys) = &self.keys
            && !arguments.contains(&"--unsigned")
        {
            match role {
                Role::Prepare => command.env("PVF_SIGNING_KEY", &keys.private),
                Role::Execute => command.env("PVF_TRUSTED_KEYS", &keys.public),
            };
            command.env_remove("PVF_UNSIGNED");
        }
        change(&mut command);
        list.push(Process::start(command.args(arguments)));
    }

    /// Waits until the coordinator knows exactly this many workers.
    pub async fn complete(&self, prepare: usize, execute: usize) {
        until(&format!("the coordinator knows {prepare} prepare and {execute} execute workers"), async || {
            let status = self.host.status().await.ok()?;
            let count = |kind| status.workers.iter().filter(|w| w.kind == kind).count();
            (count(WorkerKind::Prepare) == prepare && count(WorkerKind::Execute) == execute).then_some(())
        })
        .await;
    }

    /// The coordinator's status report.
    pub async fn status(&self) -> FleetStatus {
        self.host.status().await.expect("a coordinator that answers")
    }

    /// The folder of its store.
    pub fn store(&self) -> &Path {
        &self.store
    }

    /// The files of its keys; it must be signed.
    pub fn keys(&self) -> &KeyPairFiles {
        self.keys.as_ref().expect("a signed fleet")
    }

    /// A temporary folder that lives as long as the fleet.
    pub fn folder(&self) -> &Path {
        self.dir.path()
    }

    /// Waits for the job of a worker: its pid.
    pub async fn job(&self, role: Role, index: usize) -> i32 {
        let worker = self.workers(role)[index].pid();
        until(&format!("{role:?} worker {index} has a job"), async || jobs_of(worker).first().copied()).await
    }

    /// Waits for the job of any worker of this role: the worker's index and the job's pid.
    pub async fn any_job(&self, role: Role) -> (usize, i32) {
        let workers = self.workers(role);
        until(&format!("a {role:?} worker has a job"), async || {
            workers.iter().enumerate().find_map(|(n, w)| jobs_of(w.pid()).first().map(|job| (n, *job)))
        })
        .await
    }

    fn workers(&self, role: Role) -> &[Process] {
        match role {
            Role::Prepare => &self.prepare,
            Role::Execute => &self.execute,
        }
    }
}

/// The store's folder. It does not exist at first: the roles create it.
fn store_in(dir: &TempDir) -> PathBuf {
    dir.path().join("not/there/yet")
}

/// A new key pair at this path.
pub fn new_keys(at: &Path) -> KeyPairFiles {
    let files = KeyPairFiles::at(at);
    files.create().unwrap();
    files
}

fn coordinator(nats: &str, dir: &TempDir, keys: Option<&KeyPairFiles>) -> Command {
    let mut command = command("pvf-coordinator", nats, &store_in(dir));
    command.env("PVF_COORDINATOR_CONFIG", dir.path().join("coordinator.toml"));
    if let Some(keys) = keys {
        command.env("PVF_TRUSTED_KEYS", &keys.public).env_remove("PVF_UNSIGNED");
    }
    command
}

/// The command line of a role, of an unsigned fleet.
pub fn command(name: &str, nats: &str, store: &Path) -> Command {
    let mut command = Command::new(binary(name));
    command
        .env("PVF_NATS", nats)
        .env("PVF_STORE", store)
        .env("PVF_LOG", "warn")
        .env("PVF_LOG_FORMAT", "text")
        .env("PVF_UNSIGNED", "1");
    command.env_remove("PVF_SIGNING_KEY").env_remove("PVF_TRUSTED_KEYS");
    command
}

/// A client's handle on the fleet behind this bus.
pub async fn client(nats: &str) -> ValidationHost {
    client_of(nats, "test", CLIENT_PATIENCE).await
}

/// A client of this name on the fleet behind this bus, which tries this long to connect to it, and looks for a
/// coordinator for as long.
pub async fn client_of(nats: &str, name: &str, patience: Duration) -> ValidationHost {
    let connection = NatsConnection::to(nats).expect("a URL");
    let start = Instant::now();
    let bus = loop {
        match NatsBus::connect(&connection, name, patience).await {
            Ok(bus) => break bus,
            // The server is being restarted.
            Err(BusError::Connection { .. }) if start.elapsed() < patience => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Err(error) => panic!("{name}: {error}"),
        }
    };
    let config = ClientConfig { patience, ..ClientConfig::default() };
    ValidationHost::connect(Arc::new(bus), config).await.expect("a handle")
}
