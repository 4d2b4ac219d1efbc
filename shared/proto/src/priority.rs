//! Priorities of preparations and executions.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// Priority of a preparation, least urgent first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PreparePriority {
    /// A heads-up: the code may be needed later.
    Background,
    /// Needed for backing or pre-checking.
    Normal,
    /// Needed for an approval or a dispute.
    Critical,
}

impl PreparePriority {
    /// All priorities, least urgent first.
    pub const ALL: [Self; 3] = [Self::Background, Self::Normal, Self::Critical];

    /// Name in JSON and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Background => "background",
            Self::Normal => "normal",
            Self::Critical => "critical",
        }
    }
}

/// Purpose of an execution, most urgent first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExecuteKind {
    /// A dispute about the candidate.
    Dispute,
    /// An approval check.
    Approval,
    /// Backing of a system parachain's candidate.
    BackingSystem,
    /// Backing of any other candidate.
    Backing,
}

impl ExecuteKind {
    /// All kinds, most urgent first.
    pub const ALL: [Self; 4] = [Self::Dispute, Self::Approval, Self::BackingSystem, Self::Backing];

    /// Priority of preparing the code for such a request.
    pub fn prepare_priority(self) -> PreparePriority {
        match self {
            Self::Dispute | Self::Approval => PreparePriority::Critical,
            Self::BackingSystem | Self::Backing => PreparePriority::Normal,
        }
    }

    /// Time-out class: disputes have the lenient time-out of approvals.
    pub fn exec_timeout_kind(self) -> crate::params::PvfExecKind {
        match self {
            Self::Dispute | Self::Approval => crate::params::PvfExecKind::Approval,
            Self::BackingSystem | Self::Backing => crate::params::PvfExecKind::Backing,
        }
    }

    /// Name on the command line and in metrics; the inverse of [`FromStr`].
    pub fn name(self) -> &'static str {
        match self {
            Self::Dispute => "dispute",
            Self::Approval => "approval",
            Self::BackingSystem => "backing-system",
            Self::Backing => "backing",
        }
    }
}

impl fmt::Display for ExecuteKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for ExecuteKind {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|k| k.name() == s)
            .ok_or_else(|| format!("kind: {s:?} is none of backing, backing-system, approval, dispute"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_orders_follow_urgency_and_names_round_trip() {
        assert!(PreparePriority::Background < PreparePriority::Normal);
        assert!(PreparePriority::Normal < PreparePriority::Critical);
        assert!(ExecuteKind::ALL.is_sorted());
        for kind in ExecuteKind::ALL {
            assert_eq!(kind.name().parse::<ExecuteKind>().unwrap(), kind);
        }
    }
}
