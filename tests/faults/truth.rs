//! Requests of a run, and what is true of each: a request's number and the run's seed say which one it is.

use crate::requests::{adder, pvf_of};
use fastrand::Rng;
use pvf::{Answer, ExecuteRequest, Pvf};
use pvf_guests::{
    adder::{Block, Head},
    corpus::{RESULT, busy, echo_like, logs_and_traps, returns},
    distinct_adder,
};
use pvf_shared::{
    Bytes,
    client::ClientError,
    priority::ExecuteKind,
    units::{KIB, MIB},
    verdict::{InvalidReason, Outcome, PrepareError},
};
use pvf_testkit::fixtures::context;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How long a request may take. Faults are shorter.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(300);
/// Codes that are prepared once and used by most requests.
const WARM_CODES: u32 = 20;
/// The CPU time limit of an execution that never ends.
const ENDLESS_LIMIT: Duration = Duration::from_millis(200);
/// Rounds of a guest that take some ten milliseconds.
const ROUNDS: u64 = 10_000_000;

/// What the answer must be, unless it is `internal`.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Truth {
    /// Valid, with this head.
    Valid(Bytes),
    /// The guest traps.
    Invalid,
    /// The guest never ends.
    Endless,
    /// The code can be prepared.
    CodeIsGood,
    /// The code is no module.
    CodeIsBad,
}

/// One request.
pub struct Question {
    /// The code.
    pub pvf: Pvf,
    /// The candidate; `None` for a precheck.
    pub request: Option<ExecuteRequest>,
    truth: Truth,
}

/// What an answer is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Judgement {
    /// As it must be.
    Right,
    /// The fleet could not tell.
    Internal,
    /// The fleet could not tell, because a guest that never ends got less CPU time than its limit within the wall
    /// clock.
    Starved,
    /// The fleet ran a bad candidate twice without a clear result.
    Unclear,
    /// Not answered in time, or refused.
    Lost,
    /// A good candidate or code is called bad.
    FalseBlame,
    /// A bad candidate or code is called good, or the result is another one.
    Wrong,
}

impl Judgement {
    /// Whether a run that has one of these has failed.
    pub fn is_fault(self) -> bool {
        matches!(self, Self::Lost | Self::FalseBlame | Self::Wrong)
    }
}

/// Request number `n` of the run with this seed.
pub fn question(seed: u64, n: u64) -> Question {
    let mut rng = Rng::with_seed(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ n);
    // So that no code of one run is in another one's store.
    let code = |n: u32| (seed as u32 % 1000) * 4_000_000 + n;
    let genesis = || Head::genesis().encode();
    let block = |state| Block { state, increment: n }.encode();
    let after = || Head::genesis().next(&Block { state: 0, increment: n }).encode().into();
    let warm = pvf_of(distinct_adder(code(rng.u32(..WARM_CODES))));
    let (pvf, head, pov, truth): (Pvf, Vec<u8>, Vec<u8>, Truth) = match rng.u32(..1000) {
        0..650 => (warm, genesis(), block(0), Truth::Valid(after())),
        650..730 => (warm, genesis(), block(1), Truth::Invalid),
        730..790 => {
            let pov = noise(&mut rng, 70 * KIB..MIB);
            (pvf_of(returns(RESULT)), b"head".to_vec(), pov, Truth::Valid(RESULT[1..5].to_vec().into()))
        }
        790..800 => {
            let head = noise(&mut rng, 100 * KIB..300 * KIB);
            (pvf_of(echo_like()), head.clone(), n.to_le_bytes().to_vec(), Truth::Valid(head.into()))
        }
        800..830 => {
            let cold = pvf_of(distinct_adder(code(WARM_CODES + n as u32)));
            (cold, genesis(), block(0), Truth::Valid(after()))
        }
        830..850 => {
            let pvf = pvf_of(busy(ROUNDS * rng.u64(1..=10)));
            (pvf, n.to_le_bytes().to_vec(), vec![], Truth::Valid(RESULT[1..5].to_vec().into()))
        }
        850..960 => (pvf_of(logs_and_traps()), n.to_le_bytes().to_vec(), vec![], Truth::Invalid),
        960..963 => (pvf_of(busy(u64::MAX)), n.to_le_bytes().to_vec(), vec![], Truth::Endless),
        963..983 => {
            let cold = pvf_of(distinct_adder(code(WARM_CODES + n as u32)));
            return Question { pvf: cold, request: None, truth: Truth::CodeIsGood };
        }
        983..990 => {
            let bad = pvf_of(format!("no module: {seed} {n}").into_bytes());
            return Question { pvf: bad, request: None, truth: Truth::CodeIsBad };
        }
        _ => (adder(), genesis(), block(0), Truth::Valid(after())),
    };
    let kind = ExecuteKind::ALL[rng.usize(..4)];
    let mut request = ExecuteRequest::new(kind, context(head), pov);
    request.answer_within = Some(ANSWER_WITHIN);
    request.exec_timeout = (truth == Truth::Endless).then_some(ENDLESS_LIMIT);
    Question { pvf, request: Some(request), truth }
}

fn noise(rng: &mut Rng, sizes: std::ops::Range<usize>) -> Vec<u8> {
    let mut bytes = vec![0; rng.usize(sizes)];
    rng.fill(&mut bytes);
    bytes
}

impl Question {
    /// What an answer to it is worth, and what it was.
    pub fn judge(&self, answer: &Result<Answer, ClientError>) -> (Judgement, String) {
        let outcome = match answer {
            Ok(answer) => &answer.outcome,
            Err(error) => return (Judgement::Lost, error.to_string()),
        };
        let text = outcome.reason().map_or(outcome.name().into(), |why| format!("{}: {why}", outcome.name()));
        (self.judge_outcome(outcome), text)
    }

    fn judge_outcome(&self, outcome: &Outcome) -> Judgement {
        let good = matches!(self.truth, Truth::Valid(_) | Truth::CodeIsGood);
        match (&self.truth, outcome) {
            (Truth::Endless, Outcome::Internal(_)) => Judgement::Starved,
            (_, Outcome::Internal(_)) => Judgement::Internal,
            (_, Outcome::Expired) => Judgement::Lost,
            (Truth::Valid(head), Outcome::Valid(result)) if result.head_data == head[..] => Judgement::Right,
            (Truth::Invalid, Outcome::Invalid(InvalidReason::WorkerReported(_)))
            | (Truth::Endless, Outcome::Invalid(InvalidReason::HardTimeout { .. }))
            | (Truth::CodeIsGood, Outcome::PrecheckOk)
            | (Truth::CodeIsBad, Outcome::PreparationFailed(PrepareError::Prevalidation(_))) => Judgement::Right,
            (_, Outcome::Invalid(_) | Outcome::PossiblyInvalid(_) | Outcome::PreparationFailed(_)) if good => {
                Judgement::FalseBlame
            }
            (_, Outcome::PossiblyInvalid(_)) => Judgement::Unclear,
            _ => Judgement::Wrong,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pvf_shared::verdict::AmbiguousReason;

    #[test]
    fn a_request_is_the_same_each_time_and_each_kind_occurs() {
        let kinds = |seed| (0..3000).map(move |n| question(seed, n).truth);
        assert!(kinds(7).eq(kinds(7)) && !kinds(7).eq(kinds(8)));
        let is = |truth: &Truth| kinds(7).any(|other| other == *truth);
        assert!([Truth::Invalid, Truth::Endless, Truth::CodeIsGood, Truth::CodeIsBad].iter().all(is));
        let sizes: Vec<_> = (0..3000).filter_map(|n| question(7, n).request).map(|r| r.block_data.len()).collect();
        assert!(sizes.iter().any(|len| *len > 500 * KIB));
    }

    #[test]
    fn answers_are_judged_by_the_truth() {
        let of = |truth| Question { pvf: adder(), request: None, truth };
        let blame = Outcome::PossiblyInvalid(AmbiguousReason::WorkerDeath);
        assert_eq!(of(Truth::Valid(Bytes::new())).judge_outcome(&blame), Judgement::FalseBlame);
        assert_eq!(of(Truth::Invalid).judge_outcome(&blame), Judgement::Unclear);
        assert_eq!(of(Truth::CodeIsBad).judge_outcome(&Outcome::PrecheckOk), Judgement::Wrong);
        assert_eq!(of(Truth::CodeIsGood).judge_outcome(&Outcome::PrecheckOk), Judgement::Right);
        assert_eq!(of(Truth::CodeIsGood).judge_outcome(&Outcome::Expired), Judgement::Lost);
    }
}
