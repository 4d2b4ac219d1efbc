//! Every NATS subject of the fleet. No other file makes or parses one.
//!
//! | subject | who publishes | who listens |
//! |---|---|---|
//! | `<fleet>.from-node` | nodes | coordinator |
//! | `<fleet>.from-worker` | workers | coordinator |
//! | `<fleet>.worker.<worker id>` | coordinator | that worker |
//! | `<fleet>.node.<node id>` | coordinator | that node |

use crate::ids::{FleetName, NodeId, WorkerId};
use std::fmt;

/// A subject, made only here.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Subject(String);

impl Subject {
    /// The subject as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A reply subject as the bus gave it.
    pub(crate) fn reply(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What nodes send to the coordinator.
pub fn from_node(fleet: &FleetName) -> Subject {
    Subject(format!("{fleet}.from-node"))
}

/// What workers send to the coordinator.
pub fn from_worker(fleet: &FleetName) -> Subject {
    Subject(format!("{fleet}.from-worker"))
}

/// What the coordinator sends to one worker.
pub fn worker(fleet: &FleetName, worker: &WorkerId) -> Subject {
    Subject(format!("{fleet}.worker.{worker}"))
}

/// What the coordinator sends to one node.
pub fn node(fleet: &FleetName, node: &NodeId) -> Subject {
    Subject(format!("{fleet}.node.{node}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn golden_subjects() {
        let fleet = FleetName::default();
        assert_eq!(from_node(&fleet).as_str(), "pvf.from-node");
        assert_eq!(from_worker(&fleet).as_str(), "pvf.from-worker");
        let id = Uuid::from_u128(7);
        assert_eq!(worker(&fleet, &WorkerId(id)).as_str(), format!("pvf.worker.{}7", "0".repeat(31)));
        assert_eq!(node(&fleet, &NodeId(id)).as_str(), format!("pvf.node.{}7", "0".repeat(31)));
    }
}
