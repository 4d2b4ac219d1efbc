//! The NATS subjects of the fleet. Subjects are built only here.
//!
//! | subject | publisher | subscriber |
//! |---|---|---|
//! | `<fleet>.from-node` | nodes | coordinator |
//! | `<fleet>.from-worker` | workers | coordinator |
//! | `<fleet>.worker.<worker id>` | coordinator | that worker |
//! | `<fleet>.node.<node id>` | coordinator | that node |
//! | `<fleet>.echo.<random id>` | coordinator | the same coordinator, to know whether it hears |

use crate::ids::{FleetName, NodeId, WorkerId};
use std::fmt;
use uuid::Uuid;

/// A subject of the bus.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Subject(String);

impl Subject {
    /// The subject as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A reply subject that the bus assigned. Only implementations of a bus call this.
    pub fn reply(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Messages of nodes to the coordinator.
pub fn from_node(fleet: &FleetName) -> Subject {
    Subject(format!("{fleet}.from-node"))
}

/// Messages of workers to the coordinator.
pub fn from_worker(fleet: &FleetName) -> Subject {
    Subject(format!("{fleet}.from-worker"))
}

/// Messages of the coordinator to one worker.
pub fn worker(fleet: &FleetName, worker: &WorkerId) -> Subject {
    Subject(format!("{fleet}.worker.{worker}"))
}

/// Messages of the coordinator to one node.
pub fn node(fleet: &FleetName, node: &NodeId) -> Subject {
    Subject(format!("{fleet}.node.{node}"))
}

/// Messages of a coordinator to itself.
pub fn echo(fleet: &FleetName, id: &Uuid) -> Subject {
    Subject(format!("{fleet}.echo.{id}", id = id.simple()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_subjects() {
        let fleet = FleetName::default();
        assert_eq!(from_node(&fleet).as_str(), "pvf.from-node");
        assert_eq!(from_worker(&fleet).as_str(), "pvf.from-worker");
        let id = Uuid::from_u128(7);
        assert_eq!(worker(&fleet, &WorkerId(id)).as_str(), format!("pvf.worker.{}7", "0".repeat(31)));
        assert_eq!(node(&fleet, &NodeId(id)).as_str(), format!("pvf.node.{}7", "0".repeat(31)));
        assert_eq!(echo(&fleet, &id).as_str(), format!("pvf.echo.{}7", "0".repeat(31)));
    }
}
