//! The protocol between a node and its PVF worker executables: frames on a Unix socket, each of which is one message in
//! SCALE. Source of the layouts: the node's crates `polkadot-node-core-pvf` 36 and `polkadot-node-core-pvf-common` 29.
//!
//! The node speaks first: a handshake, to an execute worker also the executor parameters, then one request at a time.
//! It waits [`WALL_CLOCK_FACTOR`] times the time limit of a request for the
//! answer.

mod execute;
mod frames;
mod prepare;
#[cfg(test)]
mod tests;

pub use execute::{
    DescriptorVersion, ExecuteAnswer, ExecuteRequest, Executed, InternalError, JobError, JobResponse, WorkerError,
};
pub use frames::{Frame, read_frame, write_frame};
pub use prepare::{MemoryStats, PrepareAnswer, PrepareError, PrepareJobKind, PrepareRequest, Prepared};

use bytes::Bytes;
use parity_scale_codec::{Decode, Encode, decode_from_bytes};
use pvf_shared::units::WALL_CLOCK_FACTOR;
use std::time::Duration;

/// How long a node waits for the answer to a request with this CPU time limit.
pub fn wall_clock_limit(timeout: Duration) -> Duration {
    timeout.saturating_mul(WALL_CLOCK_FACTOR)
}

/// The longest message of a node, bytes: a code or a PoV of the largest size that a fleet takes, and what is around it.
pub const MAX_FRAME: u64 = pvf_shared::config::MAX_PULLED + (1 << 20);

/// The first message to a worker: which security mechanisms the node has found to work. A fleet's workers find that out
/// themselves.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Handshake {
    /// The node runs in secure validator mode.
    pub secure_validator_mode: bool,
    /// The probe for landlock succeeded.
    pub landlock: bool,
    /// The probe for seccomp succeeded.
    pub seccomp: bool,
    /// The probe for a user namespace with a root of its own succeeded.
    pub change_root: bool,
    /// The probe for a clone into namespaces succeeded.
    pub secure_clone: bool,
}

/// A message of the node that is not understood: this node speaks another version of the protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// It does not decode.
    #[error("{what} of the node: {why}")]
    Undecodable {
        /// The message.
        what: &'static str,
        /// The error of the decoder.
        why: String,
    },
    /// Bytes are left over.
    #[error("{what} of the node: {left} bytes are left over at its end, so the node is of a version that is not known")]
    LeftOver {
        /// The message.
        what: &'static str,
        /// How many bytes.
        left: usize,
    },
}

/// Decodes a whole message. Byte strings in it share the memory of the message.
pub fn decode<T: Decode + Encode>(what: &'static str, frame: &Bytes) -> Result<T, Malformed> {
    let message: T =
        decode_from_bytes(frame.clone()).map_err(|e| Malformed::Undecodable { what, why: e.to_string() })?;
    match frame.len().saturating_sub(message.encoded_size()) {
        0 => Ok(message),
        left => Err(Malformed::LeftOver { what, left }),
    }
}
