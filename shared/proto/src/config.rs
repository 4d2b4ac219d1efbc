//! Protocol settings that must be the same in every role of a fleet.

use std::time::Duration;

/// Heartbeat, acknowledgement and retry intervals; they must match across the fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProtocolTimeouts {
    /// Interval between the heartbeats of a worker.
    pub heartbeat: Duration,
    /// The coordinator declares a worker lost after this much silence.
    pub worker_silence: Duration,
    /// How long a sender waits for the answer to one message before it repeats the message.
    pub ack: Duration,
    /// Interval at which a node asks for verdicts that have not arrived.
    pub ask_again: Duration,
}

impl Default for ProtocolTimeouts {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_secs(1),
            worker_silence: Duration::from_secs(6),
            ack: Duration::from_secs(2),
            ask_again: Duration::from_secs(3),
        }
    }
}

impl ProtocolTimeouts {
    /// How long a worker may delay the answer to a dispatch. If the job ends within this time, the answer carries its
    /// report, which saves one message.
    pub fn hold_back(&self) -> Duration {
        self.ack / 40
    }

    /// How long the coordinator may delay the answer to a submission. A verdict within this time stands for the
    /// acceptance, which saves one message.
    pub fn hold_acceptance(&self) -> Duration {
        self.ack / 8
    }
}

/// Most jobs that a worker stages behind its slots, whatever the coordinator's policy.
pub const MAX_STAGED: u32 = 64;

/// The most bytes of one input or result that travel in a message; larger ones are pulled.
pub const INLINE_MAX: usize = 64 * 1024;

/// The largest code, block data or result that is pulled, bytes.
pub const MAX_PULLED: u64 = 256 << 20;

/// The most bytes of one input or result that travel in a message on a bus with this limit of a payload: a message has
/// parameters and head data as well.
pub const fn inline_max_on(max_payload: usize) -> usize {
    let share = max_payload / 4;
    if share < INLINE_MAX { share } else { INLINE_MAX }
}

/// The longest submission on a bus with this limit of a payload, bytes: the coordinator adds ids and holders when it
/// dispatches the job.
pub const fn submission_max_on(max_payload: usize) -> usize {
    max_payload - max_payload / 16
}
