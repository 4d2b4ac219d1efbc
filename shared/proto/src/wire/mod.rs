//! The bus messages and their encoding. Bus messages are encoded and decoded only here.
//!
//! A frame is the MessagePack map `{"v": version, "by": term, "m": message}` with named fields. `by` is there in the
//! messages and answers of a coordinator only: the [`Term`] in which it sent them. A receiver refuses a newer version
//! with [`WireError::NewerVersion`]. Within a version a field may be added only if an old receiver may ignore it.
//!
//! `golden.txt` pins the bytes of every message. These parts of version 4 are reserved: nothing sends them today, and
//! every receiver decodes them:
//!
//! * [`Holding::Warm`]: a worker reports only artifacts on disk ([`Holding::OnDisk`]). The coordinator prefers a worker
//!   that reported an artifact as warm.
//! * [`InternalError::Bus`](crate::verdict::InternalError::Bus): a component that lost the bus cannot report it over
//!   the bus.

mod announcement;
mod from_client;
mod from_operator;
mod from_worker;
#[cfg(test)]
mod golden;
mod held;
mod older;
mod opinions;
mod pull;
mod refusal;
mod to_client;
mod to_worker;
mod version;

pub use crate::identity::WorkerKind;
pub use announcement::Announcement;
pub use from_client::{
    ActiveLeaf, ActiveLeavesUpdate, AskReply, Capacity, CompilingRequest, ExecuteSubmission, FleetStatus, FromClient,
    MAX_ASKED, MAX_SANDBOX_ENTRIES, MAX_WORKERS_LISTED, MissingMechanism, Refusal, SandboxSummary, StatusQuestion,
    Submission, SubmitReply, Work, WorkerStatus,
};
pub use from_operator::{
    ArtifactChoice, Cancellation, DrainState, Fate, FromOperator, MAX_DRAINED, MAX_PINNED, MAX_REMOVED, MAX_SAME_ID,
    OperatorReply, Pinning, Removal, Removed, RemovedArtifact, WorkerDrain,
};
pub use from_worker::{
    CompileProgress, Compiling, FromWorker, Heartbeat, Holding, JobReport, MAX_OTHER_ENGINES, MAX_TRUSTED_KEYS,
    RunningJob, SecurityStatus, WorkerHello, WorkerReply,
};
pub use held::{HeldAttempt, HeldPreparation, HeldStage, HeldWork, MAX_HELD};
pub use older::{refuse_older_client, refuse_older_worker};
pub use opinions::{Opinion, OpinionResult, SecondOpinion};
pub use pull::{CHUNK_ENVELOPE, MAX_CHUNK, Pull, PullReply, decode_pull_reply};
pub use refusal::{CommandRefusal, WorkerRefusal};
pub use to_client::{
    ArtifactSummary, AttemptUsage, MAX_ATTEMPTS_SHOWN, PreparationUsage, Timings, ToClient, Verdict, VerdictUsage,
};
pub use to_worker::{Dispatch, DispatchReply, MAX_HOLDERS, ToWorker};
pub use version::{SPEAKS, VERSION, VersionRange};

use crate::{ids::Term, verdict::clean_reason};
use bytes::Bytes;
use serde::{
    Deserialize, Deserializer as _, Serialize,
    de::{DeserializeOwned, Error as _, IgnoredAny, MapAccess, Visitor},
};
use std::fmt;

/// Why a message could not be decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The sender speaks a newer version.
    #[error("message of protocol version {received}, but this build supports at most {supported}: upgrade it")]
    NewerVersion {
        /// Version of the message.
        received: u16,
        /// Version of this build.
        supported: u16,
    },
    /// The sender speaks a version that this build does not speak any more.
    #[error("message of protocol version {received}, but this build supports versions {supported}: upgrade the sender")]
    OlderVersion {
        /// Version of the message.
        received: u16,
        /// Versions of this build.
        supported: VersionRange,
    },
    /// The bytes are not a message of the expected type.
    #[error("malformed message ({len} bytes): {why}")]
    Malformed {
        /// Size of the message, bytes.
        len: usize,
        /// Error of the decoder, cleaned and shortened.
        why: String,
    },
}

/// What a frame says besides its message.
#[derive(Default)]
struct FrameHead {
    v: Option<u16>,
    by: Option<Term>,
}

/// Reads the head of a frame, whatever its message is. What stands behind it is not read, so that a message is not gone
/// through twice: a decoder may call that an error, which says nothing once the version is found.
struct ReadHead<'a>(&'a mut FrameHead);

impl<'de> Visitor<'de> for ReadHead<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a frame: a map with v and m")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<&str>()? {
            match key {
                "v" => self.0.v = Some(map.next_value()?),
                "by" => self.0.by = map.next_value()?,
                // The head comes first in every frame that this build makes.
                "m" if self.0.v.is_some() => return Ok(()),
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

fn head_of(bytes: &[u8]) -> Result<(u16, Option<Term>), rmp_serde::decode::Error> {
    let mut head = FrameHead::default();
    let read = rmp_serde::Deserializer::from_read_ref(bytes).deserialize_map(ReadHead(&mut head));
    match head.v {
        Some(version) => Ok((version, head.by)),
        None => read.and_then(|()| Err(rmp_serde::decode::Error::missing_field("v"))),
    }
}

#[derive(Serialize)]
struct FrameOut<'a, T> {
    v: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<Term>,
    m: &'a T,
}

#[derive(Deserialize)]
struct FrameIn<T> {
    m: T,
}

/// The type of a whole bus message.
pub trait WireMessage: Serialize + DeserializeOwned {}

impl WireMessage for FromClient {}
impl WireMessage for StatusQuestion {}
impl WireMessage for SubmitReply {}
impl WireMessage for AskReply {}
impl WireMessage for FleetStatus {}
impl WireMessage for ToClient {}
impl WireMessage for FromWorker {}
impl WireMessage for WorkerReply {}
impl WireMessage for ToWorker {}
impl WireMessage for DispatchReply {}
impl WireMessage for FromOperator {}
impl WireMessage for OperatorReply {}
impl WireMessage for Announcement {}
impl WireMessage for Pull {}
impl WireMessage for PullReply {}
impl WireMessage for crate::record::JobRecord {}

/// Encodes a part of a message for hashing.
fn encode_part(part: &impl Serialize) -> Vec<u8> {
    match rmp_serde::to_vec(part) {
        Ok(bytes) => bytes,
        Err(e) => unreachable!("part of a message cannot be encoded: {e}"),
    }
}

/// Encodes a message.
pub fn encode<T: WireMessage>(message: &T) -> Bytes {
    encode_frame(&FrameOut { v: VERSION, by: None, m: message })
}

/// Encodes a message of a coordinator.
pub fn encode_by<T: WireMessage>(term: Term, message: &T) -> Bytes {
    encode_frame(&FrameOut { v: VERSION, by: Some(term), m: message })
}

fn encode_frame(frame: &FrameOut<'_, impl Serialize>) -> Bytes {
    match rmp_serde::to_vec_named(frame) {
        Ok(bytes) => bytes.into(),
        // The message types contain nothing that MessagePack cannot express, and writing to a Vec cannot fail.
        Err(e) => unreachable!("message cannot be encoded: {e}"),
    }
}

/// Decodes a message.
pub fn decode<T: WireMessage>(bytes: &[u8]) -> Result<T, WireError> {
    decode_frame(bytes)
}

/// The term in which a coordinator sent a message; `None` if the message does not say, or cannot be decoded.
pub fn term_of(bytes: &[u8]) -> Option<Term> {
    head_of(bytes).ok()?.1
}

/// Decodes a message that may borrow from its bytes.
fn decode_frame<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, WireError> {
    // The error may quote any part of untrusted input, and it goes into logs and back to the sender.
    let malformed =
        |e: rmp_serde::decode::Error| WireError::Malformed { len: bytes.len(), why: clean_reason(&e.to_string()) };
    let (v, _) = head_of(bytes).map_err(malformed)?;
    if v > VERSION {
        return Err(WireError::NewerVersion { received: v, supported: VERSION });
    }
    if v < SPEAKS.min {
        return Err(WireError::OlderVersion { received: v, supported: SPEAKS });
    }
    rmp_serde::from_slice::<FrameIn<T>>(bytes).map(|f| f.m).map_err(malformed)
}
