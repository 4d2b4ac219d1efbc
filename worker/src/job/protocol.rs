//! What a worker and its processes say to each other. Private to one build: both ends are the same executable.
//!
//! * A **preparation** is a process of its own. Its request is its stdin (a memory file), its reply its stdout.
//! * A **template** has its setup as stdin and a control socket (sequenced packets) as stdout: it says whether it is
//!   ready, forks when it is told to ([`Command::Fork`], with the two descriptors that the fork is to have), and reaps
//!   the fork when the worker has seen its end. Only the template can: a fork is its child.
//! * A **fork** waits on its socket for its execution, one packet ([`How`] and the execution, or a memory file with it),
//!   and writes its reply there. If the pidfd of another process comes along it begins when that one has ended, or when
//!   it is told to by one more packet.
//!
//! A reply is four bytes of length, little endian, the reply, and for a preparation the artifact behind it; a length
//! of 0 is that of a valid candidate, whose result follows, behind a length of its own.

use crate::{end::End, sandbox::Plan, wasm::CpuBaseline};
use pvf_shared::{
    Bytes,
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
/// What comes before the result of a valid candidate, bytes: 0 and its length, little endian.
pub(crate) const VALID_HEAD: usize = 8;
/// Largest execution that is sent as it is, bytes; what is larger comes in a memory file.
pub(crate) const MAX_INLINE: usize = 4096;
/// How much a fork may write to stderr, bytes. Beyond that it gets an error.
pub(crate) const MAX_WORDS: usize = 1024 * 1024;
/// Largest command, bytes.
pub(crate) const MAX_COMMAND: usize = 64;
/// Largest packet on a control socket, bytes.
pub(crate) const MAX_PACKET: usize = 16 * 1024;

/// What `ps` shows of a process: each is at most 15 bytes.
pub(crate) mod name {
    /// A process that tries out how it can be locked up.
    pub(crate) const PROBE: &std::ffi::CStr = c"pvf-probe";
    /// A process that compiles.
    pub(crate) const PREPARE: &std::ffi::CStr = c"pvf-prepare";
    /// A process that has an artifact mapped and linked.
    pub(crate) const TEMPLATE: &std::ffi::CStr = c"pvf-template";
    /// A fork of a template that waits for a job.
    pub(crate) const SPARE: &std::ffi::CStr = c"pvf-spare";
    /// A fork of a template that has a job, and waits for the end of the one before.
    pub(crate) const NEXT: &std::ffi::CStr = c"pvf-next";
    /// A fork of a template that executes.
    pub(crate) const EXECUTE: &std::ffi::CStr = c"pvf-execute";
}

/// What a preparation is to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Preparation {
    /// What is to hold the process, beginning before it looks at the code.
    pub(crate) sandbox: Plan,
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
    /// What is to hold the process and its forks.
    pub(crate) sandbox: Plan,
    /// What compiled code may use.
    pub(crate) baseline: CpuBaseline,
    /// The parameters.
    pub(crate) params: ExecutorParams,
    /// The artifact, on disk.
    pub(crate) artifact: PathBuf,
}

/// What a fork executes. Of its own form, numbers little endian: reading it must cost next to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Execution<'a> {
    /// CPU time after which the kernel ends the process in any case, seconds.
    pub(crate) cpu_seconds: u64,
    /// Decompressed PoV may not be larger, bytes; absent: the block data is as the guest is to see it.
    pub(crate) pov_bomb_limit: Option<u32>,
    /// The guest's parameters before the block data and behind it.
    pub(crate) around: [&'a [u8]; 2],
    /// The block data.
    pub(crate) block_data: &'a [u8],
}

impl<'a> Execution<'a> {
    /// How many bytes it takes.
    pub(crate) fn size(&self) -> usize {
        25 + self.around[0].len() + self.around[1].len() + self.block_data.len()
    }

    /// Puts it into bytes.
    pub(crate) fn write(&self, to: &mut Vec<u8>) {
        to.extend(self.cpu_seconds.to_le_bytes());
        to.push(self.pov_bomb_limit.is_some().into());
        to.extend(self.pov_bomb_limit.unwrap_or_default().to_le_bytes());
        for part in self.around {
            to.extend((part.len() as u32).to_le_bytes());
            to.extend_from_slice(part);
        }
        to.extend((self.block_data.len() as u32).to_le_bytes());
        to.extend_from_slice(self.block_data);
    }

    /// The reverse of [`Execution::write`], with nothing left over.
    pub(crate) fn read(bytes: &'a [u8]) -> Option<Self> {
        let (cpu_seconds, rest) = bytes.split_first_chunk()?;
        let ([limited], rest) = rest.split_first_chunk()?;
        let (limit, mut rest) = rest.split_first_chunk()?;
        let mut part = || {
            let (len, from) = rest.split_first_chunk()?;
            let (part, behind) = from.split_at_checked(u32::from_le_bytes(*len) as usize)?;
            rest = behind;
            Some(part)
        };
        let (around, block_data) = ([part()?, part()?], part()?);
        rest.is_empty().then_some(Self {
            cpu_seconds: u64::from_le_bytes(*cpu_seconds),
            pov_bomb_limit: (*limited == 1).then_some(u32::from_le_bytes(*limit)),
            around,
            block_data,
        })
    }
}

/// How an execution comes: the first byte of its packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct How {
    /// It is in a memory file, the first descriptor that comes along, and not in the packet.
    pub(crate) in_file: bool,
    /// It begins when a process has ended, whose pidfd is the last descriptor that comes along.
    pub(crate) waits: bool,
}

impl How {
    /// As a byte.
    pub(crate) fn to_byte(self) -> u8 {
        u8::from(self.in_file) | u8::from(self.waits) << 1
    }

    /// The reverse.
    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        let how = Self { in_file: byte & 1 != 0, waits: byte & 2 != 0 };
        (how.to_byte() == byte).then_some(how)
    }
}

/// What a worker says to a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Command {
    /// Fork. Two descriptors come along: the fork's socket and a memory file for its stderr.
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
    /// A fork, by its number where the template is; its pidfd comes along.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executions_are_read_as_they_were_written_and_nothing_else_is() {
        let mut of =
            Execution { cpu_seconds: 7, pov_bomb_limit: Some(9), around: [b"head", b""], block_data: b"block" };
        for _ in 0..2 {
            let mut bytes = Vec::new();
            of.write(&mut bytes);
            assert_eq!((bytes.len(), Execution::read(&bytes)), (of.size(), Some(of.clone())));
            assert!((0..bytes.len()).all(|end| Execution::read(&bytes[..end]).is_none()));
            bytes.push(0);
            assert_eq!(Execution::read(&bytes), None);
            of = Execution { pov_bomb_limit: None, around: [b"", b"root"], block_data: b"", ..of };
        }
    }
}
