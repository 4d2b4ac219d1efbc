//! Settings that every role of the fleet shares.

use std::time::Duration;

/// The clockwork that both ends of the bus must agree on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// How often a worker reports that it is alive.
    pub heartbeat: Duration,
    /// How long a worker may be silent before it is judged lost.
    pub worker_silence: Duration,
    /// How long a sender waits for the acknowledgement of one message.
    pub ack: Duration,
    /// How often a node asks for a verdict that has not come.
    pub ask_again: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_secs(1),
            worker_silence: Duration::from_secs(6),
            ack: Duration::from_secs(2),
            ask_again: Duration::from_secs(3),
        }
    }
}

impl Timing {
    /// How long a worker may hold back that it has taken a job: one that ends within this is answered by its report,
    /// and a message less goes over the bus.
    pub fn hold_back(&self) -> Duration {
        self.ack / 40
    }

    /// How long a coordinator may hold back that it has accepted a request: a verdict within this says so as well, and
    /// a message less goes over the bus.
    pub fn hold_acceptance(&self) -> Duration {
        self.ack / 8
    }
}

/// Jobs that a worker holds ahead of its slots at the most, whatever the coordinator's policy.
pub const MAX_AHEAD: u32 = 64;

/// Bytes of a message that are kept free for everything that is not code or PoV: ids, parameters, head data.
pub const ENVELOPE_RESERVE: usize = 64 * 1024;
