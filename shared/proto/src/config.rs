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

/// Bytes of a message that are reserved for everything that is neither code nor PoV: ids, parameters, head data.
pub const ENVELOPE_RESERVE: usize = 64 * 1024;
