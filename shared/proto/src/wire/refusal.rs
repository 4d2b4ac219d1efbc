//! Refusals between coordinator and worker as types.
//!
//! The protocol carries a refusal as text. The text begins with a code and a colon (`no-free-slot: …`), so that
//! the receiver gets the type back; text without a known code becomes `Other`. These texts are written and parsed only
//! here.

use super::{WorkerKind, version::VersionRange};
use crate::{
    ids::{EngineId, FencingToken},
    keys::{self, KeyFingerprint},
    verdict::clean_reason,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{fmt, str::FromStr};

/// Why a worker refuses a command of the coordinator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandRefusal {
    /// The fencing token is lower than the highest one that the worker has seen.
    StaleToken {
        /// Token of the command.
        got: FencingToken,
        /// Highest token seen.
        highest: FencingToken,
    },
    /// The job is for the other kind of worker.
    WrongKind(WorkerKind),
    /// The artifact is for another engine than the worker's, which is named.
    WrongEngine(EngineId),
    /// Every slot is taken and the worker holds as many staged jobs as it may.
    NoFreeSlot,
    /// The worker takes no new jobs.
    Draining,
    /// A recall came too late, or for an attempt that the worker does not hold.
    NotStaged,
    /// The message cannot be decoded.
    NotUnderstood(String),
    /// Text without a known code, from another version.
    Other(String),
}

impl fmt::Display for CommandRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StaleToken { got, highest } => write!(f, "stale-token: {} is older than {}", got.0, highest.0),
            Self::WrongKind(own) => write!(f, "wrong-kind: this is a worker of kind {own}"),
            Self::WrongEngine(own) => write!(f, "wrong-engine: this worker's engine is {own}"),
            Self::NoFreeSlot => f.write_str("no-free-slot: no slot is free and no more jobs may be staged"),
            Self::Draining => f.write_str("draining: this worker takes no new jobs"),
            Self::NotStaged => f.write_str("not-staged: the attempt has begun, has ended or is not here"),
            Self::NotUnderstood(why) => write!(f, "not-understood: {why}"),
            Self::Other(text) => f.write_str(text),
        }
    }
}

impl FromStr for CommandRefusal {
    type Err = std::convert::Infallible;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = clean_reason(text);
        Ok(parse_command_refusal(&text).unwrap_or(Self::Other(text)))
    }
}

fn parse_command_refusal(text: &str) -> Option<CommandRefusal> {
    let (code, rest) = text.split_once(": ")?;
    Some(match code {
        "stale-token" => {
            let (got, highest) = rest.split_once(" is older than ")?;
            let token = |text: &str| text.parse().ok().map(FencingToken);
            CommandRefusal::StaleToken { got: token(got)?, highest: token(highest)? }
        }
        "wrong-kind" => match rest.strip_prefix("this is a worker of kind ")? {
            "prepare" => CommandRefusal::WrongKind(WorkerKind::Prepare),
            "execute" => CommandRefusal::WrongKind(WorkerKind::Execute),
            _ => return None,
        },
        "wrong-engine" => {
            CommandRefusal::WrongEngine(EngineId::parse(rest.strip_prefix("this worker's engine is ")?).ok()?)
        }
        "no-free-slot" => CommandRefusal::NoFreeSlot,
        "draining" => CommandRefusal::Draining,
        "not-staged" => CommandRefusal::NotStaged,
        "not-understood" => CommandRefusal::NotUnderstood(clean_reason(rest)),
        _ => return None,
    })
}

/// Why the coordinator refuses a message of a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WorkerRefusal {
    /// The number of slots in a registration is out of range.
    Slots {
        /// Number in the registration.
        slots: u32,
        /// Largest allowed number; the smallest is 1.
        max: u32,
    },
    /// The fleet has reached its limit of workers.
    FleetFull {
        /// The limit.
        max: u32,
    },
    /// There is no version of the protocol that both speak.
    Version {
        /// What the worker speaks.
        worker: VersionRange,
        /// What the fleet speaks.
        fleet: VersionRange,
    },
    /// The worker signs artifacts with a key that the fleet does not trust, or does not trust one that the fleet
    /// trusts.
    WrongKeys {
        /// The key that it signs with, or the keys that it trusts.
        worker: Vec<KeyFingerprint>,
        /// The keys that the coordinator trusts.
        fleet: Vec<KeyFingerprint>,
    },
    /// The message cannot be decoded.
    NotUnderstood(String),
    /// Text without a known code, from another version.
    Other(String),
}

impl fmt::Display for WorkerRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Slots { slots, max } => write!(f, "slots: {slots} is outside 1..={max}"),
            Self::FleetFull { max } => write!(f, "fleet-full: the fleet has {max} workers already"),
            Self::Version { worker, fleet } => {
                write!(f, "version: the worker speaks {worker}, the fleet {fleet}: upgrade the one with the lower")
            }
            Self::WrongKeys { worker, fleet } => {
                write!(f, "wrong-keys: the worker has {}{WRONG_KEYS}{}", keys::listed(worker), keys::listed(fleet))
            }
            Self::NotUnderstood(why) => write!(f, "not-understood: {why}"),
            Self::Other(text) => f.write_str(text),
        }
    }
}

impl FromStr for WorkerRefusal {
    type Err = std::convert::Infallible;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = clean_reason(text);
        Ok(parse_worker_refusal(&text).unwrap_or(Self::Other(text)))
    }
}

/// Between the keys of a worker and those of the fleet.
const WRONG_KEYS: &str = ", but the fleet trusts ";

fn parse_keys(text: &str) -> Option<Vec<KeyFingerprint>> {
    if text == "none" {
        return Some(Vec::new());
    }
    text.split(", ").map(|key| key.parse().ok()).collect()
}

fn parse_worker_refusal(text: &str) -> Option<WorkerRefusal> {
    let (code, rest) = text.split_once(": ")?;
    Some(match code {
        "slots" => {
            let (slots, max) = rest.split_once(" is outside 1..=")?;
            WorkerRefusal::Slots { slots: slots.parse().ok()?, max: max.parse().ok()? }
        }
        "fleet-full" => {
            let max = rest.strip_prefix("the fleet has ")?.strip_suffix(" workers already")?;
            WorkerRefusal::FleetFull { max: max.parse().ok()? }
        }
        "version" => {
            let (worker, rest) = rest.strip_prefix("the worker speaks ")?.split_once(", the fleet ")?;
            let fleet = rest.strip_suffix(": upgrade the one with the lower")?;
            WorkerRefusal::Version { worker: parse_range(worker)?, fleet: parse_range(fleet)? }
        }
        "wrong-keys" => {
            let (worker, fleet) = rest.strip_prefix("the worker has ")?.split_once(WRONG_KEYS)?;
            WorkerRefusal::WrongKeys { worker: parse_keys(worker)?, fleet: parse_keys(fleet)? }
        }
        "not-understood" => WorkerRefusal::NotUnderstood(clean_reason(rest)),
        _ => return None,
    })
}

fn parse_range(text: &str) -> Option<VersionRange> {
    let (min, max) = text.split_once(" to ").unwrap_or((text, text));
    let range = VersionRange { min: min.parse().ok()?, max: max.parse().ok()? };
    // Only the form in which a range is written.
    (range.to_string() == text).then_some(range)
}

macro_rules! as_text {
    ($name:ident) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = String::deserialize(d)?;
                Ok(text.parse().unwrap_or_else(|never: std::convert::Infallible| match never {}))
            }
        }
    };
}

as_text!(CommandRefusal);
as_text!(WorkerRefusal);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_refusals_round_trip_as_text() {
        let token = FencingToken;
        for refusal in [
            CommandRefusal::StaleToken { got: token(5), highest: token(u64::MAX) },
            CommandRefusal::WrongKind(WorkerKind::Prepare),
            CommandRefusal::WrongKind(WorkerKind::Execute),
            CommandRefusal::WrongEngine(EngineId::parse("wt36-x").unwrap()),
            CommandRefusal::NoFreeSlot,
            CommandRefusal::Draining,
            CommandRefusal::NotStaged,
            CommandRefusal::NotUnderstood("unknown version".into()),
            CommandRefusal::Other("something new: 7".into()),
            CommandRefusal::Other("stale-token: x is older than 7".into()),
        ] {
            assert_eq!(refusal.to_string().parse(), Ok(refusal));
        }
    }

    #[test]
    fn worker_refusals_round_trip_as_text() {
        for refusal in [
            WorkerRefusal::Slots { slots: 0, max: 1024 },
            WorkerRefusal::FleetFull { max: 7 },
            WorkerRefusal::Version { worker: VersionRange { min: 5, max: 6 }, fleet: VersionRange { min: 4, max: 4 } },
            WorkerRefusal::WrongKeys { worker: vec![], fleet: vec![KeyFingerprint::Key([7; 8])] },
            WorkerRefusal::WrongKeys {
                worker: vec![KeyFingerprint::Unsigned, KeyFingerprint::Key([8; 8])],
                fleet: vec![KeyFingerprint::Key([7; 8]), KeyFingerprint::Key([9; 8])],
            },
            WorkerRefusal::Other("wrong-keys: the worker has x, but the fleet trusts none".into()),
            WorkerRefusal::NotUnderstood("version".into()),
            WorkerRefusal::Other("fleet-full: of stars".into()),
        ] {
            assert_eq!(refusal.to_string().parse(), Ok(refusal));
        }
    }

    #[test]
    fn text_of_any_kind_has_one_meaning() {
        let texts = ["\0\0\0", " \0x\u{85}", "no-free-slot:\0x", "not-understood: \0", "not-understood:  a ", ": ", ""];
        let long = "not-understood: é".repeat(200);
        for text in texts.into_iter().chain([long.as_str()]) {
            let Ok(command) = text.parse::<CommandRefusal>();
            assert_eq!(command.to_string().parse(), Ok(command), "{text:?}");
            let Ok(worker) = text.parse::<WorkerRefusal>();
            assert_eq!(worker.to_string().parse(), Ok(worker), "{text:?}");
        }
    }
}
