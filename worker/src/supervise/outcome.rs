//! The verdict on a job by how its process ended: the blame table of the design documentation.

use super::{
    finished::FinishedProcess,
    job_memory::MemoryKill,
    reply::split_reply,
    template::ForkError,
    watch::{Overrun, wall_limit},
};
use crate::{
    exit_status::{EXIT_MACHINE_REFUSED, EXIT_OUT_OF_MEMORY, EXIT_SETUP},
    job::protocol::JobReply,
    machine::oom_killed_lately,
    sandbox::{Mechanism, Plan},
};
use parity_scale_codec::{Decode as _, Encode as _};
use pvf_shared::{
    Bytes,
    blob::BlobRef,
    candidate::ValidationResult,
    job::ExecuteOutcome,
    record::end_of,
    store::seal::Compiled,
    verdict::{AmbiguousReason, InternalError, InvalidReason, PrepareError, clean_reason},
};
use std::time::Duration;

/// Result of a preparation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prepared {
    /// The artifact.
    Artifact(Compiled),
    /// The preparation failed.
    Failed(PrepareError),
    /// Infrastructure failure; not attributable to the code.
    Internal(InternalError),
}

const OUT_OF_MEMORY: &str =
    "the kernel killed the job for lack of memory (the machine or its cgroup has less than its jobs may use)";

/// Most bytes of stderr in a reason: the last ones say why a process exited.
const STDERR_SHOWN: usize = 900;

const BEYOND_ITS_LIMITS: &str = "signal 9, for more memory than a job within its limits can use";

/// How a process ended, before its reply is looked at.
enum ProcessEnd {
    /// It exceeded this limit of CPU time, milliseconds.
    TimedOut { limit_ms: u64 },
    /// The wall clock ran out although the CPU time was within its limit.
    Starved(String),
    /// The kernel killed it for lack of memory.
    OutOfMemory,
    /// A signal that the worker did not send.
    Killed(String),
    /// An exit code other than 0.
    Exit(i32),
    /// Exit code 0, with a reply larger than any reply can be.
    ReplyTooLarge,
    /// Exit code 0, with this reply.
    Replied(Bytes),
}

fn ms(d: Duration) -> u64 {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX)
}

fn process_end(process: &FinishedProcess, cpu_limit: Duration) -> ProcessEnd {
    // The kernel's account decides, also if the reply arrived in time.
    let over = process.exit.cpu > cpu_limit;
    match process.overrun {
        Some(Overrun::Wall) if !over => return ProcessEnd::Starved(starved(process.exit.cpu, cpu_limit)),
        Some(Overrun::Wall | Overrun::Cpu) => return ProcessEnd::TimedOut { limit_ms: ms(cpu_limit) },
        None if over => return ProcessEnd::TimedOut { limit_ms: ms(cpu_limit) },
        None => {}
    }
    // Before the signal: the worker kills a process whose reply is too large.
    let Some(reply) = &process.reply else { return ProcessEnd::ReplyTooLarge };
    match process.memory {
        MemoryKill::Machine => return ProcessEnd::OutOfMemory,
        MemoryKill::BeyondItsLimits => return ProcessEnd::Killed(BEYOND_ITS_LIMITS.into()),
        MemoryKill::None => {}
    }
    let status = process.exit.status;
    if libc::WIFSIGNALED(status) {
        return ProcessEnd::Killed(format!("signal {}", libc::WTERMSIG(status)));
    }
    match libc::WEXITSTATUS(status) {
        0 => ProcessEnd::Replied(reply.clone()),
        code => ProcessEnd::Exit(code),
    }
}

fn starved(cpu: Duration, cpu_limit: Duration) -> String {
    let (cpu, limit, wall) = (ms(cpu), ms(cpu_limit), ms(wall_limit(cpu_limit)));
    format!(
        "the job got {cpu} ms of CPU time, within its limit of {limit} ms, in {wall} ms: the machine is overloaded or stood still"
    )
}

fn exit_text(code: i32, stderr: &str) -> String {
    let what = match code {
        EXIT_SETUP => "the job could not start or not reply",
        EXIT_MACHINE_REFUSED => "memory within the limits was refused",
        _ => "odd exit status",
    };
    clean_reason(&format!("{what} ({code}): {}", end_of(stderr.trim().to_owned(), STDERR_SHOWN)))
}

fn malformed_reply(reply: &Bytes) -> String {
    format!("malformed job reply ({} bytes)", reply.len())
}

/// What only the machine can cause: another worker is asked, and no party to the candidate is blamed.
fn machine(why: &str) -> InternalError {
    InternalError::Kernel(clean_reason(why))
}

/// The reply of a diagnostic run, or how its process ended without one.
pub(super) fn reply_or_end(process: &FinishedProcess, cpu_limit: Duration) -> Result<Bytes, String> {
    match process_end(process, cpu_limit) {
        ProcessEnd::Replied(bytes) => Ok(bytes),
        ProcessEnd::TimedOut { limit_ms } => {
            Err(format!("the diagnostic run took more than {limit_ms} ms of CPU time"))
        }
        ProcessEnd::Starved(why) => Err(why),
        ProcessEnd::OutOfMemory => Err(OUT_OF_MEMORY.into()),
        ProcessEnd::Killed(how) => Err(format!("the diagnostic run was killed: {how}")),
        ProcessEnd::Exit(code) => Err(exit_text(code, &process.stderr)),
        ProcessEnd::ReplyTooLarge => Err("the reply of the diagnostic run is larger than any reply can be".into()),
    }
}

/// Outcome of an execution that got no process.
pub(super) fn no_process(error: ForkError) -> ExecuteOutcome {
    match error {
        ForkError::Construction(why) => {
            ExecuteOutcome::Ambiguous(AmbiguousReason::RuntimeConstruction(clean_reason(&why)))
        }
        ForkError::Unavailable(why) | ForkError::Exhausted(why) => {
            ExecuteOutcome::Internal(machine(&format!("no process for the job: {why}")))
        }
    }
}

/// Outcome of an execution whose exit status could not be obtained: its template has ended, and the job with it, or has
/// not answered. A template runs no guest code. In a PID namespace, of which it is the init process, no signal of a job
/// reaches it; without one the job may be the cause.
pub(super) fn unknown_exit(error: &std::io::Error, sandbox: Plan) -> ExecuteOutcome {
    if oom_killed_lately() {
        return ExecuteOutcome::Internal(machine(OUT_OF_MEMORY));
    }
    let why = format!("exit status unknown: {error}");
    match sandbox.has(Mechanism::PidNamespace) {
        true => ExecuteOutcome::Internal(machine(&why)),
        false => ExecuteOutcome::Ambiguous(AmbiguousReason::JobError(why)),
    }
}

/// Outcome of an execution.
pub(super) fn execute_outcome(process: &FinishedProcess, cpu_limit: Duration) -> ExecuteOutcome {
    let job_error = |why: String| ExecuteOutcome::Ambiguous(AmbiguousReason::JobError(why));
    let reply = match process_end(process, cpu_limit) {
        ProcessEnd::TimedOut { limit_ms } => return ExecuteOutcome::Invalid(InvalidReason::HardTimeout { limit_ms }),
        // A guest cannot sleep: without CPU time there was no core for it.
        ProcessEnd::Starved(why) => return ExecuteOutcome::Internal(machine(&why)),
        ProcessEnd::OutOfMemory => return ExecuteOutcome::Internal(machine(OUT_OF_MEMORY)),
        ProcessEnd::Killed(how) => return ExecuteOutcome::Ambiguous(AmbiguousReason::JobDeath(how)),
        ProcessEnd::Exit(code @ (EXIT_SETUP | EXIT_MACHINE_REFUSED)) => {
            return ExecuteOutcome::Internal(machine(&exit_text(code, &process.stderr)));
        }
        ProcessEnd::Exit(code) => return job_error(exit_text(code, &process.stderr)),
        ProcessEnd::ReplyTooLarge => return job_error("the reply is larger than any result can be".into()),
        ProcessEnd::Replied(bytes) => bytes,
    };
    match split_reply(&reply) {
        Some((JobReply::Valid(result, _), rest)) if rest.is_empty() => match ValidationResult::decode(&mut &result[..])
        {
            Ok(result) => ExecuteOutcome::Valid(BlobRef::Inline(result.encode().into())),
            Err(error) => job_error(format!("the job claims a result that does not decode: {error}")),
        },
        Some((JobReply::Invalid(reason, ..), _)) => ExecuteOutcome::Invalid(match reason {
            InvalidReason::WorkerReported(why) => InvalidReason::WorkerReported(clean_reason(&why)),
            // Only the supervisor judges time.
            InvalidReason::HardTimeout { .. } => return job_error("the job claims a time-out".into()),
            InvalidReason::PovDecompression => InvalidReason::PovDecompression,
        }),
        Some((JobReply::Construction(why), _)) => {
            ExecuteOutcome::Ambiguous(AmbiguousReason::RuntimeConstruction(clean_reason(&why)))
        }
        Some((JobReply::Machine(why), _)) => ExecuteOutcome::Internal(machine(&why)),
        Some((JobReply::JobError(why), _)) => job_error(clean_reason(&why)),
        Some((JobReply::Valid(..) | JobReply::Prepared { .. } | JobReply::PrepareFailed(_), _)) | None => {
            job_error(malformed_reply(&reply))
        }
    }
}

/// Outcome of a preparation.
pub(super) fn prepare_outcome(process: &FinishedProcess, cpu_limit: Duration) -> Prepared {
    let failed = Prepared::Failed;
    let reply = match process_end(process, cpu_limit) {
        ProcessEnd::TimedOut { limit_ms } => return failed(PrepareError::TimedOut { limit_ms }),
        ProcessEnd::Starved(why) => return Prepared::Internal(machine(&why)),
        ProcessEnd::OutOfMemory => return Prepared::Internal(machine(OUT_OF_MEMORY)),
        ProcessEnd::Killed(how) => return failed(PrepareError::JobDied(how)),
        ProcessEnd::Exit(EXIT_OUT_OF_MEMORY) => return failed(PrepareError::OutOfMemory),
        ProcessEnd::Exit(code @ EXIT_SETUP) => return Prepared::Internal(machine(&exit_text(code, &process.stderr))),
        ProcessEnd::Exit(code) => return failed(PrepareError::JobDied(exit_text(code, &process.stderr))),
        ProcessEnd::ReplyTooLarge => {
            return failed(PrepareError::JobDied("the artifact is larger than it may be".into()));
        }
        ProcessEnd::Replied(bytes) => bytes,
    };
    match split_reply(&reply) {
        Some((JobReply::Prepared { len, has_start, .. }, code)) if code.len() as u64 == len => {
            Prepared::Artifact(Compiled { code, has_start })
        }
        Some((JobReply::PrepareFailed(PrepareError::Kernel(why)), _)) => Prepared::Internal(machine(&why)),
        Some((JobReply::PrepareFailed(error), _)) => failed(vetted(error)),
        _ => failed(PrepareError::Io(malformed_reply(&reply))),
    }
}

/// The error that a job claims, if it may claim it, with a text that can be stored and shown.
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
        // Only the supervisor judges time, memory and death.
        error @ (PrepareError::TimedOut { .. } | PrepareError::OutOfMemory | PrepareError::JobDied(_)) => {
            PrepareError::JobDied(clean(format!("the job claims an error that it cannot judge: {error}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{exit_status::ExitStatus, job::protocol::Claims};
    use pvf_shared::record::Backtrace;

    fn finished(status: libc::c_int, reply: &[u8]) -> FinishedProcess {
        FinishedProcess {
            exit: ExitStatus { status, cpu: Duration::ZERO, max_rss_kib: 0 },
            overrun: None,
            reply: Some(Bytes::copy_from_slice(reply)),
            stderr: String::new(),
            memory: MemoryKill::None,
            wall: Duration::ZERO,
        }
    }

    fn framed(reply: &JobReply, rest: &[u8]) -> Vec<u8> {
        let body = rmp_serde::to_vec_named(reply).unwrap();
        [&(body.len() as u32).to_le_bytes(), &body[..], rest].concat()
    }

    const LIMIT: Duration = Duration::from_secs(1);

    #[test]
    fn malformed_and_forged_replies_are_job_errors() {
        let job_error = |process: &FinishedProcess| {
            matches!(execute_outcome(process, LIMIT), ExecuteOutcome::Ambiguous(AmbiguousReason::JobError(_)))
        };
        let forged = framed(&JobReply::Valid(Bytes::from_static(b"not a result"), Claims::default()), b"");
        assert!(job_error(&finished(0, &forged)));
        assert!(job_error(&finished(0, b"")), "exit 0 without a reply");
        assert!(job_error(&finished(0, &forged[..6])), "half a reply");
        assert!(job_error(&finished(0, &[0xff; 64])));
        let timeout = framed(
            &JobReply::Invalid(InvalidReason::HardTimeout { limit_ms: 1 }, Claims::default(), Backtrace::default()),
            b"",
        );
        assert!(job_error(&finished(0, &timeout)));
        assert!(
            job_error(&finished(3 << 8, &framed(&JobReply::Construction("x".into()), b""))),
            "an exit code other than 0"
        );
        let killed = execute_outcome(&finished(libc::SIGKILL, b""), LIMIT);
        assert_eq!(killed, ExecuteOutcome::Ambiguous(AmbiguousReason::JobDeath("signal 9".into())));
    }

    #[test]
    fn what_only_the_machine_can_cause_is_an_infrastructure_failure() {
        let internal = |outcome: ExecuteOutcome, what: &str| match outcome {
            ExecuteOutcome::Internal(InternalError::Kernel(why)) => assert!(why.contains(what), "{why}"),
            other => panic!("{other:?}"),
        };
        internal(execute_outcome(&finished(EXIT_MACHINE_REFUSED << 8, b""), LIMIT), "memory within the limits");
        internal(execute_outcome(&finished(EXIT_SETUP << 8, b""), LIMIT), "could not start");
        let refused = framed(&JobReply::Machine("artifact: EACCES".into()), b"");
        internal(execute_outcome(&finished(0, &refused), LIMIT), "EACCES");
        for error in [ForkError::Unavailable("EMFILE".into()), ForkError::Exhausted("EMFILE".into())] {
            internal(no_process(error), "EMFILE");
        }
        let kernel = framed(&JobReply::PrepareFailed(PrepareError::Kernel("threads".into())), b"");
        let expected = Prepared::Internal(InternalError::Kernel("threads".into()));
        assert_eq!(prepare_outcome(&finished(0, &kernel), LIMIT), expected);
        let setup = prepare_outcome(&finished(EXIT_SETUP << 8, b""), LIMIT);
        assert!(matches!(setup, Prepared::Internal(InternalError::Kernel(_))), "{setup:?}");
    }

    #[test]
    fn cpu_time_by_the_kernel_outweighs_a_valid_reply() {
        let result = ValidationResult {
            head_data: vec![1],
            new_validation_code: None,
            upward_messages: vec![],
            horizontal_messages: vec![],
            processed_downward_messages: 0,
            hrmp_watermark: 0,
        };
        let mut job = finished(0, &framed(&JobReply::Valid(result.encode().into(), Claims::default()), b""));
        assert!(matches!(execute_outcome(&job, LIMIT), ExecuteOutcome::Valid(_)));
        job.exit.cpu = LIMIT + Duration::from_millis(1);
        assert!(matches!(execute_outcome(&job, LIMIT), ExecuteOutcome::Invalid(InvalidReason::HardTimeout { .. })));
    }

    #[test]
    fn cpu_time_over_its_limit_is_a_time_out() {
        let over = LIMIT + Duration::from_millis(1);
        for (overrun, cpu) in [(Some(Overrun::Cpu), LIMIT), (Some(Overrun::Wall), over), (None, over)] {
            let mut job = finished(libc::SIGKILL, b"");
            (job.overrun, job.exit.cpu) = (overrun, cpu);
            let expected = ExecuteOutcome::Invalid(InvalidReason::HardTimeout { limit_ms: 1000 });
            assert_eq!(execute_outcome(&job, LIMIT), expected);
            assert_eq!(prepare_outcome(&job, LIMIT), Prepared::Failed(PrepareError::TimedOut { limit_ms: 1000 }));
        }
    }

    #[test]
    fn a_wall_clock_that_ran_out_without_the_cpu_time_is_the_machines_doing() {
        let mut job = finished(libc::SIGKILL, b"");
        (job.overrun, job.exit.cpu) = (Some(Overrun::Wall), Duration::from_millis(20));
        let why = "the job got 20 ms of CPU time, within its limit of 1000 ms, in 4000 ms: the machine is overloaded or stood still";
        assert_eq!(execute_outcome(&job, LIMIT), ExecuteOutcome::Internal(machine(why)));
        assert_eq!(prepare_outcome(&job, LIMIT), Prepared::Internal(machine(why)));
    }

    #[test]
    fn a_kill_for_lack_of_memory_is_the_machines_doing() {
        let mut job = finished(libc::SIGKILL, b"");
        job.memory = MemoryKill::Machine;
        assert_eq!(execute_outcome(&job, LIMIT), ExecuteOutcome::Internal(machine(OUT_OF_MEMORY)));
        assert_eq!(prepare_outcome(&job, LIMIT), Prepared::Internal(machine(OUT_OF_MEMORY)));
    }

    #[test]
    fn a_job_that_got_around_its_memory_limit_died_of_its_own_doing() {
        let mut job = finished(libc::SIGKILL, b"");
        job.memory = MemoryKill::BeyondItsLimits;
        let how = BEYOND_ITS_LIMITS.to_owned();
        let ambiguous = ExecuteOutcome::Ambiguous(AmbiguousReason::JobDeath(how.clone()));
        assert_eq!(execute_outcome(&job, LIMIT), ambiguous);
        assert_eq!(prepare_outcome(&job, LIMIT), Prepared::Failed(PrepareError::JobDied(how)));
    }

    #[test]
    fn outcomes_of_preparations() {
        let good = framed(&JobReply::Prepared { len: 3, has_start: true, heap: None, decompressed: 9 }, b"abc");
        let expected = Compiled { code: Bytes::from_static(b"abc"), has_start: true };
        assert_eq!(prepare_outcome(&finished(0, &good), LIMIT), Prepared::Artifact(expected));
        assert!(matches!(
            prepare_outcome(&finished(0, &good[..good.len() - 1]), LIMIT),
            Prepared::Failed(PrepareError::Io(_))
        ));
        let memory = prepare_outcome(&finished(EXIT_OUT_OF_MEMORY << 8, b""), LIMIT);
        assert_eq!(memory, Prepared::Failed(PrepareError::OutOfMemory));
        let reported = |error| prepare_outcome(&finished(0, &framed(&JobReply::PrepareFailed(error), b"")), LIMIT);
        let clean = PrepareError::Prevalidation("a b".into());
        assert_eq!(reported(PrepareError::Prevalidation("a\nb".into())), Prepared::Failed(clean));
        for claim in [PrepareError::OutOfMemory, PrepareError::TimedOut { limit_ms: 1 }] {
            assert!(matches!(reported(claim), Prepared::Failed(PrepareError::JobDied(_))));
        }
        assert!(matches!(
            prepare_outcome(&finished(libc::SIGSYS, b""), LIMIT),
            Prepared::Failed(PrepareError::JobDied(_))
        ));
    }
}
