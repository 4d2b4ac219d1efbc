//! Why bytes could not be pulled.

use crate::{bus::BusError, content::Content, subjects::Subject, wire::WireError};
use std::{fmt::Write as _, io, sync::Arc, time::Duration};

/// Why a pull failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PullError {
    /// The content is larger than the caller allows.
    #[error("{content}: {len} bytes are over the limit of {limit} bytes")]
    TooLarge {
        /// What was wanted.
        content: Content,
        /// Its length, bytes.
        len: u64,
        /// The caller's limit, bytes.
        limit: u64,
    },
    /// This machine refuses room for the bytes.
    #[error("{content}: no room on this machine: {error}")]
    NoRoom {
        /// What was wanted.
        content: Content,
        /// Why there is none.
        error: Arc<io::Error>,
    },
    /// No holder has delivered the content.
    #[error("{content}: not pulled within {:.1} s: {}", .after.as_secs_f64(), list(.holders))]
    Failed {
        /// What was wanted.
        content: Content,
        /// How long it was tried.
        after: Duration,
        /// All holders in the given order, with the last fault of each; `None` if it was not asked any more.
        holders: Vec<(Subject, Option<HolderFault>)>,
    },
}

impl PullError {
    /// Whether every holder has said that it does not have the content, or is gone.
    pub fn is_held_by_nobody(&self) -> bool {
        let gone = |fault: &Option<HolderFault>| {
            matches!(fault, Some(HolderFault::Missing | HolderFault::Bus(BusError::NoResponders(_))))
        };
        match self {
            Self::TooLarge { .. } | Self::NoRoom { .. } => false,
            Self::Failed { holders, .. } => holders.iter().all(|(_, fault)| gone(fault)),
        }
    }
}

fn list(holders: &[(Subject, Option<HolderFault>)]) -> String {
    if holders.is_empty() {
        return "it has no holder".into();
    }
    let mut text = String::new();
    for (n, (holder, fault)) in holders.iter().enumerate() {
        let separator = if n == 0 { "" } else { "; " };
        // Writing to a String cannot fail.
        let _ = match fault {
            Some(fault) => write!(text, "{separator}{holder}: {fault}"),
            None => write!(text, "{separator}{holder}: not asked in time"),
        };
    }
    text
}

/// What one holder did wrong.
#[derive(Debug, Clone, thiserror::Error)]
pub enum HolderFault {
    /// It does not have the content.
    #[error("does not have it")]
    Missing,
    /// It has no subscriber, or a chunk was late, or the bus failed.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// The time of the pull was over before it had answered.
    #[error("the time of the pull was over")]
    OutOfTime,
    /// It told another length than the request, or than before.
    #[error("told a length of {told} bytes instead of {expected}")]
    WrongLength {
        /// The length that it told, bytes.
        told: u64,
        /// The length that the content should have, bytes.
        expected: u64,
    },
    /// It told a length over the caller's limit.
    #[error("told a length of {told} bytes, over the limit of {limit} bytes")]
    TooLarge {
        /// The length that it told, bytes.
        told: u64,
        /// The caller's limit, bytes.
        limit: u64,
    },
    /// A chunk was longer than asked for, or shorter without need.
    #[error("sent {len} bytes at offset {offset} when asked for {asked}")]
    WrongChunk {
        /// Where the chunk begins, bytes.
        offset: u64,
        /// Length of the chunk, bytes.
        len: usize,
        /// The length asked for, bytes.
        asked: usize,
    },
    /// It says that the content ends before a chunk that is inside its length.
    #[error("says that offset {offset} is outside of {told} bytes")]
    OutOfRange {
        /// Where the chunk begins, bytes.
        offset: u64,
        /// The length that it told, bytes.
        told: u64,
    },
    /// It alone sent all bytes, and their hash is another one.
    #[error("sent bytes with another hash")]
    WrongHash,
    /// Its answer is not one.
    #[error(transparent)]
    Malformed(#[from] WireError),
    /// It could not decode the request.
    #[error("did not understand the request: {0}")]
    NotUnderstood(String),
}

impl HolderFault {
    /// Whether the holder is wrong, so that nothing of it is used and it is not asked again.
    pub(super) fn is_final(&self) -> bool {
        match self {
            Self::Missing | Self::Bus(_) | Self::OutOfTime => false,
            Self::WrongLength { .. }
            | Self::TooLarge { .. }
            | Self::WrongChunk { .. }
            | Self::OutOfRange { .. }
            | Self::WrongHash
            | Self::Malformed(_)
            | Self::NotUnderstood(_) => true,
        }
    }
}
