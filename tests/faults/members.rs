//! The processes of a run, each on its host. One that ends is started again, as a supervisor would.

use super::{
    network::{Namespace, address},
    store::StoreKind,
};
use crate::{
    processes::{Process, binary, jobs_of, limit_open_files, processes_named, signal},
    s3,
};
use pvf_testkit::nats::server_path;
use std::{
    fs::OpenOptions,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

/// The library that shifts the clock of a process.
pub const CLOCK: &str = "examples/libpvf_clock.so";
/// A supervisor waits so long before it starts a process that ended by itself.
const RESTART_AFTER: Duration = Duration::from_secs(1);
const NATS_PORT: u16 = 4222;
const ROUTE_PORT: u16 = 6222;
const STORE_PORT: u16 = 5000;
/// Slots of an execute worker.
const SLOTS: &str = "2";
/// Descriptors that a broken worker may have: it registers, and its jobs fail.
const FEW_DESCRIPTORS: u64 = 40;

/// What a process is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// A server of the bus.
    Nats,
    /// A coordinator.
    Coordinator,
    /// A prepare worker.
    Prepare,
    /// An execute worker.
    Execute,
    /// The server of the object store.
    Store,
    /// A client.
    Client,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Self::Nats => "nats",
            Self::Coordinator => "coordinator",
            Self::Prepare => "prepare",
            Self::Execute => "execute",
            Self::Store => "store",
            Self::Client => "client",
        }
    }

    /// Whether it is a worker: what it runs may end with it.
    pub fn is_worker(self) -> bool {
        matches!(self, Self::Prepare | Self::Execute)
    }
}

/// How a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It runs.
    Up,
    /// It stands still.
    Stopped,
    /// It has ended, and starts again at this time.
    Down(Instant),
    /// A client that has all its answers.
    Done,
}

/// A process of the run.
pub struct Member {
    /// Its role.
    pub role: Role,
    /// Its number among those of its role.
    pub number: usize,
    /// Its host.
    pub host: usize,
    /// How it is.
    pub state: State,
    /// Whether it is started with too few descriptors.
    pub broken: bool,
    process: Option<Process>,
    /// Whether the run has it end.
    expected: bool,
}

impl Member {
    fn new(role: Role, number: usize, host: usize) -> Self {
        let state = State::Down(Instant::now());
        Self { role, number, host, state, broken: false, process: None, expected: false }
    }

    /// Its name: role and number.
    pub fn name(&self) -> String {
        format!("{}-{}", self.role.name(), self.number)
    }

    /// Its process id, while it has a process.
    pub fn pid(&self) -> Option<i32> {
        self.process.as_ref().map(Process::pid)
    }

    /// Its standard output, for a client that was just started.
    pub fn output(&mut self) -> Option<std::process::ChildStdout> {
        self.process.as_mut().and_then(|process| process.0.stdout.take())
    }

    /// Processes of a worker that run a job.
    pub fn jobs(&self) -> Vec<i32> {
        self.pid().map(jobs_of).unwrap_or_default()
    }

    /// Processes from which an execute worker forks jobs.
    pub fn templates(&self) -> Vec<i32> {
        self.pid().map(|pid| processes_named(pid, "pvf-template")).unwrap_or_default()
    }

    /// Sends it a signal; nothing if it has ended meanwhile.
    pub fn signal(&mut self, number: i32) {
        let lives = self.process.as_mut().is_some_and(|process| matches!(process.0.try_wait(), Ok(None)));
        if let Some(pid) = self.pid().filter(|_| lives) {
            signal(pid, number);
        }
    }

    /// Kills it. It starts again after this time.
    pub fn kill(&mut self, down: Duration) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
        self.state = State::Down(Instant::now() + down);
    }

    /// Asks it to end. It starts again when it has.
    pub fn terminate(&mut self) {
        self.expected = true;
        self.signal(libc::SIGTERM);
    }

    /// Whether it has ended; how, if the run did not have it end.
    fn ended(&mut self) -> Option<Option<ExitStatus>> {
        let status = self.process.as_mut()?.0.try_wait().ok()??;
        self.process = None;
        let by_itself = (!std::mem::take(&mut self.expected)).then_some(status);
        // A client that has all its answers ends.
        let by_itself = by_itself.filter(|_| self.role != Role::Client || !status.success());
        let wait = if by_itself.is_some() { RESTART_AFTER } else { Duration::ZERO };
        self.state = State::Down(Instant::now() + wait);
        Some(by_itself)
    }
}

/// What is the same for all members.
pub struct Setting {
    /// Where everything is written.
    pub folder: PathBuf,
    /// Servers of the bus.
    pub nats: usize,
    /// Kind of the store.
    pub store: StoreKind,
    /// The library that shifts clocks.
    pub clock: PathBuf,
    keys: pvf_shared::keys::KeyPairFiles,
    store_host: usize,
}

/// All members and their hosts.
pub struct Members {
    /// The members.
    pub all: Vec<Member>,
    /// The namespaces of the hosts. The last one is this process's own.
    pub hosts: Vec<Namespace>,
    /// What is the same for all of them.
    pub setting: Setting,
    /// Those that ended by themselves: name and status.
    pub ended: Vec<(String, String)>,
}

/// What becomes of a client that does not run.
#[derive(Debug, Clone)]
pub enum NextClient {
    /// It is started with these arguments.
    With(Vec<String>),
    /// What the one before it has said is not read yet.
    Later,
    /// There is nothing left to ask.
    Done,
}

/// How many members a run has of each role.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    /// Servers of the bus, 1 or 3.
    pub nats: usize,
    /// Coordinators.
    pub coordinators: usize,
    /// Prepare workers.
    pub prepare: usize,
    /// Execute workers.
    pub execute: usize,
    /// Client processes.
    pub clients: usize,
}

impl Members {
    /// Prepares hosts for so many members. Starts none of them.
    ///
    /// # Errors
    /// The kernel refuses the namespaces.
    pub fn new(folder: &Path, sizes: Sizes, store: StoreKind) -> Result<Self, String> {
        let servers = if store == StoreKind::S3 { 1 } else { 0 };
        let roles = [
            (Role::Nats, sizes.nats),
            (Role::Store, servers),
            (Role::Coordinator, sizes.coordinators),
            (Role::Prepare, sizes.prepare),
            (Role::Execute, sizes.execute),
            (Role::Client, sizes.clients),
        ];
        let each = roles.iter().flat_map(|(role, count)| (0..*count).map(|number| (*role, number)));
        let all: Vec<_> = each.enumerate().map(|(host, (role, number))| Member::new(role, number, host)).collect();
        let hosts: Result<Vec<_>, _> = (0..all.len()).map(Namespace::new).collect();
        let mut hosts = hosts?;
        hosts.push(super::network::enter_own(all.len())?);
        let setting = Setting {
            folder: folder.to_owned(),
            nats: sizes.nats,
            store,
            clock: binary(CLOCK),
            keys: crate::fleet::new_keys(&folder.join("fleet.key")),
            store_host: sizes.nats,
        };
        let lease = format!("[lease]\nreplicas = {}\n", sizes.nats);
        std::fs::write(folder.join("coordinator.toml"), lease).map_err(|error| error.to_string())?;
        Ok(Self { all, hosts, setting, ended: Vec::new() })
    }

    /// Members of one role.
    pub fn of(&mut self, role: Role) -> impl Iterator<Item = &mut Member> {
        self.all.iter_mut().filter(move |member| member.role == role)
    }

    /// Looks after the members: starts those that are due. `client` says what a client has to do. Returns the members
    /// that were started.
    pub fn look_after(&mut self, client: impl Fn(usize) -> NextClient) -> Vec<usize> {
        let mut started = Vec::new();
        for index in 0..self.all.len() {
            let member = &mut self.all[index];
            if let Some(Some(status)) = member.ended() {
                self.ended.push((member.name(), status.to_string()));
            }
            let State::Down(at) = member.state else { continue };
            if at > Instant::now() {
                continue;
            }
            let is_client = member.role == Role::Client;
            let arguments = match if is_client { client(member.number) } else { NextClient::With(vec![]) } {
                NextClient::With(arguments) => arguments,
                NextClient::Later => continue,
                NextClient::Done => {
                    member.state = State::Done;
                    continue;
                }
            };
            let member = &self.all[index];
            let mut command = self.setting.command(member);
            command.args(arguments);
            self.hosts[member.host].run(&mut command);
            let process = Process(command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}")));
            let member = &mut self.all[index];
            (member.process, member.state, member.expected) = (Some(process), State::Up, false);
            started.push(index);
        }
        started
    }
}

impl Setting {
    /// The URLs of the bus.
    pub fn urls(&self) -> String {
        let urls: Vec<_> = (0..self.nats).map(|host| format!("nats://{}:{NATS_PORT}", address(host))).collect();
        urls.join(",")
    }

    /// The folder of a member's temporary files.
    pub fn temporary(&self, member: &Member) -> PathBuf {
        self.folder.join(format!("tmp-{}", member.name()))
    }

    /// The file that says how far the clock of a member is ahead.
    pub fn clock_of(&self, member: &Member) -> PathBuf {
        self.folder.join(format!("clock-{}", member.name()))
    }

    /// The address of the store's server.
    pub fn store_server(&self) -> (Ipv4Addr, u16) {
        (address(self.store_host), STORE_PORT)
    }

    fn command(&self, member: &Member) -> Command {
        let mut command = match member.role {
            Role::Nats => self.nats_command(member),
            Role::Store => {
                let mut command = Command::new(s3::server_path());
                command.args(["-H", "0.0.0.0", "-p", &STORE_PORT.to_string()]);
                command
            }
            Role::Coordinator => {
                let mut command = self.role_command("pvf-coordinator", member);
                command.env("PVF_COORDINATOR_CONFIG", self.folder.join("coordinator.toml"));
                command.env("PVF_TRUSTED_KEYS", &self.keys.public);
                command
            }
            Role::Prepare => {
                let mut command = self.role_command("pvf-prepare-worker", member);
                command.env("PVF_SIGNING_KEY", &self.keys.private).args(["--slots", "1"]);
                command
            }
            Role::Execute => {
                let mut command = self.role_command("pvf-execute-worker", member);
                command.env("PVF_TRUSTED_KEYS", &self.keys.public).args(["--slots", SLOTS]);
                command
            }
            Role::Client => {
                let mut command = Command::new(std::env::current_exe().expect("this program has a path"));
                command.arg("client");
                command
            }
        };
        let log = self.folder.join(format!("{}.log", member.name()));
        let log = OpenOptions::new().create(true).append(true).open(log).expect("a log");
        let output = match member.role {
            Role::Client => Stdio::piped(),
            _ => log.try_clone().expect("a descriptor").into(),
        };
        command.stdin(Stdio::null()).stdout(output).stderr(log);
        command
    }

    fn role_command(&self, name: &str, member: &Member) -> Command {
        let temporary = self.temporary(member);
        std::fs::create_dir_all(&temporary).expect("a folder");
        let mut command = Command::new(binary(name));
        command
            .env("PVF_NATS", self.urls())
            .env("PVF_LOG", "info")
            .env("PVF_LOG_FORMAT", "text")
            .env("TMPDIR", temporary);
        command.env_remove("PVF_UNSIGNED").env_remove("PVF_SIGNING_KEY").env_remove("PVF_TRUSTED_KEYS");
        command.env("PVF_CLOCK", self.clock_of(member)).env("LD_PRELOAD", &self.clock);
        if member.role.is_worker() {
            command.env("PVF_HOST", member.name());
        }
        super::store::locate(&mut command, self);
        if member.broken {
            limit_open_files(&mut command, FEW_DESCRIPTORS);
        }
        command
    }

    fn nats_command(&self, member: &Member) -> Command {
        let folder = self.folder.join(member.name());
        std::fs::create_dir_all(&folder).expect("a folder");
        let own = address(member.host);
        let mut text = format!(
            "listen: \"{own}:{NATS_PORT}\"\nhttp: \"{own}:8222\"\nserver_name: \"{}\"\nmax_payload: 1MB\n\
             jetstream {{ store_dir: \"{}\", max_file_store: 64M }}\n",
            member.name(),
            folder.display()
        );
        if self.nats > 1 {
            let others = (0..self.nats).filter(|host| *host != member.host);
            let routes: Vec<_> = others.map(|host| format!("\"nats://{}:{ROUTE_PORT}\"", address(host))).collect();
            text.push_str(&format!(
                "cluster {{ name: fleet, listen: \"{own}:{ROUTE_PORT}\", routes: [{}] }}\n",
                routes.join(", ")
            ));
        }
        let path = folder.join("nats.conf");
        std::fs::write(&path, text).expect("the configuration is written");
        let mut command = Command::new(server_path().unwrap_or_else(|why| panic!("{why}")));
        command.arg("--config").arg(path);
        command
    }
}
