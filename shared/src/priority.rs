//! How urgent work is: for preparing and for executing.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// Urgency of a preparation, least urgent first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PreparePriority {
    /// A heads-up: the code may be needed some time.
    Background,
    /// Needed for backing or pre-checking.
    Normal,
    /// Needed for an approval or a dispute.
    Critical,
}

/// Why a candidate is executed, most urgent first.
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

    /// How urgently the code is prepared for such a request.
    pub fn prepare_priority(self) -> PreparePriority {
        match self {
            Self::Dispute | Self::Approval => PreparePriority::Critical,
            Self::BackingSystem | Self::Backing => PreparePriority::Normal,
        }
    }

    /// The class of time-out: backing or approval (disputes use the lenient one too).
    pub fn exec_timeout_kind(self) -> crate::params::PvfExecKind {
        match self {
            Self::Dispute | Self::Approval => crate::params::PvfExecKind::Approval,
            Self::BackingSystem | Self::Backing => crate::params::PvfExecKind::Backing,
        }
    }

    /// Name on the command line and in metrics.
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
    fn order_is_urgency() {
        assert!(PreparePriority::Background < PreparePriority::Normal);
        assert!(PreparePriority::Normal < PreparePriority::Critical);
        assert!(ExecuteKind::ALL.is_sorted());
        for kind in ExecuteKind::ALL {
            assert_eq!(kind.name().parse::<ExecuteKind>().unwrap(), kind);
        }
    }
}
