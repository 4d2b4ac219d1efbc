//! Every bus message, versioned. MessagePack with named fields, and this is the only place that uses it for
//! the bus.
//!
//! A frame is `{"v": version, "m": message}`. A receiver refuses a newer version with
//! [`WireError::NewerVersion`]; fields may be added within a version only if an old receiver may ignore
//! them.

mod from_node;
mod from_worker;
#[cfg(test)]
mod golden;
mod to_node;
mod to_worker;

pub use from_node::{
    ActiveLeaf, ActiveLeavesUpdate, AskReply, Capacity, CodeRef, ExecuteSubmission, FleetStatus, FromNode, MAX_ASKED,
    Refusal, Submission, SubmitReply, Work, WorkerStatus,
};
pub use from_worker::{
    FromWorker, Heartbeat, Holding, JobReport, RunningJob, SecurityStatus, WorkerHello, WorkerKind, WorkerReply,
};
pub use to_node::{ArtifactSummary, Timings, ToNode, Verdict};
pub use to_worker::{Dispatch, DispatchReply, ToWorker};

use crate::verdict::clean_reason;
use bytes::Bytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// The version that this build speaks.
pub const VERSION: u16 = 3;

/// A message that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Its sender speaks a newer version.
    #[error("message of protocol version {theirs}, this side speaks up to {ours}: upgrade it")]
    NewerVersion {
        /// The message's version.
        theirs: u16,
        /// Ours.
        ours: u16,
    },
    /// Not a message.
    #[error("malformed message ({len} bytes): {why}")]
    Malformed {
        /// Its size, bytes.
        len: usize,
        /// What is wrong.
        why: String,
    },
}

#[derive(Deserialize)]
struct Peek {
    v: u16,
}

#[derive(Serialize)]
struct FrameOut<'a, T> {
    v: u16,
    m: &'a T,
}

#[derive(Deserialize)]
struct FrameIn<T> {
    m: T,
}

/// A type that travels on the bus.
pub trait WireMessage: Serialize + DeserializeOwned {}

impl WireMessage for FromNode {}
impl WireMessage for SubmitReply {}
impl WireMessage for AskReply {}
impl WireMessage for FleetStatus {}
impl WireMessage for ToNode {}
impl WireMessage for FromWorker {}
impl WireMessage for WorkerReply {}
impl WireMessage for ToWorker {}
impl WireMessage for DispatchReply {}

/// The bytes of a part of a message, to be hashed.
fn encode_part(part: &impl Serialize) -> Vec<u8> {
    match rmp_serde::to_vec(part) {
        Ok(bytes) => bytes,
        Err(e) => unreachable!("part of a message cannot be encoded: {e}"),
    }
}

/// The bytes of a message.
pub fn encode<T: WireMessage>(message: &T) -> Bytes {
    match rmp_serde::to_vec_named(&FrameOut { v: VERSION, m: message }) {
        Ok(bytes) => bytes.into(),
        // Our types hold nothing that MessagePack cannot express and a Vec can always be written to.
        Err(e) => unreachable!("message cannot be encoded: {e}"),
    }
}

/// Reads a message.
pub fn decode<T: WireMessage>(bytes: &[u8]) -> Result<T, WireError> {
    // It may quote any part of what a stranger sent, and goes into logs and back to the sender.
    let malformed =
        |e: rmp_serde::decode::Error| WireError::Malformed { len: bytes.len(), why: clean_reason(&e.to_string()) };
    let Peek { v } = rmp_serde::from_slice(bytes).map_err(malformed)?;
    if v > VERSION {
        return Err(WireError::NewerVersion { theirs: v, ours: VERSION });
    }
    rmp_serde::from_slice::<FrameIn<T>>(bytes).map(|f| f.m).map_err(malformed)
}
