//! What the attempts of one execution used, as their workers reported it.

use pvf_proto::wire::{AttemptUsage, MAX_ATTEMPTS_SHOWN};

/// The attempts that were reported, by their numbers: the last [`MAX_ATTEMPTS_SHOWN`]. Takes no memory of its own until
/// there is one.
#[derive(Debug, Default)]
pub(crate) struct ReportedAttempts(Vec<AttemptUsage>);

impl ReportedAttempts {
    /// An attempt was reported. Of one that is reported again the first report counts.
    pub(crate) fn note(&mut self, report: AttemptUsage) {
        let Self(attempts) = self;
        let at = attempts.partition_point(|earlier| earlier.attempt < report.attempt);
        if attempts.get(at).is_some_and(|earlier| earlier.attempt == report.attempt) {
            return;
        }
        // Most executions have one.
        attempts.reserve_exact(1);
        attempts.insert(at, report);
        if attempts.len() > MAX_ATTEMPTS_SHOWN {
            attempts.remove(0);
        }
    }

    /// The list for a verdict.
    pub(crate) fn to_vec(&self) -> Vec<AttemptUsage> {
        self.0.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pvf_proto::{
        identity::{UserName, WorkerId, WorkerKind},
        job::{AttemptEnd, JobUsage},
    };

    #[test]
    fn attempts_are_in_order_and_of_too_many_the_last_ones_are_kept() {
        let mut reported = ReportedAttempts::default();
        let mut note = |attempt, end| {
            let (worker, usage) = (
                WorkerId { kind: WorkerKind::Execute, user: UserName::default(), session: uuid::Uuid::nil() },
                JobUsage::default(),
            );
            reported.note(AttemptUsage { attempt, worker, end, usage });
            reported.to_vec().iter().map(|of| (of.attempt, of.end)).collect::<Vec<_>>()
        };
        use AttemptEnd::{Internal, Valid};
        assert_eq!(note(3, Internal), [(3, Internal)]);
        assert_eq!(note(1, Valid), [(1, Valid), (3, Internal)]);
        assert_eq!(note(3, Valid), [(1, Valid), (3, Internal)], "the first report counts");
        let last = (4..=20).map(|attempt| note(attempt, Internal)).last().unwrap();
        let expected: Vec<_> = (13..=20).map(|attempt| (attempt, Internal)).collect();
        assert_eq!(last, expected);
        assert_eq!(note(2, Valid), expected);
    }
}
