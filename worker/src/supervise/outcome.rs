//! What the end of a job process means: the blame table, `reference/pvf-semantics.md` section 5.

use super::{Prepared, split_reply, template::NoFork, watch::Overrun};
use crate::job::protocol::{EXIT_OUT_OF_MEMORY, EXIT_SETUP, Reply};
use parity_scale_codec::{Decode as _, Encode as _};
use pvf_shared::{
    Bytes,
    candidate::ValidationResult,
    job::{BlobRef, ExecuteOutcome, JobUsage},
    units::WALL_CLOCK_FACTOR,
    verdict::{AmbiguousReason, InvalidReason, PrepareError, clean_reason},
};
use std::time::Duration;

/// A process that has ended.
#[derive(Debug)]
pub(super) struct Ran {
    pub(super) status: libc::c_int,
    pub(super) overrun: Option<Overrun>,
    /// Nothing if there was more than there may be.
    pub(super) reply: Option<Bytes>,
    pub(super) stderr: String,
    pub(super) usage: JobUsage,
}

/// How a process ended, before anything it said is looked at.
enum Ending {
    /// It was over a limit; which, milliseconds.
    TimedOut { limit_ms: u64 },
    /// By a signal that we did not send.
    Killed(String),
    /// With an exit code that is not 0.
    Exit(i32),
    /// As it should, but with more of a reply than there may be.
    Flooded,
    /// As it should.
    Replied(Bytes),
}

fn ms(d: Duration) -> u64 {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX)
}

fn ending(ran: &Ran, cpu_limit: Duration) -> Ending {
    match ran.overrun {
        Some(Overrun::Cpu) => return Ending::TimedOut { limit_ms: ms(cpu_limit) },
        Some(Overrun::Wall) => return Ending::TimedOut { limit_ms: ms(cpu_limit.saturating_mul(WALL_CLOCK_FACTOR)) },
        // The kernel's own account decides, also for a job that got its reply out in time to be read.
        None if ran.usage.cpu > cpu_limit => return Ending::TimedOut { limit_ms: ms(cpu_limit) },
        None => {}
    }
    // We kill a process that floods us, so this comes before the signal.
    let Some(reply) = &ran.reply else { return Ending::Flooded };
    if libc::WIFSIGNALED(ran.status) {
        return Ending::Killed(format!("signal {}", libc::WTERMSIG(ran.status)));
    }
    match libc::WEXITSTATUS(ran.status) {
        0 => Ending::Replied(reply.clone()),
        code => Ending::Exit(code),
    }
}

fn exit_text(code: i32, stderr: &str) -> String {
    let what = if code == EXIT_SETUP { "the job could not begin or not reply" } else { "odd exit status" };
    clean_reason(&format!("{what} ({code}): {}", stderr.trim()))
}

/// What it means that there was no process for an execution.
pub(super) fn no_fork(why: NoFork) -> ExecuteOutcome {
    ExecuteOutcome::Ambiguous(match why {
        NoFork::Construction(why) => AmbiguousReason::RuntimeConstruction(clean_reason(&why)),
        NoFork::Gone(why) => AmbiguousReason::JobError(clean_reason(&format!("no process for the job: {why}"))),
    })
}

/// What it means that nobody can say how the process of an execution ended.
pub(super) fn lost(error: &std::io::Error) -> ExecuteOutcome {
    ExecuteOutcome::Ambiguous(AmbiguousReason::JobError(format!("the end of the job is not known: {error}")))
}

/// What an execution's process ending means.
pub(super) fn execute_outcome(ran: &Ran, cpu_limit: Duration) -> ExecuteOutcome {
    let job_error = |why: String| ExecuteOutcome::Ambiguous(AmbiguousReason::JobError(why));
    let reply = match ending(ran, cpu_limit) {
        Ending::TimedOut { limit_ms } => return ExecuteOutcome::Invalid(InvalidReason::HardTimeout { limit_ms }),
        Ending::Killed(how) => return ExecuteOutcome::Ambiguous(AmbiguousReason::JobDeath(how)),
        Ending::Exit(code) => return job_error(exit_text(code, &ran.stderr)),
        Ending::Flooded => return job_error("the reply is larger than any result can be".into()),
        Ending::Replied(bytes) => bytes,
    };
    match split_reply(&reply) {
        Some((Reply::Valid(result), rest)) if rest.is_empty() => match ValidationResult::decode(&mut &result[..]) {
            Ok(result) => ExecuteOutcome::Valid(BlobRef::Inline(result.encode().into())),
            Err(error) => job_error(format!("the job claims a result that does not decode: {error}")),
        },
        Some((Reply::Invalid(reason), _)) => ExecuteOutcome::Invalid(match reason {
            InvalidReason::WorkerReported(why) => InvalidReason::WorkerReported(clean_reason(&why)),
            // Time is the supervisor's to judge.
            InvalidReason::HardTimeout { .. } => return job_error("the job claims a time-out".into()),
            InvalidReason::PovDecompression => InvalidReason::PovDecompression,
        }),
        Some((Reply::Construction(why), _)) => {
            ExecuteOutcome::Ambiguous(AmbiguousReason::RuntimeConstruction(clean_reason(&why)))
        }
        Some((Reply::JobError(why), _)) => job_error(clean_reason(&why)),
        Some((Reply::Valid(_) | Reply::Prepared { .. } | Reply::PrepareFailed(_), _)) | None => {
            job_error(format!("the job's reply of {} bytes is not one", reply.len()))
        }
    }
}

/// What a preparation's process ending means.
pub(super) fn prepare_outcome(ran: &Ran, cpu_limit: Duration) -> Prepared {
    let failed = Prepared::Failed;
    let reply = match ending(ran, cpu_limit) {
        Ending::TimedOut { limit_ms } => return failed(PrepareError::TimedOut { limit_ms }),
        Ending::Killed(how) => return failed(PrepareError::JobDied(how)),
        Ending::Exit(EXIT_OUT_OF_MEMORY) => return failed(PrepareError::OutOfMemory),
        Ending::Exit(code) => return failed(PrepareError::JobDied(exit_text(code, &ran.stderr))),
        Ending::Flooded => return failed(PrepareError::JobDied("the artifact is larger than it may be".into())),
        Ending::Replied(bytes) => bytes,
    };
    match split_reply(&reply) {
        Some((Reply::Prepared { len }, artifact)) if artifact.len() as u64 == len => Prepared::Artifact(artifact),
        Some((Reply::PrepareFailed(error), _)) => failed(vetted(error)),
        _ => failed(PrepareError::Io(format!("the job's reply of {} bytes is not one", reply.len()))),
    }
}

/// What a job may say of its preparation, in words that may be kept and shown.
fn vetted(claimed: PrepareError) -> PrepareError {
    let clean = |why: String| clean_reason(&why);
    match claimed {
        PrepareError::Prevalidation(why) => PrepareError::Prevalidation(clean(why)),
        PrepareError::Preparation(why) => PrepareError::Preparation(clean(why)),
        PrepareError::JobError(why) => PrepareError::JobError(clean(why)),
        PrepareError::CouldNotDecompress(why) => PrepareError::CouldNotDecompress(clean(why)),
        PrepareError::Io(why) => PrepareError::Io(clean(why)),
        PrepareError::Kernel(why) => PrepareError::Kernel(clean(why)),
        PrepareError::RuntimeConstruction(why) => PrepareError::RuntimeConstruction(clean(why)),
        // Time, memory and death are the supervisor's to judge.
        error @ (PrepareError::TimedOut { .. } | PrepareError::OutOfMemory | PrepareError::JobDied(_)) => {
            PrepareError::JobDied(clean(format!("the job claims of itself: {error}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ran(status: libc::c_int, reply: &[u8]) -> Ran {
        Ran {
            status,
            overrun: None,
            reply: Some(Bytes::copy_from_slice(reply)),
            stderr: String::new(),
            usage: JobUsage::default(),
        }
    }

    fn framed(reply: &Reply, rest: &[u8]) -> Vec<u8> {
        let body = rmp_serde::to_vec_named(reply).unwrap();
        [&(body.len() as u32).to_le_bytes(), &body[..], rest].concat()
    }

    const LIMIT: Duration = Duration::from_secs(1);

    #[test]
    fn a_job_is_not_believed() {
        let job_error =
            |r: &Ran| matches!(execute_outcome(r, LIMIT), ExecuteOutcome::Ambiguous(AmbiguousReason::JobError(_)));
        let forged = framed(&Reply::Valid(Bytes::from_static(b"not a result")), b"");
        assert!(job_error(&ran(0, &forged)));
        assert!(job_error(&ran(0, b"")), "exit 0 without a reply");
        assert!(job_error(&ran(0, &forged[..6])), "half a reply");
        assert!(job_error(&ran(0, &[0xff; 64])));
        let timeout = framed(&Reply::Invalid(InvalidReason::HardTimeout { limit_ms: 1 }), b"");
        assert!(job_error(&ran(0, &timeout)));
        assert!(job_error(&ran(3 << 8, &framed(&Reply::Construction("x".into()), b""))), "odd exit status");
        let killed = execute_outcome(&ran(libc::SIGKILL, b""), LIMIT);
        assert_eq!(killed, ExecuteOutcome::Ambiguous(AmbiguousReason::JobDeath("signal 9".into())));
    }

    #[test]
    fn the_kernels_account_of_time_decides() {
        let result = ValidationResult {
            head_data: vec![1],
            new_validation_code: None,
            upward_messages: vec![],
            horizontal_messages: vec![],
            processed_downward_messages: 0,
            hrmp_watermark: 0,
        };
        let mut job = ran(0, &framed(&Reply::Valid(result.encode().into()), b""));
        assert!(matches!(execute_outcome(&job, LIMIT), ExecuteOutcome::Valid(_)));
        job.usage.cpu = LIMIT + Duration::from_millis(1);
        assert!(matches!(execute_outcome(&job, LIMIT), ExecuteOutcome::Invalid(InvalidReason::HardTimeout { .. })));
    }

    #[test]
    fn preparations() {
        let good = framed(&Reply::Prepared { len: 3 }, b"abc");
        assert_eq!(prepare_outcome(&ran(0, &good), LIMIT), Prepared::Artifact(Bytes::from_static(b"abc")));
        assert!(matches!(
            prepare_outcome(&ran(0, &good[..good.len() - 1]), LIMIT),
            Prepared::Failed(PrepareError::Io(_))
        ));
        let memory = prepare_outcome(&ran(EXIT_OUT_OF_MEMORY << 8, b""), LIMIT);
        assert_eq!(memory, Prepared::Failed(PrepareError::OutOfMemory));
        let says = |error| prepare_outcome(&ran(0, &framed(&Reply::PrepareFailed(error), b"")), LIMIT);
        let clean = PrepareError::Prevalidation("a b".into());
        assert_eq!(says(PrepareError::Prevalidation("a\nb".into())), Prepared::Failed(clean));
        for claim in [PrepareError::OutOfMemory, PrepareError::TimedOut { limit_ms: 1 }] {
            assert!(matches!(says(claim), Prepared::Failed(PrepareError::JobDied(_))));
        }
        assert!(matches!(prepare_outcome(&ran(libc::SIGSYS, b""), LIMIT), Prepared::Failed(PrepareError::JobDied(_))));
    }
}
