//! What a worker keeps of a job for whoever looks into its outcome: [`JobRecord`].
//!
//! A record travels in no report and no verdict: the usage of the job names it ([`HeldRecord`]), and a client that
//! wants it pulls it from the worker. No verdict depends on it. Log and frames are the word of a process that guest
//! code may have taken over, so a reader of a record [bounds](JobRecord::bounded) it, and a program that shows it escapes
//! it.

use crate::{
    ids::{BlobHash, EngineId},
    units::KIB,
};
use serde::{Deserialize, Serialize};

/// Longest log of a record, bytes: of a longer one the end is kept.
pub const MAX_LOG: usize = 16 * KIB;
/// Most frames of a backtrace: of a deeper one the innermost are kept.
pub const MAX_FRAMES: usize = 256;
/// The longest encoded record, bytes.
pub const MAX_RECORD: u32 = 32 * KIB as u32;
/// Longest name of a machine or a version, bytes.
const MAX_NAME: usize = 256;

/// What a worker keeps of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobRecord {
    /// Name of the worker's machine.
    pub host: String,
    /// Version of the worker's build.
    pub version: String,
    /// Engine of the job's artifact.
    pub engine: EngineId,
    /// What the job has logged: messages that the guest logged as errors, and panics of host functions. At most
    /// [`MAX_LOG`] bytes of it, the last ones.
    pub log: String,
    /// Where the guest trapped, if it did.
    pub backtrace: Backtrace,
}

/// The functions of a guest that were being called when it trapped.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backtrace {
    /// The innermost frames, at most [`MAX_FRAMES`], the innermost first.
    pub frames: Vec<Frame>,
    /// Number of all frames.
    pub total: u32,
}

/// A call of a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frame {
    /// Index of the function in the validation code.
    pub function: u32,
    /// Where in the function, bytes behind its start. The function is the instrumented one, which has more instructions
    /// than that of the validation code.
    pub offset: u32,
}

/// The name of a record that a worker holds for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldRecord {
    /// BLAKE3 of the encoded record.
    pub hash: BlobHash,
    /// Length of the encoded record, bytes.
    pub len: u32,
}

impl JobRecord {
    /// The record within its limits.
    pub fn bounded(self) -> Self {
        let Self { mut host, mut version, engine, log, backtrace } = self;
        for name in [&mut host, &mut version] {
            name.truncate(name.floor_char_boundary(MAX_NAME));
        }
        Self { host, version, engine, log: end_of(log, MAX_LOG), backtrace: backtrace.bounded() }
    }
}

impl Backtrace {
    /// The backtrace within its limits.
    pub fn bounded(mut self) -> Self {
        self.frames.truncate(MAX_FRAMES);
        self.total = self.total.max(self.frames.len() as u32);
        self
    }
}

/// The last `most` bytes of a text, or a little less.
pub fn end_of(text: String, most: usize) -> String {
    let from = text.len().saturating_sub(most);
    if from == 0 { text } else { text[text.ceil_char_boundary(from)..].to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire;

    fn record(log: String, frames: usize) -> JobRecord {
        let frame = Frame { function: u32::MAX, offset: u32::MAX };
        JobRecord {
            host: "h".repeat(1000),
            version: "é".repeat(1000),
            engine: EngineId::parse(&"e".repeat(64)).unwrap(),
            log,
            backtrace: Backtrace { frames: vec![frame; frames], total: 0 },
        }
    }

    #[test]
    fn a_record_is_bounded() {
        let bounded = record("🦀".repeat(MAX_LOG), 10_000).bounded();
        assert_eq!((bounded.host.len(), bounded.version.len()), (MAX_NAME, MAX_NAME));
        assert_eq!((bounded.log.len(), bounded.backtrace.frames.len()), (MAX_LOG, MAX_FRAMES));
        assert_eq!(bounded.backtrace.total, MAX_FRAMES as u32);
        assert!(wire::encode(&bounded).len() <= MAX_RECORD as usize);
        assert_eq!(bounded.clone().bounded(), bounded);
    }

    #[test]
    fn of_a_long_log_the_end_is_kept() {
        assert_eq!(end_of("begin-end".into(), 3), "end");
        assert_eq!(end_of("aé".into(), 1), "");
        assert_eq!(end_of("aé".into(), 2), "é");
        assert_eq!(end_of("short".into(), 100), "short");
    }
}
