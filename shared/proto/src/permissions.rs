//! What each role may do on the bus, as permissions of a NATS server. Configurations, tests and documentation have
//! them from here.
//!
//! Nobody has `allow_responses`: a user who may answer whatever subject a request names could send itself a request
//! that names another user's subject, and then publish there. The subject of an answer names who may answer instead
//! (see [`crate::subjects`]).

use crate::{
    identity::{UserName, WorkerKind},
    ids::{FleetName, IdError},
    subjects::{self, COORDINATOR, SERVICES, lease_bucket},
};
use std::{fmt, str::FromStr};

/// What a user of the bus is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Submits requests.
    Client,
    /// A worker of one kind.
    Worker(WorkerKind),
    /// Decides what runs where, and sends the verdicts.
    Coordinator,
    /// Reads the status and the events.
    Observer,
    /// Has workers drain. Reads what an observer reads.
    Operator,
}

impl Role {
    /// All roles.
    pub const ALL: [Self; 6] = [
        Self::Client,
        Self::Worker(WorkerKind::Prepare),
        Self::Worker(WorkerKind::Execute),
        Self::Coordinator,
        Self::Observer,
        Self::Operator,
    ];

    /// The name of the role, which is also the name of its first user.
    pub fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Worker(WorkerKind::Prepare) => "prepare-worker",
            Self::Worker(WorkerKind::Execute) => "execute-worker",
            Self::Coordinator => "coordinator",
            Self::Observer => "observer",
            Self::Operator => "operator",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Role {
    type Err = IdError;
    fn from_str(s: &str) -> Result<Self, IdError> {
        let role = Self::ALL.into_iter().find(|role| role.name() == s);
        role.ok_or_else(|| {
            IdError::new("role", "client, prepare-worker, execute-worker, coordinator, observer or operator", s)
        })
    }
}

/// What a user may publish on and subscribe to. Everything else is refused by the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permissions {
    /// Subjects that it may publish on.
    pub publish: Vec<String>,
    /// Subjects that it may subscribe to.
    pub subscribe: Vec<String>,
}

/// The permissions of a user. Two processes with the same user share what it may do.
pub fn permissions(role: Role, user: &UserName, fleet: &FleetName) -> Permissions {
    of(role, user.as_str(), fleet)
}

/// The permissions of a role as the template of a scoped signing key: the server puts the name of the user's JWT in
/// place of `{{name()}}`.
pub fn template(role: Role, fleet: &FleetName) -> Permissions {
    of(role, "{{name()}}", fleet)
}

fn of(role: Role, user: &str, fleet: &FleetName) -> Permissions {
    let (f, bucket) = (format!("{fleet}.v4"), lease_bucket(fleet));
    let stream = format!("KV_{bucket}");
    let (mut publish, mut subscribe) = match role {
        Role::Client => (
            vec![
                format!("{f}.client.{user}.*.req"),
                format!("{f}.worker.*.*.*.pull"),
                format!("{f}.status"),
                format!("_INBOX.*.{user}.>"),
            ],
            vec![
                format!("{f}.client.{user}.*.verdict"),
                format!("{f}.client.{user}.*.pull"),
                format!("{f}.coordinator.announce"),
            ],
        ),
        Role::Worker(kind) => (
            vec![
                format!("{f}.worker.{kind}.{user}.*.req"),
                format!("{f}.client.*.*.pull"),
                format!("{f}.status"),
                format!("_INBOX.*.{user}.>"),
            ],
            vec![
                format!("{f}.worker.{kind}.{user}.*.cmd"),
                format!("{f}.worker.{kind}.{user}.*.pull"),
                format!("{f}.coordinator.announce"),
            ],
        ),
        Role::Coordinator => (
            vec![
                format!("{f}.client.*.*.verdict"),
                format!("{f}.worker.*.*.*.cmd"),
                format!("{f}.event.>"),
                format!("{f}.coordinator.>"),
                // For health checks.
                format!("{f}.status"),
                format!("_INBOX.*.{COORDINATOR}.>"),
                format!("_INBOX.{user}.{user}.>"),
                // The bucket with the lease: to make it, to read it, to change its settings, and to make it anew.
                format!("$JS.API.STREAM.INFO.{stream}"),
                format!("$JS.API.STREAM.CREATE.{stream}"),
                format!("$JS.API.STREAM.UPDATE.{stream}"),
                format!("$JS.API.STREAM.DELETE.{stream}"),
                format!("$JS.API.STREAM.MSG.GET.{stream}"),
                format!("$KV.{bucket}.>"),
            ],
            vec![
                format!("{f}.client.*.*.req"),
                format!("{f}.worker.*.*.*.req"),
                format!("{f}.operator.*.req"),
                format!("{f}.status"),
                format!("{f}.api.*"),
                format!("{f}.coordinator.>"),
                // To refuse programs of older versions, on a server without permissions: no role publishes there.
                subjects::from_older_clients(fleet).to_string(),
                subjects::from_older_workers(fleet).to_string(),
                format!("$KV.{bucket}.>"),
            ],
        ),
        Role::Observer => (
            vec![format!("{f}.status"), format!("{f}.api.*"), "$SRV.>".into(), format!("_INBOX.{user}.{user}.>")],
            vec![format!("{f}.event.>"), format!("{f}.coordinator.>")],
        ),
        Role::Operator => (
            vec![
                format!("{f}.operator.{user}.req"),
                format!("{f}.status"),
                format!("{f}.api.*"),
                "$SRV.>".into(),
                format!("_INBOX.{user}.{user}.>"),
            ],
            vec![format!("{f}.event.>"), format!("{f}.coordinator.>")],
        ),
    };
    if matches!(role, Role::Worker(_) | Role::Coordinator) {
        // To be found by `nats service`.
        publish.push(format!("_INBOX.*.{SERVICES}.>"));
        subscribe.push("$SRV.>".into());
    }
    subscribe.push(format!("_INBOX.{user}.>"));
    Permissions { publish, subscribe }
}

/// As the value of `permissions` of a user in the configuration of a NATS server.
impl fmt::Display for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |subjects: &[String]| {
            let quoted: Vec<_> = subjects.iter().map(|subject| format!("\"{subject}\"")).collect();
            quoted.join(", ")
        };
        let (publish, subscribe) = (list(&self.publish), list(&self.subscribe));
        write!(f, "{{ publish: {{ allow: [{publish}] }}, subscribe: {{ allow: [{subscribe}] }} }}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(permissions: &Permissions) -> String {
        format!("pub {}\nsub {}", permissions.publish.join(" "), permissions.subscribe.join(" "))
    }

    #[test]
    fn golden_permissions() {
        let (user, fleet) = (UserName::parse("u").unwrap(), FleetName::default());
        let worker = |kind| {
            format!(
                "pub pvf.v4.worker.{kind}.u.*.req pvf.v4.client.*.*.pull pvf.v4.status _INBOX.*.u.> \
                 _INBOX.*.@services.>\n\
                 sub pvf.v4.worker.{kind}.u.*.cmd pvf.v4.worker.{kind}.u.*.pull pvf.v4.coordinator.announce $SRV.> \
                 _INBOX.u.>"
            )
        };
        let expected: [String; Role::ALL.len()] = [
            "pub pvf.v4.client.u.*.req pvf.v4.worker.*.*.*.pull pvf.v4.status _INBOX.*.u.>\n\
             sub pvf.v4.client.u.*.verdict pvf.v4.client.u.*.pull pvf.v4.coordinator.announce _INBOX.u.>"
                .into(),
            worker("prepare"),
            worker("execute"),
            "pub pvf.v4.client.*.*.verdict pvf.v4.worker.*.*.*.cmd pvf.v4.event.> pvf.v4.coordinator.> \
             pvf.v4.status _INBOX.*.@coordinator.> _INBOX.u.u.> \
             $JS.API.STREAM.INFO.KV_pvf-coordinator $JS.API.STREAM.CREATE.KV_pvf-coordinator \
             $JS.API.STREAM.UPDATE.KV_pvf-coordinator $JS.API.STREAM.DELETE.KV_pvf-coordinator \
             $JS.API.STREAM.MSG.GET.KV_pvf-coordinator $KV.pvf-coordinator.> \
             _INBOX.*.@services.>\n\
             sub pvf.v4.client.*.*.req pvf.v4.worker.*.*.*.req pvf.v4.operator.*.req pvf.v4.status pvf.v4.api.* \
             pvf.v4.coordinator.> pvf.from-node pvf.from-worker $KV.pvf-coordinator.> $SRV.> _INBOX.u.>"
                .into(),
            "pub pvf.v4.status pvf.v4.api.* $SRV.> _INBOX.u.u.>\n\
             sub pvf.v4.event.> pvf.v4.coordinator.> _INBOX.u.>"
                .into(),
            "pub pvf.v4.operator.u.req pvf.v4.status pvf.v4.api.* $SRV.> _INBOX.u.u.>\n\
             sub pvf.v4.event.> pvf.v4.coordinator.> _INBOX.u.>"
                .into(),
        ];
        for (role, expected) in Role::ALL.into_iter().zip(expected) {
            assert_eq!(lines(&permissions(role, &user, &fleet)), expected, "{role}");
            assert_eq!(role.name().parse::<Role>().unwrap(), role);
        }
        assert!("admin".parse::<Role>().is_err());
    }

    #[test]
    fn a_template_has_the_name_of_a_jwt_and_a_configuration_is_one_map() {
        let fleet = FleetName::parse("f").unwrap();
        let client = template(Role::Client, &fleet);
        assert_eq!(client.publish[0], "f.v4.client.{{name()}}.*.req");
        let user = UserName::parse("o").unwrap();
        assert_eq!(
            permissions(Role::Observer, &user, &fleet).to_string(),
            "{ publish: { allow: [\"f.v4.status\", \"f.v4.api.*\", \"$SRV.>\", \"_INBOX.o.o.>\"] }, subscribe: { allow: [\"f.v4.event.>\", \
             \"f.v4.coordinator.>\", \"_INBOX.o.>\"] } }"
        );
    }
}
