//! What a load test measures.

use super::times::Times;
use crate::{
    Answer, ClientError,
    tool::{
        failure::{Exit, Failure},
        output,
        text::escaped,
    },
};
use pvf_shared::{ids::ArtifactId, priority::ExecuteKind};
use std::{collections::BTreeMap, time::Duration};

/// Different reasons that are told.
const REASONS: usize = 10;
/// Stands for all reasons after these.
const OTHER: &str = "other reasons";

/// A request that has ended.
pub(super) struct Ended {
    pub(super) kind: ExecuteKind,
    /// From the time that it was due.
    pub(super) latency: Duration,
    pub(super) answer: Result<Answer, ClientError>,
}

/// The result of a load.
pub(super) struct Measured {
    pub(super) sent: u64,
    /// Ended without a verdict of the host, by why.
    pub(super) unanswered: BTreeMap<String, u64>,
    pub(super) verdicts: BTreeMap<&'static str, u64>,
    /// Why candidates are not valid.
    pub(super) reasons: BTreeMap<String, u64>,
    /// Requests whose execution was tried more than once.
    pub(super) retried: u64,
    /// From the time that a request was due to its verdict, as this process measures it.
    pub(super) latency: Times,
    pub(super) by_kind: BTreeMap<ExecuteKind, Times>,
    /// The stages, as the coordinator measures them.
    pub(super) total: Times,
    pub(super) queued: Times,
    pub(super) prepare: Times,
    pub(super) execute: Times,
    /// CPU time of all executions.
    pub(super) execute_cpu: Duration,
    /// CPU time of preparations that requests waited for.
    prepare_cpu: BTreeMap<ArtifactId, Duration>,
    pub(super) worst: Exit,
    pub(super) elapsed: Duration,
    pub(super) cancelled: u64,
    pub(super) is_interrupted: bool,
}

impl Measured {
    pub(super) fn new() -> Result<Self, Failure> {
        Ok(Self {
            sent: 0,
            unanswered: BTreeMap::new(),
            verdicts: BTreeMap::new(),
            reasons: BTreeMap::new(),
            retried: 0,
            latency: Times::new()?,
            by_kind: BTreeMap::new(),
            total: Times::new()?,
            queued: Times::new()?,
            prepare: Times::new()?,
            execute: Times::new()?,
            execute_cpu: Duration::ZERO,
            prepare_cpu: BTreeMap::new(),
            worst: Exit::Success,
            elapsed: Duration::ZERO,
            cancelled: 0,
            is_interrupted: false,
        })
    }

    pub(super) fn add(&mut self, ended: Ended) -> Result<(), Failure> {
        let Ended { kind, latency, answer } = ended;
        match answer {
            Ok(answer) => {
                self.latency.add(latency);
                let times = match self.by_kind.entry(kind) {
                    std::collections::btree_map::Entry::Occupied(times) => times.into_mut(),
                    std::collections::btree_map::Entry::Vacant(none) => none.insert(Times::new()?),
                };
                times.add(latency);
                self.answered(&answer);
            }
            Err(error) => {
                let failure = Failure::from(error);
                self.worst = self.worst.max(failure.exit());
                count(&mut self.unanswered, &failure.to_string());
            }
        }
        Ok(())
    }

    fn answered(&mut self, answer: &Answer) {
        *self.verdicts.entry(answer.outcome.name()).or_default() += 1;
        self.worst = self.worst.max(output::exit(&answer.outcome));
        if let Some(reason) = answer.outcome.reason() {
            count(&mut self.reasons, &reason);
        }
        self.retried += u64::from(answer.attempts > 1);
        let of = answer.timings;
        for (times, time) in [
            (&mut self.total, of.total),
            (&mut self.queued, of.queued),
            (&mut self.prepare, of.prepare),
            (&mut self.execute, of.execute),
        ] {
            times.add(time);
        }
        // A worker may report any time.
        let executions = answer.usage.executions.iter().map(|of| of.usage.cpu);
        self.execute_cpu = executions.fold(self.execute_cpu, Duration::saturating_add);
        // Several requests may have waited for one preparation.
        if let (Some(of), Some(artifact)) = (&answer.usage.preparation, &answer.artifact)
            && !artifact.cached
        {
            self.prepare_cpu.insert(artifact.id.clone(), of.usage.cpu);
        }
    }

    /// Requests with a verdict.
    pub(super) fn answered_count(&self) -> u64 {
        self.verdicts.values().sum()
    }

    pub(super) fn unanswered_count(&self) -> u64 {
        self.unanswered.values().sum()
    }

    pub(super) fn prepare_cpu(&self) -> Duration {
        self.prepare_cpu.values().copied().fold(Duration::ZERO, Duration::saturating_add)
    }

    /// Verdicts in each second.
    pub(super) fn throughput(&self) -> f64 {
        match self.elapsed.as_secs_f64() {
            0.0 => 0.0,
            seconds => self.answered_count() as f64 / seconds,
        }
    }
}

/// Counts a reason. It may quote a guest or another machine, and each request may have one of its own.
fn count(reasons: &mut BTreeMap<String, u64>, reason: &str) {
    let reason = escaped(reason);
    let key = if reasons.len() < REASONS || reasons.contains_key(&reason) { reason } else { OTHER.to_owned() };
    *reasons.entry(key).or_default() += 1;
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::{ClientError, Outcome, WorkerId};
    use pvf_shared::{
        identity::{UserName, WorkerKind},
        ids::CodeHash,
        job::{AttemptEnd, JobUsage},
        params::ExecutorParams,
        verdict::{InternalError, InvalidReason},
        wire::{ArtifactSummary, AttemptUsage, PreparationUsage, Refusal, Timings, VerdictUsage},
    };
    use pvf_testkit::fixtures::{artifact_id, engine, request_id};

    const MS: Duration = Duration::from_millis(1);

    fn answer(outcome: Outcome, cached: bool) -> Answer {
        let worker = WorkerId::new(WorkerKind::Execute, UserName::default());
        let usage = JobUsage { cpu: 3 * MS, ..JobUsage::default() };
        let execution = AttemptUsage { attempt: 1, worker, end: AttemptEnd::Valid, usage };
        let preparation = PreparationUsage { worker, usage: JobUsage { cpu: 100 * MS, ..usage } };
        Answer {
            request: request_id(1),
            outcome,
            code_hash: CodeHash::of(b"code"),
            artifact: Some(ArtifactSummary {
                id: artifact_id(b"code", &ExecutorParams::default(), engine("e")),
                bytes: 1,
                cached,
            }),
            timings: Timings { queued: MS, prepare: Duration::ZERO, execute: 4 * MS, total: 6 * MS },
            worker: Some(worker),
            attempts: 2,
            usage: VerdictUsage { preparation: Some(preparation), executions: vec![execution] },
            second_opinion: None,
        }
    }

    fn ended(answer: Result<Answer, ClientError>) -> Ended {
        Ended { kind: ExecuteKind::Approval, latency: 7 * MS, answer }
    }

    /// Two invalid candidates that waited for one preparation, one without a verdict, one internal.
    pub(in super::super) fn sample() -> Measured {
        let mut measured = Measured::new().unwrap();
        let invalid = || Outcome::Invalid(InvalidReason::WorkerReported("\u{1b}[2Jtrap".into()));
        for outcome in [invalid(), invalid()] {
            measured.add(ended(Ok(answer(outcome, false)))).unwrap();
        }
        assert_eq!(measured.worst, Exit::Negative);
        measured.add(ended(Ok(answer(Outcome::Internal(InternalError::Kernel("k".into())), true)))).unwrap();
        let refused = Refusal::Malformed("m".into());
        measured.add(ended(Err(ClientError::Refused(refused)))).unwrap();
        (measured.sent, measured.elapsed) = (4, Duration::from_secs(2));
        measured
    }

    #[test]
    fn verdicts_reasons_and_cpu_time_are_added_up() {
        let measured = sample();
        assert_eq!(measured.verdicts, BTreeMap::from([("invalid", 2), ("internal", 1)]));
        assert_eq!((measured.answered_count(), measured.unanswered_count()), (3, 1));
        assert_eq!(measured.throughput(), 1.5);
        assert_eq!((measured.execute_cpu, measured.prepare_cpu()), (9 * MS, 100 * MS));
        assert_eq!((measured.worst, measured.retried), (Exit::NoResult, 3));
        assert!(measured.reasons.keys().any(|why| why.contains("\\u{1b}[2Jtrap")), "{:?}", measured.reasons);
        assert_eq!(measured.latency.count(), 3, "a request without a verdict has no latency");
    }

    #[test]
    fn reasons_that_are_all_different_take_bounded_memory() {
        let mut reasons = BTreeMap::new();
        (0..100).for_each(|n| count(&mut reasons, &format!("reason {n}")));
        assert_eq!(reasons.len(), REASONS + 1);
        assert_eq!(reasons[OTHER], 100 - REASONS as u64);
    }
}
