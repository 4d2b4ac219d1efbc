//! Which machine a worker runs on: by what the machine itself says, not by a name that a container may choose.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Names one fact about a machine: a hash of it, so that the fact itself is not told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct HostMark(Uuid);

impl HostMark {
    fn of(what: &str, text: &str) -> Self {
        let hash = blake3::hash(format!("pvf-fleet {what} {text}").as_bytes());
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hash.as_bytes()[..16]);
        Self(Uuid::from_bytes(bytes))
    }

    /// The mark of a name that an operator gave the machine.
    pub fn of_name(name: &str) -> Self {
        Self::of("name", name)
    }
}

/// What tells machines apart. Two workers are on one machine if either mark is the same: all containers of a machine
/// have one kernel, and so one boot id, and a machine that was started again has another boot id and the same machine
/// id.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostIdentity {
    /// Of the machine id, or of the name that the operator gave the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<HostMark>,
    /// Of the boot id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<HostMark>,
}

impl HostIdentity {
    /// From the machine id and the boot id, as far as they are known.
    pub fn new(machine_id: Option<&str>, boot_id: Option<&str>) -> Self {
        let machine = machine_id.map(|id| HostMark::of("machine", id));
        Self { machine, boot: boot_id.map(|id| HostMark::of("boot", id)) }
    }

    /// That of a machine with a name given by the operator, which stands for everything else.
    pub fn named(name: &str) -> Self {
        Self { machine: Some(HostMark::of_name(name)), boot: None }
    }

    /// Whether nothing is known of the machine.
    pub fn is_unknown(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_tell_facts_of_different_kinds_apart() {
        let identity = HostIdentity::new(Some("a"), Some("a"));
        assert_ne!(identity.machine, identity.boot);
        assert_ne!(HostIdentity::named("a").machine, identity.machine);
        assert_eq!(HostIdentity::new(Some("a"), None), HostIdentity { boot: None, ..identity });
        assert!(HostIdentity::new(None, None).is_unknown() && !HostIdentity::named("").is_unknown());
    }
}
