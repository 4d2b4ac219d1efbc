//! The NATS subjects of the fleet. Subjects are built and taken apart only here.
//!
//! | subject | publishes | subscribes |
//! |---|---|---|
//! | `<fleet>.v4.client.<user>.<session>.req` | that client | coordinator |
//! | `<fleet>.v4.client.<user>.<session>.verdict` | coordinator | that client |
//! | `<fleet>.v4.client.<user>.<session>.pull` | workers | that client |
//! | `<fleet>.v4.worker.<kind>.<user>.<session>.req` | that worker | coordinator |
//! | `<fleet>.v4.worker.<kind>.<user>.<session>.cmd` | coordinator | that worker |
//! | `<fleet>.v4.worker.<kind>.<user>.<session>.pull` | clients | that worker |
//! | `<fleet>.v4.operator.<user>.req` | that operator | coordinator |
//! | `<fleet>.v4.status` | everybody | coordinator |
//! | `<fleet>.v4.api.<name>` | observers, operators | coordinator, answers in JSON |
//! | `<fleet>.v4.event.<kind>` | coordinator | observers |
//! | `<fleet>.v4.coordinator.announce` | coordinator | everybody, to know that another one is active |
//! | `<fleet>.v4.coordinator.echo.<random id>` | coordinator | the same coordinator, to know whether it hears |
//! | `$KV.<fleet>-coordinator.lease` | coordinator | coordinators, to know who is active |
//! | `_INBOX.<user>.@jetstream.>` | server | coordinator, answers of JetStream |
//! | `$SRV.>` | observers, operators | every role, to say that it is there |
//! | `_INBOX.<user>.@services.>` | every role | that user, for what it asks on `$SRV.>` |
//! | `_INBOX.<user>.<other>.>` | the user `<other>`, who is asked | that user |
//! | `_INBOX.<user>.@coordinator.>` | coordinator | that user |
//! | `<fleet>.from-node`, `<fleet>.from-worker` | clients and workers of version 3 and before | coordinator, to refuse them |
//!
//! `<kind>` is `prepare` or `execute`. A server that enforces this table makes the subject say who speaks: the module
//! [`permissions`](crate::permissions) has it as the permissions of each role.
//!
//! The subject of an answer names who may answer, so that everybody has fixed permissions. NATS can also permit
//! answers as requests arrive (`allow_responses`), but then whoever can send himself a message can publish on every
//! subject: he names it as the reply subject.

use crate::{
    identity::{ClientId, UserName, WorkerId},
    ids::FleetName,
};
use std::fmt;
use uuid::Uuid;

/// The protocol's version in subjects.
const VERSION: &str = "v4";

/// A subject of the bus.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Subject(String);

impl Subject {
    /// The subject as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A subject that came over the bus. Only implementations of a bus call this.
    pub fn received(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The user who subscribes to this subject of a client or worker; `None` for the coordinator's subjects.
    fn listener(&self) -> Option<&str> {
        let mut tokens = self.0.split('.').skip(2);
        let user = match tokens.next()? {
            "client" => tokens.next()?,
            "worker" => tokens.nth(1)?,
            _ => return None,
        };
        (tokens.nth(1)? != "req").then_some(user)
    }

    /// Whether it is an inbox of some user.
    pub fn is_inbox(&self) -> bool {
        self.0.strip_prefix("_INBOX.").is_some_and(|rest| !rest.contains(['*', '>']))
    }

    /// Whether it is an inbox of a program of version 3 or before: `_INBOX.<random>.<random>`. No request of this
    /// version has such a one.
    pub fn is_inbox_of_older(&self) -> bool {
        self.is_inbox() && self.0.split('.').count() == 3 && self.0.split('.').all(|token| !token.is_empty())
    }

    /// Whether it is an inbox of this user. An answer goes nowhere else: its sender chooses the reply subject, and may
    /// name one on which it could not publish itself.
    pub fn is_inbox_of(&self, user: &UserName) -> bool {
        let inbox = inbox_prefix(user);
        self.0.strip_prefix(&inbox).is_some_and(|rest| rest.starts_with('.') && !rest.contains(['*', '>']))
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The subjects on which a user gets answers begin with this and a dot.
pub fn inbox_prefix(user: &UserName) -> String {
    format!("_INBOX.{user}")
}

fn of(fleet: &FleetName, rest: fmt::Arguments<'_>) -> Subject {
    Subject(format!("{fleet}.{VERSION}.{rest}"))
}

/// Stands for the coordinator in the subject of an answer. No user has this name.
pub(crate) const COORDINATOR: &str = "@coordinator";

/// Stands for every role in the subject of an answer to a question on `$SRV.>`. No user has this name. A program that
/// asks there has the inbox prefix `_INBOX.<its user>.@services`.
pub const SERVICES: &str = "@services";

/// The JetStream key-value bucket with the lease of a fleet's coordinator.
pub fn lease_bucket(fleet: &FleetName) -> String {
    format!("{fleet}-coordinator")
}

/// The key of the lease in its bucket.
pub const LEASE_KEY: &str = "lease";

/// Where the server answers this user's requests to JetStream; a prefix. No user has this name, so nobody else can
/// publish there.
pub fn jetstream_inbox_prefix(user: &UserName) -> String {
    format!("{}.@jetstream", inbox_prefix(user))
}

/// Subjects of answers to the requests of one connection.
#[derive(Debug, Clone)]
pub struct Inboxes {
    user: UserName,
    connection: u64,
}

impl Inboxes {
    /// Those of a connection of this user. The random id tells it from the user's other connections.
    pub fn new(user: UserName, connection: u64) -> Self {
        Self { user, connection }
    }

    /// All of them, to subscribe to.
    pub fn all(&self) -> Subject {
        self.of("*", "*")
    }

    /// For the answer to request number `n`, on this subject.
    pub fn answer_to(&self, request: &Subject, n: u64) -> Subject {
        self.of(request.listener().unwrap_or(COORDINATOR), &n.to_string())
    }

    /// For message number `n` of the user to itself.
    pub fn to_itself(&self, n: u64) -> Subject {
        self.of(self.user.as_str(), &n.to_string())
    }

    fn of(&self, from: &str, n: &str) -> Subject {
        Subject(format!("{}.{from}.{:x}.{n}", inbox_prefix(&self.user), self.connection))
    }
}

/// Requests of one client to the coordinator.
pub fn client_requests(fleet: &FleetName, client: &ClientId) -> Subject {
    of(fleet, format_args!("client.{client}.req"))
}

/// Requests of all clients.
pub fn all_client_requests(fleet: &FleetName) -> Subject {
    of(fleet, format_args!("client.*.*.req"))
}

/// Verdicts for one client.
pub fn client_verdicts(fleet: &FleetName, client: &ClientId) -> Subject {
    of(fleet, format_args!("client.{client}.verdict"))
}

/// Requests for bytes that a client holds.
pub fn client_pulls(fleet: &FleetName, client: &ClientId) -> Subject {
    of(fleet, format_args!("client.{client}.pull"))
}

/// Requests of one worker to the coordinator.
pub fn worker_requests(fleet: &FleetName, worker: &WorkerId) -> Subject {
    of(fleet, format_args!("worker.{worker}.req"))
}

/// Requests of all workers.
pub fn all_worker_requests(fleet: &FleetName) -> Subject {
    of(fleet, format_args!("worker.*.*.*.req"))
}

/// Commands of the coordinator to one worker.
pub fn worker_commands(fleet: &FleetName, worker: &WorkerId) -> Subject {
    of(fleet, format_args!("worker.{worker}.cmd"))
}

/// Requests for bytes that a worker holds.
pub fn worker_pulls(fleet: &FleetName, worker: &WorkerId) -> Subject {
    of(fleet, format_args!("worker.{worker}.pull"))
}

/// Requests of one operator to the coordinator. An operator has no session: nothing is sent to it but answers.
pub fn operator_requests(fleet: &FleetName, operator: &UserName) -> Subject {
    of(fleet, format_args!("operator.{operator}.req"))
}

/// Requests of all operators.
pub fn all_operator_requests(fleet: &FleetName) -> Subject {
    of(fleet, format_args!("operator.*.req"))
}

/// Where clients of version 3 and before speak.
pub fn from_older_clients(fleet: &FleetName) -> Subject {
    Subject(format!("{fleet}.from-node"))
}

/// Where workers of version 3 and before speak.
pub fn from_older_workers(fleet: &FleetName) -> Subject {
    Subject(format!("{fleet}.from-worker"))
}

/// Questions for the state of the fleet.
pub fn status(fleet: &FleetName) -> Subject {
    of(fleet, format_args!("status"))
}

/// Questions about the state of the fleet, answered in JSON: one subject for each of them.
pub fn api(fleet: &FleetName, name: &str) -> Subject {
    of(fleet, format_args!("api.{name}"))
}

/// Events of one kind, for observers.
pub fn event(fleet: &FleetName, kind: &str) -> Subject {
    of(fleet, format_args!("event.{kind}"))
}

/// Events of all kinds.
pub fn all_events(fleet: &FleetName) -> Subject {
    of(fleet, format_args!("event.>"))
}

/// Announcements of coordinators that become active.
pub fn announcements(fleet: &FleetName) -> Subject {
    of(fleet, format_args!("coordinator.announce"))
}

/// Messages of a coordinator to itself.
pub fn echo(fleet: &FleetName, id: &Uuid) -> Subject {
    of(fleet, format_args!("coordinator.echo.{}", id.simple()))
}

/// The client whose request this is; `None` if the subject is no such.
pub fn requesting_client(fleet: &FleetName, subject: &Subject) -> Option<ClientId> {
    requesting(fleet, "client", subject)?.parse().ok()
}

/// The worker whose request this is; `None` if the subject is no such.
pub fn requesting_worker(fleet: &FleetName, subject: &Subject) -> Option<WorkerId> {
    requesting(fleet, "worker", subject)?.parse().ok()
}

/// The operator whose request this is; `None` if the subject is no such.
pub fn requesting_operator(fleet: &FleetName, subject: &Subject) -> Option<UserName> {
    requesting(fleet, "operator", subject)?.parse().ok()
}

fn requesting<'a>(fleet: &FleetName, role: &str, subject: &'a Subject) -> Option<&'a str> {
    let rest = subject.0.strip_prefix(fleet.as_str())?.strip_prefix('.')?.strip_prefix(VERSION)?.strip_prefix('.')?;
    rest.strip_prefix(role)?.strip_prefix('.')?.strip_suffix(".req")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::WorkerKind;

    fn user(name: &str) -> UserName {
        UserName::parse(name).unwrap()
    }

    #[test]
    fn golden_subjects() {
        let fleet = FleetName::default();
        let session = Uuid::from_u128(7);
        let hex = format!("{}7", "0".repeat(31));
        let client = ClientId { user: user("u"), session };
        let worker = WorkerId { kind: WorkerKind::Execute, user: user("w"), session };
        for (subject, expected) in [
            (client_requests(&fleet, &client), format!("pvf.v4.client.u.{hex}.req")),
            (client_verdicts(&fleet, &client), format!("pvf.v4.client.u.{hex}.verdict")),
            (client_pulls(&fleet, &client), format!("pvf.v4.client.u.{hex}.pull")),
            (all_client_requests(&fleet), "pvf.v4.client.*.*.req".into()),
            (worker_requests(&fleet, &worker), format!("pvf.v4.worker.execute.w.{hex}.req")),
            (worker_commands(&fleet, &worker), format!("pvf.v4.worker.execute.w.{hex}.cmd")),
            (worker_pulls(&fleet, &worker), format!("pvf.v4.worker.execute.w.{hex}.pull")),
            (all_worker_requests(&fleet), "pvf.v4.worker.*.*.*.req".into()),
            (operator_requests(&fleet, &user("o")), "pvf.v4.operator.o.req".into()),
            (all_operator_requests(&fleet), "pvf.v4.operator.*.req".into()),
            (status(&fleet), "pvf.v4.status".into()),
            (api(&fleet, "requests"), "pvf.v4.api.requests".into()),
            (event(&fleet, "worker-lost"), "pvf.v4.event.worker-lost".into()),
            (all_events(&fleet), "pvf.v4.event.>".into()),
            (announcements(&fleet), "pvf.v4.coordinator.announce".into()),
            (echo(&fleet, &session), format!("pvf.v4.coordinator.echo.{hex}")),
            (from_older_clients(&fleet), "pvf.from-node".into()),
            (from_older_workers(&fleet), "pvf.from-worker".into()),
        ] {
            assert_eq!(subject.as_str(), expected);
        }
        assert_eq!(requesting_client(&fleet, &client_requests(&fleet, &client)), Some(client));
        assert_eq!(requesting_worker(&fleet, &worker_requests(&fleet, &worker)), Some(worker));
        assert_eq!(requesting_operator(&fleet, &operator_requests(&fleet, &user("o"))), Some(user("o")));
        for other in [client_requests(&fleet, &client), Subject::received("pvf.v4.operator.a.b.req")] {
            assert_eq!(requesting_operator(&fleet, &other), None, "{other}");
        }
        let other = FleetName::parse("pvf2").unwrap();
        assert_eq!(requesting_client(&other, &client_requests(&fleet, &client)), None);
        assert_eq!(requesting_client(&fleet, &client_verdicts(&fleet, &client)), None);
        assert_eq!(requesting_client(&fleet, &worker_requests(&fleet, &worker)), None);
        assert_eq!(requesting_worker(&fleet, &client_requests(&fleet, &client)), None);
    }

    #[test]
    fn the_subject_of_an_answer_names_who_may_answer() {
        let fleet = FleetName::default();
        let client = ClientId { user: user("u"), session: Uuid::nil() };
        let worker = WorkerId { kind: WorkerKind::Execute, user: user("w"), session: Uuid::nil() };
        let inboxes = Inboxes::new(user("a"), 0x7f);
        for (request, who) in [
            (client_requests(&fleet, &client), "@coordinator"),
            (client_pulls(&fleet, &client), "u"),
            (worker_requests(&fleet, &worker), "@coordinator"),
            (worker_commands(&fleet, &worker), "w"),
            (worker_pulls(&fleet, &worker), "w"),
            (operator_requests(&fleet, &user("o")), "@coordinator"),
            (status(&fleet), "@coordinator"),
        ] {
            let reply = inboxes.answer_to(&request, 3);
            assert_eq!(reply.as_str(), format!("_INBOX.a.{who}.7f.3"), "{request}");
            assert!(reply.is_inbox_of(&user("a")));
        }
        assert_eq!(inboxes.to_itself(0).as_str(), "_INBOX.a.a.7f.0");
        assert_eq!(inboxes.all().as_str(), "_INBOX.a.*.7f.*");
        for reserved in [COORDINATOR, SERVICES, "@jetstream"] {
            assert!(UserName::parse(reserved).is_err(), "{reserved}");
        }
        assert!(Subject::received(&jetstream_inbox_prefix(&user("a"))).is_inbox_of(&user("a")));
    }

    #[test]
    fn only_inboxes_of_the_user_are_its_own() {
        let is_own = |subject: &str| Subject::received(subject).is_inbox_of(&user("u"));
        assert!(is_own("_INBOX.u.x") && is_own("_INBOX.u.x.y"));
        for other in ["_INBOX.u", "_INBOX.uv.x", "_INBOX.v.u.x", "_INBOX.u.>", "pvf.v4.client.v.0.verdict"] {
            assert!(!is_own(other), "{other}");
        }
    }

    #[test]
    fn inboxes_of_older_versions_are_told_from_those_of_requests() {
        let is_older = |subject: &str| Subject::received(subject).is_inbox_of_older();
        assert!(is_older("_INBOX.qJr8wFZ0BTtKqRTzGdJSQ4.dF3nB4a2"));
        let client = ClientId { user: user("u"), session: Uuid::nil() };
        let inboxes = Inboxes::new(user("a"), 7);
        let reply = inboxes.answer_to(&client_requests(&FleetName::default(), &client), 3);
        for other in [reply.as_str(), "_INBOX.u.@coordinator.x", "_INBOX.u", "_INBOX..x", "_INBOX.u.>", "pvf.a.b"] {
            assert!(!is_older(other), "{other}");
        }
    }
}
