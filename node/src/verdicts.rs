//! The answer of a fleet as the answer that a node expects of its workers. `docs/integrate/node.md` has the table.
//!
//! The invariant: what is not the candidate's or the code's doing never becomes an answer that the node holds against
//! one of them.

use crate::protocol::{
    ExecuteAnswer, Executed, JobError, JobResponse, MemoryStats, PrepareError, Prepared, WorkerError,
};
use pvf_shared::{
    client::{Answer, ClientError},
    verdict::{AmbiguousReason, InvalidReason, Outcome, PrepareError as FleetPrepareError},
};
use std::time::Duration;

/// The answer to a request for an execution with this CPU time limit and this many bytes of block data.
pub fn of_execution(answer: Result<Answer, ClientError>, timeout: Duration, block_data: usize) -> ExecuteAnswer {
    let answer = answer.map_err(WorkerError::internal)?;
    let decided = answer.usage.executions.last().map(|last| last.usage);
    // A fleet judges the limit by the kernel's clock for the job. What it has called valid was within the limit, and the
    // node would take more for a time-out.
    let cpu_time = decided.map_or(Duration::ZERO, |usage| usage.cpu).min(timeout);
    let size = decided.and_then(|usage| usage.pov_decompressed).unwrap_or(block_data as u64);
    let pov_size = u32::try_from(size).unwrap_or(u32::MAX);
    let executed = |response| Ok(Executed { response, cpu_time, pov_size });
    match answer.outcome {
        Outcome::Valid(result) => executed(JobResponse::Valid(*result)),
        Outcome::Invalid(InvalidReason::WorkerReported(why)) => executed(JobResponse::InvalidCandidate(why)),
        Outcome::Invalid(InvalidReason::PovDecompression) => executed(JobResponse::PovDecompression),
        Outcome::Invalid(InvalidReason::HardTimeout { .. }) => Err(WorkerError::JobTimedOut),
        Outcome::PossiblyInvalid(reason) => match reason {
            AmbiguousReason::WorkerDeath | AmbiguousReason::JobDeath(_) => {
                Err(WorkerError::JobDied { error: reason.to_string(), pid: 0 })
            }
            AmbiguousReason::JobError(why) => Err(WorkerError::JobError(JobError::Panic(why))),
            AmbiguousReason::RuntimeConstruction(why) => executed(JobResponse::RuntimeConstruction(why)),
            // A fleet prepares such an artifact again and says so of a worker only, never as a verdict.
            AmbiguousReason::CorruptedArtifact(why) => Err(WorkerError::internal(why)),
        },
        // The code was prepared before, or the node would not have an artifact.
        Outcome::PreparationFailed(error) => {
            Err(WorkerError::internal(format_args!("the code cannot be prepared again: {error}")))
        }
        Outcome::Internal(error) => Err(WorkerError::internal(error)),
        Outcome::Expired => Err(WorkerError::internal("no verdict in time")),
        Outcome::PrecheckOk | Outcome::HeadsUpTaken | Outcome::HeadsUpPrepared => {
            Err(WorkerError::internal("the answer is not one to an execution"))
        }
    }
}

/// How a preparation ended.
#[derive(Debug)]
pub enum Preparation {
    /// There is an artifact, with these statistics: all zero for one that was in the fleet's store. The checksum and the
    /// length of the code are left to the worker executable.
    Prepared(Prepared),
    /// The fleet has decided that there is none.
    Failed(PrepareError),
    /// The fleet has not decided: another attempt may.
    NotDecided(String),
    /// The fleet does not take the request, and would not take it again.
    NotTaken(String),
}

/// How a preparation with this CPU time limit ended.
pub fn of_preparation(answer: Result<Answer, ClientError>, timeout: Duration) -> Preparation {
    let answer = match answer {
        Ok(answer) => answer,
        Err(error @ (ClientError::Refused(_) | ClientError::TooLarge { .. })) => {
            return Preparation::NotTaken(error.to_string());
        }
        Err(error) => return Preparation::NotDecided(error.to_string()),
    };
    match answer.outcome {
        Outcome::PrecheckOk | Outcome::HeadsUpPrepared => {
            let usage = answer.usage.preparation.map(|preparation| preparation.usage);
            let Some(usage) = usage else { return Preparation::Prepared(Prepared::default()) };
            let max_rss = i64::try_from(usage.max_rss_kib).ok();
            let memory = MemoryStats { allocator: None, max_rss, peak_allocated: usage.heap.unwrap_or(0) };
            // As with executions: what succeeded was within its limit.
            Preparation::Prepared(Prepared { cpu_time: usage.cpu.min(timeout), memory, ..Prepared::default() })
        }
        Outcome::PreparationFailed(error) => Preparation::Failed(of_prepare_error(error)),
        Outcome::Internal(error) => Preparation::NotDecided(error.to_string()),
        Outcome::Expired => Preparation::NotDecided("no answer in time".into()),
        Outcome::Valid(_) | Outcome::Invalid(_) | Outcome::PossiblyInvalid(_) | Outcome::HeadsUpTaken => {
            Preparation::NotDecided("the answer is not one to a preparation".into())
        }
    }
}

fn of_prepare_error(error: FleetPrepareError) -> PrepareError {
    match error {
        FleetPrepareError::Prevalidation(why) => PrepareError::Prevalidation(why),
        FleetPrepareError::Preparation(why) => PrepareError::Preparation(why),
        FleetPrepareError::JobError(why) => PrepareError::JobError(why),
        FleetPrepareError::OutOfMemory => PrepareError::OutOfMemory,
        FleetPrepareError::CouldNotDecompress(why) => PrepareError::CouldNotDecompress(why),
        FleetPrepareError::TimedOut { .. } => PrepareError::TimedOut,
        FleetPrepareError::Io(why) => PrepareError::Io(why),
        FleetPrepareError::JobDied(error) => PrepareError::JobDied { error, pid: 0 },
        FleetPrepareError::Kernel(why) => PrepareError::Kernel(why),
        FleetPrepareError::RuntimeConstruction(why) => PrepareError::RuntimeConstruction(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::InternalError as NodeInternalError;
    use pvf_shared::{
        candidate::ValidationResult,
        ids::{CodeHash, RequestId},
        job::{AttemptEnd, JobUsage},
        verdict::{Blame, InternalError},
        wire::{AttemptUsage, PreparationUsage, Refusal, Timings, VerdictUsage, WorkerKind},
    };

    const LIMIT: Duration = Duration::from_secs(2);

    fn answer(outcome: Outcome, usage: VerdictUsage) -> Answer {
        Answer {
            request: RequestId::new(),
            outcome,
            code_hash: CodeHash([0; 32]),
            artifact: None,
            timings: Timings::default(),
            worker: None,
            attempts: 1,
            usage,
            second_opinion: None,
        }
    }

    fn worker() -> pvf_shared::identity::WorkerId {
        pvf_shared::identity::WorkerId::new(WorkerKind::Execute, pvf_shared::identity::UserName::default())
    }

    fn execution(cpu: Duration, pov: Option<u64>) -> VerdictUsage {
        let usage = JobUsage { cpu, pov_decompressed: pov, ..JobUsage::default() };
        let attempt = AttemptUsage { attempt: 1, worker: worker(), end: AttemptEnd::Valid, usage };
        VerdictUsage { preparation: None, executions: vec![attempt] }
    }

    fn valid() -> Outcome {
        Outcome::Valid(Box::new(ValidationResult {
            head_data: vec![1],
            new_validation_code: None,
            upward_messages: vec![],
            horizontal_messages: vec![],
            processed_downward_messages: 0,
            hrmp_watermark: 0,
        }))
    }

    /// Every outcome of an execution that a fleet has.
    fn outcomes() -> Vec<Outcome> {
        let why = || String::from("why");
        let ambiguous = [
            AmbiguousReason::WorkerDeath,
            AmbiguousReason::JobDeath(why()),
            AmbiguousReason::JobError(why()),
            AmbiguousReason::RuntimeConstruction(why()),
        ];
        let internal = [
            InternalError::Bus(why()),
            InternalError::Store(why()),
            InternalError::Kernel(why()),
            InternalError::ArtifactMissing(why()),
            InternalError::WorkerDraining(why()),
            InternalError::InputBlob(why()),
            InternalError::Disagreement(why()),
        ];
        let invalid = [
            InvalidReason::WorkerReported(why()),
            InvalidReason::HardTimeout { limit_ms: 2000 },
            InvalidReason::PovDecompression,
        ];
        let mut all = vec![valid(), Outcome::Expired, Outcome::PrecheckOk];
        all.extend(ambiguous.map(Outcome::PossiblyInvalid));
        all.extend(internal.map(Outcome::Internal));
        all.extend(invalid.map(Outcome::Invalid));
        all.push(Outcome::PreparationFailed(FleetPrepareError::Prevalidation(why())));
        all
    }

    /// Whom the node holds an answer against, as its own queue does (`handle_job_finish`).
    fn blame_at_the_node(answer: &ExecuteAnswer) -> Blame {
        match answer {
            Ok(executed) => match executed.response {
                JobResponse::Valid(_) => Blame::NoParty,
                JobResponse::InvalidCandidate(_) | JobResponse::PovDecompression => Blame::Candidate,
                JobResponse::RuntimeConstruction(_) | JobResponse::CorruptedArtifact => Blame::Ambiguous,
            },
            Err(WorkerError::JobTimedOut) => Blame::Candidate,
            Err(WorkerError::JobDied { .. } | WorkerError::JobError(_)) => Blame::Ambiguous,
            Err(WorkerError::Internal(NodeInternalError::Communication(_))) => Blame::Ours,
        }
    }

    #[test]
    fn the_node_blames_whom_the_fleet_blames_or_its_own_side() {
        for outcome in outcomes() {
            let blame = match (outcome.blame(), &outcome) {
                (_, Outcome::Expired | Outcome::PrecheckOk | Outcome::PreparationFailed(_)) => Blame::Ours,
                (blame, _) => blame,
            };
            let what = format!("{outcome:?}");
            let usage = execution(Duration::from_millis(5), Some(9));
            assert_eq!(blame_at_the_node(&of_execution(Ok(answer(outcome, usage)), LIMIT, 1)), blame, "{what}");
        }
        for error in [ClientError::Ended, ClientError::NotAnswered { within: LIMIT, last: None }] {
            assert_eq!(blame_at_the_node(&of_execution(Err(error), LIMIT, 1)), Blame::Ours);
        }
    }

    #[test]
    fn a_valid_candidate_is_never_over_its_limit() {
        for (cpu, pov, expected) in [
            (Duration::from_millis(5), Some(9), (Duration::from_millis(5), 9)),
            (Duration::from_millis(2001), None, (LIMIT, 4)),
        ] {
            let executed = of_execution(Ok(answer(valid(), execution(cpu, pov))), LIMIT, 4).unwrap();
            assert_eq!((executed.cpu_time, executed.pov_size), expected);
        }
        let unknown = of_execution(Ok(answer(valid(), VerdictUsage::default())), LIMIT, 4).unwrap();
        assert_eq!((unknown.cpu_time, unknown.pov_size), (Duration::ZERO, 4));
    }

    #[test]
    fn a_preparation_is_held_against_the_code_only_if_it_is_deterministic() {
        let why = || String::from("why");
        for error in [
            FleetPrepareError::Prevalidation(why()),
            FleetPrepareError::Preparation(why()),
            FleetPrepareError::JobError(why()),
            FleetPrepareError::OutOfMemory,
            FleetPrepareError::CouldNotDecompress(why()),
            FleetPrepareError::TimedOut { limit_ms: 1 },
            FleetPrepareError::Io(why()),
            FleetPrepareError::JobDied(why()),
            FleetPrepareError::Kernel(why()),
            FleetPrepareError::RuntimeConstruction(why()),
        ] {
            let deterministic = error.is_deterministic();
            let outcome = answer(Outcome::PreparationFailed(error), VerdictUsage::default());
            let Preparation::Failed(error) = of_preparation(Ok(outcome), LIMIT) else { panic!("has not failed") };
            assert_eq!(error.is_held_against_the_code(), deterministic, "{error:?}");
        }
        for outcome in [Outcome::Expired, Outcome::Internal(InternalError::Kernel(why())), Outcome::HeadsUpTaken] {
            let preparation = of_preparation(Ok(answer(outcome, VerdictUsage::default())), LIMIT);
            assert!(matches!(preparation, Preparation::NotDecided(_)), "{preparation:?}");
        }
        let refused = ClientError::Refused(Refusal::over_operators_limit("prepare_timeout", 2, 1, "ms"));
        assert!(matches!(of_preparation(Err(refused), LIMIT), Preparation::NotTaken(_)));
    }

    #[test]
    fn statistics_are_those_of_the_job() {
        let usage = JobUsage { cpu: Duration::from_secs(3), max_rss_kib: 7, heap: Some(8), ..JobUsage::default() };
        let usage =
            VerdictUsage { preparation: Some(PreparationUsage { worker: worker(), usage }), executions: vec![] };
        let outcome = answer(Outcome::PrecheckOk, usage);
        let Preparation::Prepared(prepared) = of_preparation(Ok(outcome), LIMIT) else { panic!("is prepared") };
        let memory = MemoryStats { allocator: None, max_rss: Some(7), peak_allocated: 8 };
        assert_eq!(prepared, Prepared { cpu_time: LIMIT, memory, ..Prepared::default() });
    }
}
