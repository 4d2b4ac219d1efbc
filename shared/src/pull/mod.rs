//! Moves bytes over the bus in chunks, from those who hold them to those who need them, whatever the bus's limit of a
//! payload is.
//!
//! * Who holds bytes registers them in [`Holdings`] or [`Results`] and runs [`serve`] on a subject of its own.
//! * Who needs them calls [`Puller::fetch`] with their hash and the subjects of all who may hold them. It keeps a
//!   window of requests outstanding, each for one chunk, goes on with the next holder where one fails, and checks the
//!   hash.
//!
//! Both sides are bounded against each other. A holder keeps at most a few MiB of answers that the bus has not taken
//! yet, however much is asked for. All that one [`Puller`] has outstanding is bounded too: what a NATS server holds
//! back for a slow connection has a limit (`max_pending`), beyond which the server ends the connection.

mod assembly;
mod error;
mod fetch;
mod holdings;
mod results;
mod serve;
#[cfg(test)]
mod tests;

pub use assembly::Sink;
pub use error::{HolderFault, PullError};
pub use fetch::{Puller, Wanted};
pub use holdings::{Hold, Holdings};
pub use results::{ResultLimits, Results};
pub use serve::serve;

use crate::{
    units::{KIB, MIB},
    wire::{CHUNK_ENVELOPE, MAX_CHUNK},
};
use std::time::Duration;
use tokio::sync::Semaphore;

/// How a [`Puller`] asks for chunks, and for how long.
#[derive(Debug, Clone)]
pub struct PullSettings {
    /// The most that is asked for at once, bytes: at most [`MAX_CHUNK`], and what fits into a message of the bus.
    pub chunk: usize,
    /// The most that one pull has outstanding, or holds behind a chunk that has not come, bytes; at least one chunk.
    pub window: usize,
    /// The most that all pulls of one [`Puller`] have outstanding, bytes; at least one chunk, and at most 8 payloads of
    /// the largest size. A NATS server holds back 64 MiB for a slow connection unless it is told otherwise.
    pub outstanding: usize,
    /// How long a holder may take to answer, besides the time for the bytes.
    pub grace: Duration,
    /// The slowest transfer that is waited for, bytes each second. A chunk is late after [`grace`](Self::grace) and the
    /// time for it and for all that was outstanding before it.
    pub slowest: u32,
    /// How often each holder is tried.
    pub rounds: u32,
    /// Pause before another round, plus at most as much again at random.
    pub pause: Duration,
    /// Longest time of a pull, besides the time that its bytes take at the [slowest](Self::slowest) rate, and the time
    /// that it waits for room in memory.
    pub patience: Duration,
}

impl Default for PullSettings {
    fn default() -> Self {
        Self {
            chunk: 256 * KIB,
            window: 4 * MIB,
            outstanding: 16 * MIB,
            grace: Duration::from_secs(1),
            slowest: 1_000_000,
            rounds: 2,
            pause: Duration::from_millis(200),
            patience: Duration::from_secs(10),
        }
    }
}

impl PullSettings {
    /// How long so many bytes take at the slowest rate.
    fn time_of(&self, bytes: u64) -> Duration {
        Duration::from_secs_f64(bytes as f64 / f64::from(self.slowest.max(1)))
    }

    /// What may be outstanding on a bus with this limit of a payload, bytes.
    fn outstanding_on(&self, max_payload: usize) -> usize {
        self.outstanding.min(max_payload.saturating_mul(8)).clamp(1, Semaphore::MAX_PERMITS)
    }

    /// The chunk for a bus with this limit of a payload, bytes.
    fn chunk_on(&self, max_payload: usize) -> usize {
        self.chunk.min(largest_chunk(max_payload)).min(self.outstanding).max(1)
    }
}

/// The largest chunk that fits into an answer on a bus with this limit of a payload, bytes.
fn largest_chunk(max_payload: usize) -> usize {
    MAX_CHUNK.min(max_payload.saturating_sub(CHUNK_ENVELOPE))
}
