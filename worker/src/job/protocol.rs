//! What a worker and its processes say to each other. Private to one build: both ends are the same executable.
//!
//! * A **preparation** is a process of its own. Its request is its stdin (a memory file), its reply its stdout.
//! * A **template** has its setup as stdin and a control socket (sequenced packets) as stdout: it says whether it is
//!   ready, forks when it is told to ([`Command::Fork`], with the two descriptors that the fork is to have), and reaps
//!   the fork when the worker has seen its end. Only the template can: a fork is its child.
//! * A **fork** waits on its socket for its execution, one packet (or a memory file with it), and writes its reply
//!   there.
//!
//! A reply is four bytes of length, little endian, the reply, and for a preparation the artifact behind it.

use crate::{end::End, wasm::CpuBaseline};
use pvf_shared::{
    Bytes,
    candidate::CandidateContext,
    params::ExecutorParams,
    verdict::{InvalidReason, PrepareError},
};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// First argument of a preparation's process.
pub(crate) const PREPARE: &str = "__pvf-prepare";
/// First argument of a template.
pub(crate) const TEMPLATE: &str = "__pvf-template";
/// Exit code of a job that allocated more than it may.
pub(crate) const EXIT_OUT_OF_MEMORY: i32 = 97;
/// Exit code of a job that could not even begin.
pub(crate) const EXIT_SETUP: i32 = 98;
/// Largest part of a reply that is not the artifact or the result, bytes.
pub(crate) const REPLY_SLACK: usize = 64 * 1024;
/// Largest execution that is sent as it is, bytes; what is larger comes in a memory file.
pub(crate) const MAX_INLINE: usize = 4096;
/// Largest packet on a control socket, bytes.
pub(crate) const MAX_PACKET: usize = 16 * 1024;

/// What `ps` shows of a process: each is at most 15 bytes.
pub(crate) mod name {
    /// A process that compiles.
    pub(crate) const PREPARE: &std::ffi::CStr = c"pvf-prepare";
    /// A process that has an artifact mapped and linked.
    pub(crate) const TEMPLATE: &std::ffi::CStr = c"pvf-template";
    /// A fork of a template that waits for a job.
    pub(crate) const SPARE: &std::ffi::CStr = c"pvf-spare";
    /// A fork of a template that executes.
    pub(crate) const EXECUTE: &std::ffi::CStr = c"pvf-execute";
}

/// What a preparation is to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Preparation {
    /// What compiled code may use.
    pub(crate) baseline: CpuBaseline,
    /// CPU time after which the kernel ends the process in any case, seconds.
    pub(crate) cpu_seconds: u64,
    /// The parameters.
    pub(crate) params: ExecutorParams,
    /// As submitted.
    pub(crate) code: Bytes,
    /// Decompressed code may not be larger, bytes.
    pub(crate) bomb_limit: u32,
    /// Whether the artifact is to be linked as well.
    pub(crate) precheck: bool,
    /// Threads to compile on.
    pub(crate) threads: u32,
}

/// What a template has ready.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Setup {
    /// What compiled code may use.
    pub(crate) baseline: CpuBaseline,
    /// The parameters.
    pub(crate) params: ExecutorParams,
    /// The artifact, on disk.
    pub(crate) artifact: PathBuf,
}

/// What a fork executes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Execution {
    /// CPU time after which the kernel ends the process in any case, seconds.
    pub(crate) cpu_seconds: u64,
    /// The candidate.
    pub(crate) context: Box<CandidateContext>,
    /// Its block data.
    pub(crate) block_data: Bytes,
    /// Decompressed PoV may not be larger, bytes.
    pub(crate) pov_bomb_limit: u32,
}

/// What a worker says to a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Command {
    /// Fork. Two descriptors come along: the fork's socket and its stderr.
    Fork,
    /// This fork has ended: reap it.
    Reap(i32),
}

/// What a template says to its worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Told {
    /// The artifact is linked.
    Ready,
    /// It cannot be linked.
    Construction(String),
    /// A fork; its pidfd comes along.
    Forked(i32),
    /// A fork's end.
    Reaped(End),
    /// The kernel did not do it: an error number.
    Failed(i32),
}

/// How a job went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// The artifact follows.
    Prepared {
        /// Its length, bytes.
        len: u64,
    },
    /// It cannot be prepared.
    PrepareFailed(PrepareError),
    /// The SCALE encoding of the `ValidationResult`.
    Valid(Bytes),
    /// The candidate's fault.
    Invalid(InvalidReason),
    /// The artifact could not be linked or instantiated.
    Construction(String),
    /// A panic of our own code.
    JobError(String),
}
