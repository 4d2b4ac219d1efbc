//! Attacks on a fleet by those who may use its bus: each is tried on a real `nats-server` with the users and
//! permissions that `pvf nats` writes, with the credentials of each role for which it matters. The server must refuse
//! it, or it must have no effect. `docs/operate/permissions.md` has the table.

mod clients;
mod escalation;
mod jwt;
mod legitimate;
mod nodes;
mod observing;
mod older;
mod operators;
pub(crate) mod raw;
mod reading;
mod users;
mod verdicts;
mod workers;

use crate::tool::CliFixture;
use pvf::Answer;
use pvf_shared::{
    ValidationHost,
    client::ClientError,
    identity::{ClientId, UserName, WorkerId, WorkerKind},
    ids::FleetName,
    permissions::Role,
    subjects::Subject,
    wire::{self, ToWorker, WorkerStatus},
};
use pvf_testkit::{
    nats::{DEFAULT_PAYLOAD, NatsServer},
    until,
};
use pvf_tests::{
    fleet::{client, command},
    processes::Process,
    requests::{endless, good_block},
};
use raw::Raw;
use std::{path::PathBuf, time::Duration};
use tokio::task::JoinHandle;

/// One more user of each role, besides those of `pvf nats init`; the attacks are theirs.
const OTHER_USERS: [(Role, &str); 5] = [
    (Role::Client, "mallory"),
    (Role::Worker(WorkerKind::Prepare), "mallory-prepares"),
    (Role::Worker(WorkerKind::Execute), "mallory-executes"),
    (Role::Observer, "mallory-observes"),
    (Role::Operator, "mallory-operates"),
];

/// A user of the tests who may do everything, to see what happens on the bus.
const WITNESS: (&str, &str) = ("witness", "who-sees-everything");

/// A server with users and permissions.
struct Server {
    cli: CliFixture,
    nats: NatsServer,
}

impl Server {
    /// Starts a server with the users of `pvf nats init`, [`OTHER_USERS`] and [`WITNESS`].
    async fn start() -> Self {
        let cli = CliFixture::new();
        let done = |args: &[&str]| {
            let output = cli.pvf(args);
            assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        };
        done(&["nats", "init", "secrets"]);
        for (role, name) in OTHER_USERS {
            done(&["nats", "add-user", role.name(), name, "secrets"]);
        }
        let users = std::fs::read_to_string(cli.path().join("secrets/nats/users.conf")).unwrap();
        let (name, password) = WITNESS;
        let witness = format!("{{ user: {name}, password: \"{password}\" }}");
        let users = format!("{}  {witness}\n]\n", users.trim_end().strip_suffix(']').unwrap());
        let nats = NatsServer::start_with(DEFAULT_PAYLOAD, &format!("authorization {{\n{users}}}")).await;
        Self { cli, nats }
    }

    fn password_file(&self, user: &str) -> PathBuf {
        self.cli.path().join(format!("secrets/{user}.password"))
    }

    fn password(&self, user: &str) -> String {
        std::fs::read_to_string(self.password_file(user)).unwrap().trim().to_owned()
    }

    /// The server's URL with the credentials of a user.
    fn url(&self, user: &str) -> String {
        self.nats.url.replace("nats://", &format!("nats://{user}:{}@", self.password(user)))
    }

    fn raw(&self, user: &str) -> Raw {
        Raw::connect(&self.nats.url, user, &self.password(user)).unwrap()
    }

    fn other_users(&self) -> Vec<(Role, Raw)> {
        OTHER_USERS.iter().map(|(role, name)| (*role, self.raw(name))).collect()
    }

    /// Sees all messages from now on.
    fn witness(&self) -> Raw {
        let (name, password) = WITNESS;
        let mut witness = Raw::connect(&self.nats.url, name, password).unwrap();
        assert_eq!(witness.subscribe(">"), [""; 0]);
        witness
    }

    /// Runs `pvf` as this user.
    fn pvf(&self, user: &str, args: &[&str]) -> std::process::Output {
        let file = self.password_file(user);
        let mut command = self.cli.command(&["--nats", &self.nats.url, "--nats-user", user]);
        command.arg("--nats-password-file").arg(file).args(args).output().unwrap()
    }
}

/// A fleet whose roles have users of their own.
struct SecuredFleet {
    server: Server,
    /// The handle of the user `client`.
    host: ValidationHost,
    coordinator: Process,
    prepare: Process,
    execute: Process,
}

/// CPU time limit of an [`EndlessJob`].
const LIMIT: Duration = Duration::from_secs(3);

/// A request of the user `client` for a guest that never returns, which a worker has.
struct EndlessJob {
    witness: Raw,
    waits: JoinHandle<Result<Answer, ClientError>>,
    dispatch: Box<wire::Dispatch>,
}

impl SecuredFleet {
    /// Submits an endless execution, and waits until it is dispatched.
    fn run_endless(&self) -> EndlessJob {
        let (host, mut request) = (self.host.clone(), good_block());
        request.exec_timeout = Some(LIMIT);
        let mut witness = self.server.witness();
        let waits = tokio::spawn(async move { host.execute_pvf(endless(), request).await });
        let dispatch = execution_dispatch(&mut witness);
        EndlessJob { witness, waits, dispatch }
    }

    /// Starts a fleet with one worker of each kind, and waits until both are registered.
    async fn start() -> Self {
        let server = Server::start().await;
        let store = server.cli.path().join("store");
        let role = |name: &str, user: &str, args: &[&str]| {
            let mut command = command(name, &server.nats.url, &store);
            command.env("NATS_USER", user).env("PVF_NATS_PASSWORD_FILE", server.password_file(user));
            Process::start(command.args(args))
        };
        let coordinator = role("pvf-coordinator", "coordinator", &[]);
        let prepare = role("pvf-prepare-worker", "prepare-worker", &["--slots", "1"]);
        let execute = role("pvf-execute-worker", "execute-worker", &["--slots", "1"]);
        let host = client(&server.url("client")).await;
        let fleet = Self { server, host, coordinator, prepare, execute };
        until("both workers are registered", async || (fleet.workers().await.len() == 2).then_some(())).await;
        fleet
    }

    async fn workers(&self) -> Vec<WorkerStatus> {
        self.host.status().await.map(|status| status.workers).unwrap_or_default()
    }

    async fn worker(&self, kind: WorkerKind) -> WorkerId {
        self.workers().await.iter().find(|worker| worker.kind == kind).unwrap().id
    }
}

fn fleet() -> FleetName {
    FleetName::default()
}

fn user(name: &str) -> UserName {
    UserName::parse(name).unwrap()
}

/// A session of a client with this name.
fn session(name: &str) -> ClientId {
    ClientId::new(user(name))
}

/// A session of a worker with this name.
fn run(kind: WorkerKind, name: &str) -> WorkerId {
    WorkerId::new(kind, user(name))
}

/// Publishes, and asserts that the server refuses it and that nobody receives anything.
#[track_caller]
fn assert_refused(attacker: &mut Raw, witness: &mut Raw, subject: &Subject, payload: &[u8]) {
    let reply = format!("_INBOX.{}.x", attacker.user);
    let refused = attacker.publish(subject.as_str(), Some(&reply), payload);
    let expected = format!("Permissions Violation for Publish to \"{subject}\"");
    assert_eq!(refused, [expected], "{}", attacker.user);
    let seen = witness.received();
    assert!(!seen.iter().any(|message| message.subject == subject.as_str() && message.payload == payload), "{seen:?}");
}

/// Subscribes, and asserts that the server refuses it.
#[track_caller]
fn assert_unheard(attacker: &mut Raw, subject: &str) {
    let expected = format!("Permissions Violation for Subscription to \"{subject}\"");
    assert_eq!(attacker.subscribe(subject), [expected], "{}", attacker.user);
}

/// The dispatch of an execution that a witness sees, and the subject that it was sent on.
fn execution_dispatch(witness: &mut Raw) -> Box<wire::Dispatch> {
    witness.wait_for("dispatch", |message| {
        let is_command = message.subject.contains(".worker.execute.") && message.subject.ends_with(".cmd");
        match wire::decode::<ToWorker>(&message.payload) {
            Ok(ToWorker::Dispatch(dispatch)) if is_command => Some(dispatch),
            _ => None,
        }
    })
}
