//! Messages between a worker and its job processes. Private to one build: both ends run the same executable.
//!
//! * A **preparation** is a process of its own. Its request is its stdin (a memory file, behind a [`ProgressCell`]),
//!   its reply its stdout.
//! * A **diagnostic run** is like a preparation, with a reply of its own ([`ExplainReply`]) and nothing around it.
//! * A **template** has its setup as stdin and a control socket (sequenced packets) as stdout. The first packet brings
//!   the descriptor of its artifact, which it maps once it is sandboxed. It reports whether it is ready, forks on
//!   [`TemplateCommand::Fork`] (two descriptors for the fork come along), and reaps a fork after the worker has seen
//!   its end. Only the template can reap: the fork is its child.
//! * A **fork** reads its execution from its socket: one packet ([`RequestHeader`] and the request, or a memory file
//!   with the request), and writes its reply there. Block data may be in a memory file of its own, which the fork maps.
//!   If the pidfd of another process comes along, the job is staged: it starts when that process has exited, or when
//!   the worker sends one more packet.
//!
//! A reply is a length of four bytes, little endian, the reply, and for a preparation the artifact behind it. A length
//! of 0 means a valid candidate: a second length, the two numbers of [`Claims`] and the result follow.

use crate::{
    exit_status::ExitStatus,
    explanation::{Explanation, LogLevel},
    sandbox::Plan,
    wasm::CpuBaseline,
};
use pvf_shared::{
    Bytes,
    params::ExecutorParams,
    record::Backtrace,
    verdict::{InvalidReason, PrepareError},
};
use serde::{Deserialize, Serialize};
use std::sync::atomic::AtomicU32;

/// First argument of a preparation's process.
pub(crate) const PREPARE: &str = "__pvf-prepare";
/// First argument of a diagnostic run.
pub(crate) const EXPLAIN: &str = "__pvf-explain";
/// First argument of a template.
pub(crate) const TEMPLATE: &str = "__pvf-template";
/// Maximum size of a reply without the artifact or the result, bytes.
pub(crate) const REPLY_SLACK: usize = 64 * 1024;
/// Size of what precedes the result of a valid candidate, bytes: two lengths and two numbers.
pub(crate) const VALID_HEADER: usize = 16;
/// Maximum size of an execution request that is sent in a packet, bytes; a larger one is sent in a memory file.
pub(crate) const MAX_INLINE: usize = 4096;
/// Maximum size of a command to a template, bytes.
pub(crate) const MAX_COMMAND: usize = 64;
/// Maximum size of a packet on a control socket, bytes.
pub(crate) const MAX_PACKET: usize = 16 * 1024;

/// Process names as `ps` shows them, at most 15 bytes each.
pub(crate) mod name {
    /// A process that tries out the sandbox mechanisms.
    pub(crate) const PROBE: &std::ffi::CStr = c"pvf-probe";
    /// A preparation.
    pub(crate) const PREPARE: &std::ffi::CStr = c"pvf-prepare";
    /// A diagnostic run.
    pub(crate) const EXPLAIN: &std::ffi::CStr = c"pvf-explain";
    /// A template.
    pub(crate) const TEMPLATE: &std::ffi::CStr = c"pvf-template";
    /// A fork that waits for a job.
    pub(crate) const SPARE: &std::ffi::CStr = c"pvf-spare";
    /// A fork with a staged job.
    pub(crate) const NEXT: &std::ffi::CStr = c"pvf-next";
    /// A fork that executes.
    pub(crate) const EXECUTE: &std::ffi::CStr = c"pvf-execute";
}

/// The first bytes of the memory file that a process with one reply gets its request in: how far a preparation has
/// come. Its process maps them; the worker reads them.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct ProgressCell {
    /// Functions of the instrumented code; 0 until the compiler begins.
    pub(crate) functions: AtomicU32,
    /// Functions that are compiled.
    pub(crate) compiled: AtomicU32,
}

/// Request of a preparation.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct PrepareRequest {
    /// Sandbox mechanisms to apply before the process looks at the code.
    pub(crate) sandbox: Plan,
    /// CPU features that compiled code may use.
    pub(crate) baseline: CpuBaseline,
    /// CPU time after which the kernel ends the process in any case, seconds.
    pub(crate) cpu_seconds: u64,
    /// Executor parameters.
    pub(crate) params: ExecutorParams,
    /// Validation code as submitted.
    pub(crate) code: Bytes,
    /// Maximum size of the decompressed code, bytes.
    pub(crate) bomb_limit: u32,
    /// Whether to link the artifact as well.
    pub(crate) precheck: bool,
    /// Number of compiler threads.
    pub(crate) threads: u32,
}

/// Request of a diagnostic run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ExplainRequest {
    /// How its code is compiled, and in which sandbox.
    pub(crate) preparation: PrepareRequest,
    /// The guest's parameters before and after the block data.
    pub(crate) around_block_data: [Bytes; 2],
    /// Block data.
    pub(crate) block_data: Bytes,
    /// Maximum size of the decompressed PoV, bytes; `None` if the block data is not compressed.
    pub(crate) pov_bomb_limit: Option<u32>,
    /// Which messages of the guest are recorded.
    pub(crate) log_level: LogLevel,
}

/// Reply of a diagnostic run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum ExplainReply {
    /// The code cannot be prepared.
    NotPrepared(PrepareError),
    /// The guest could not be called.
    NoCall(String),
    /// The guest was called.
    Called(Box<Explanation>),
}

/// Setup of a template.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct TemplateSetup {
    /// Sandbox mechanisms of the process and its forks.
    pub(crate) sandbox: Plan,
    /// CPU features that compiled code may use.
    pub(crate) baseline: CpuBaseline,
    /// Executor parameters.
    pub(crate) params: ExecutorParams,
    /// Whether the artifact's module has a start function.
    pub(crate) has_start: bool,
}

/// Request of an execution. It has an encoding of its own, with little-endian numbers, because decoding is part of
/// every job's latency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ExecuteRequest<'a> {
    /// CPU time after which the kernel ends the process in any case, seconds.
    pub(crate) cpu_seconds: u64,
    /// Maximum size of the decompressed PoV, bytes; `None` if the block data is not compressed.
    pub(crate) pov_bomb_limit: Option<u32>,
    /// The guest's parameters before and after the block data.
    pub(crate) around_block_data: [&'a [u8]; 2],
    /// Block data; empty if it is in a memory file of its own.
    pub(crate) block_data: &'a [u8],
}

impl<'a> ExecuteRequest<'a> {
    /// Encoded size, bytes.
    pub(crate) fn encoded_size(&self) -> usize {
        25 + self.around_block_data[0].len() + self.around_block_data[1].len() + self.block_data.len()
    }

    /// Appends the encoded request.
    pub(crate) fn encode_to(&self, to: &mut Vec<u8>) {
        to.extend(self.cpu_seconds.to_le_bytes());
        to.push(self.pov_bomb_limit.is_some().into());
        to.extend(self.pov_bomb_limit.unwrap_or_default().to_le_bytes());
        for part in self.around_block_data {
            to.extend((part.len() as u32).to_le_bytes());
            to.extend_from_slice(part);
        }
        to.extend((self.block_data.len() as u32).to_le_bytes());
        to.extend_from_slice(self.block_data);
    }

    /// Decodes a request that fills `bytes` exactly.
    pub(crate) fn decode(bytes: &'a [u8]) -> Option<Self> {
        let (cpu_seconds, rest) = bytes.split_first_chunk()?;
        let ([limited], rest) = rest.split_first_chunk()?;
        let (limit, mut rest) = rest.split_first_chunk()?;
        let mut part = || {
            let (len, from) = rest.split_first_chunk()?;
            let (part, behind) = from.split_at_checked(u32::from_le_bytes(*len) as usize)?;
            rest = behind;
            Some(part)
        };
        let (around_block_data, block_data) = ([part()?, part()?], part()?);
        rest.is_empty().then_some(Self {
            cpu_seconds: u64::from_le_bytes(*cpu_seconds),
            pov_bomb_limit: (*limited == 1).then_some(u32::from_le_bytes(*limit)),
            around_block_data,
            block_data,
        })
    }
}

/// First byte of the packet with an execution request: which descriptors come along, in the order of its fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RequestHeader {
    /// The request is in a memory file.
    pub(crate) in_file: bool,
    /// The block data is in a memory file of its own.
    pub(crate) mapped: bool,
    /// The job is staged: it starts when the process of a pidfd has exited.
    pub(crate) staged: bool,
}

impl RequestHeader {
    /// Encodes the header.
    pub(crate) fn to_byte(self) -> u8 {
        u8::from(self.in_file) | u8::from(self.staged) << 1 | u8::from(self.mapped) << 2
    }

    /// Decodes a header.
    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        let header = Self { in_file: byte & 1 != 0, mapped: byte & 4 != 0, staged: byte & 2 != 0 };
        (header.to_byte() == byte).then_some(header)
    }
}

/// A message from a worker to a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum TemplateCommand {
    /// Lock up, then map the artifact, whose descriptor comes along. The first command.
    Map,
    /// Fork. Two descriptors come along: the fork's socket and a memory file for its stderr.
    Fork,
    /// Reap this fork, which has exited.
    Reap(i32),
}

/// A message from a template to its worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum TemplateReply {
    /// The artifact is linked.
    Ready,
    /// The artifact cannot be linked.
    Construction(String),
    /// The operating system refused what linking needs.
    Machine(String),
    /// A fork, by its process id in the template's namespace; its pidfd comes along.
    Forked(i32),
    /// A fork was reaped.
    Reaped(ExitStatus),
    /// A system call failed with this error number.
    Failed(i32),
}

/// What an execution says about its own use of resources. The worker shows it, within the limits, and nothing depends
/// on it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claims {
    /// Size of the guest's memory after the call, pages of 64 KiB; `None` if there was no call.
    pub(crate) memory_pages: Option<u32>,
    /// Size of the decompressed block data, bytes; `None` if it does not decompress.
    pub(crate) block_data: Option<u32>,
}

impl Claims {
    /// Stands for `None`: neither number can be this large.
    const NONE: u32 = u32::MAX;

    /// The two numbers, little endian.
    pub(crate) fn to_bytes(self) -> [u8; 8] {
        let number = |claim: Option<u32>| u64::from(claim.unwrap_or(Self::NONE));
        (number(self.memory_pages) | number(self.block_data) << 32).to_le_bytes()
    }

    /// Decodes the two numbers.
    pub(crate) fn from_bytes(bytes: [u8; 8]) -> Self {
        let both = u64::from_le_bytes(bytes);
        let claim = |number: u64| Some(number as u32).filter(|number| *number != Self::NONE);
        Self { memory_pages: claim(both), block_data: claim(both >> 32) }
    }
}

/// Result of a job as its process reports it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum JobReply {
    /// The artifact follows.
    Prepared {
        /// Length of the artifact, bytes.
        len: u64,
        /// The most that it had allocated at once, bytes, if that was limited.
        heap: Option<u64>,
        /// Whether its module has a start function.
        has_start: bool,
        /// Size of the decompressed code, bytes.
        decompressed: u64,
    },
    /// The preparation failed.
    PrepareFailed(PrepareError),
    /// The SCALE encoding of the `ValidationResult`.
    Valid(Bytes, Claims),
    /// The candidate is invalid. Where the guest trapped is only for people.
    Invalid(InvalidReason, Claims, Backtrace),
    /// The artifact could not be linked or instantiated.
    Construction(String),
    /// The operating system refused what a call needs, before the call.
    Machine(String),
    /// A failure that is not attributable to the candidate.
    JobError(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_round_trip() {
        for memory_pages in [None, Some(0), Some(65_536)] {
            for block_data in [None, Some(0), Some(u32::MAX - 1)] {
                let claims = Claims { memory_pages, block_data };
                assert_eq!(Claims::from_bytes(claims.to_bytes()), claims);
            }
        }
    }

    #[test]
    fn execute_requests_round_trip_and_truncated_or_padded_ones_are_refused() {
        let mut request = ExecuteRequest {
            cpu_seconds: 7,
            pov_bomb_limit: Some(9),
            around_block_data: [b"head", b""],
            block_data: b"block",
        };
        for _ in 0..2 {
            let mut bytes = Vec::new();
            request.encode_to(&mut bytes);
            assert_eq!(bytes.len(), request.encoded_size());
            assert_eq!(ExecuteRequest::decode(&bytes), Some(request.clone()));
            assert!((0..bytes.len()).all(|end| ExecuteRequest::decode(&bytes[..end]).is_none()));
            bytes.push(0);
            assert_eq!(ExecuteRequest::decode(&bytes), None);
            request =
                ExecuteRequest { pov_bomb_limit: None, around_block_data: [b"", b"root"], block_data: b"", ..request };
        }
    }
}
