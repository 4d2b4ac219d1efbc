//! What became of the requests of a run.

use super::{
    client::{Answered, Line},
    truth::Judgement,
};
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::{Duration, Instant},
};

/// Answers of one kind that a report shows in full.
const SHOWN: usize = 20;

/// What became of the requests.
#[derive(Debug, Default)]
pub struct Checker {
    /// Requests without an answer: when they began and at which client.
    in_flight: HashMap<u64, (Instant, usize)>,
    answered: BTreeSet<u64>,
    judged: BTreeMap<Judgement, u64>,
    /// Clients that were killed and whose last words were not read yet.
    killed: BTreeSet<usize>,
    /// Requests whose client was killed.
    withdrawn: u64,
    /// Requests whose client ended by itself.
    abandoned: u64,
    /// Requests that more than one answer came for.
    doubled: u64,
    /// Executions that began more than once.
    repeated: u64,
    times: Vec<u64>,
    internal: BTreeMap<String, u64>,
    shown: Vec<Answered>,
    /// When the last answer came.
    last: Option<Instant>,
    gap: Duration,
    /// Requests that lived when a fault that may end jobs was over.
    exposed: BTreeSet<u64>,
}

/// The result of a run.
#[derive(Debug, Clone, Serialize)]
pub struct Tally {
    /// Requests that began.
    pub requests: u64,
    /// Those that were answered as they must be.
    pub right: u64,
    /// Those that the fleet could not tell, but for those that are starved.
    pub internal: u64,
    /// Guests that never end and got too little CPU time for the fleet to tell.
    pub starved: u64,
    /// Bad candidates that were run twice without a clear result.
    pub unclear: u64,
    /// Those whose client was killed.
    pub withdrawn: u64,
    /// Those without an answer in time, and those whose client ended by itself.
    pub lost: u64,
    /// Those with two answers.
    pub doubled: u64,
    /// Bad ones that were called good, or answered with another result.
    pub wrong: u64,
    /// Good ones that were called bad.
    pub false_blame: u64,
    /// Those of which more than one attempt began.
    pub repeated: u64,
    /// Median and 99th percentile of the time to the answer, and the longest, milliseconds.
    pub ms: [u64; 3],
    /// The longest time without any answer, milliseconds.
    pub longest_gap_ms: u64,
    /// Why the fleet could not tell, and how often.
    pub internal_reasons: BTreeMap<String, u64>,
    /// Answers that are faults, the first of them.
    pub faults: Vec<Answered>,
}

impl Checker {
    /// Takes a line of a client.
    pub fn take(&mut self, client: usize, line: Line) {
        let now = Instant::now();
        match line {
            Line::Begins(n) => {
                self.in_flight.insert(n, (now, client));
            }
            Line::Answered(answered) => {
                if !self.answered.insert(answered.n) {
                    self.doubled += 1;
                    return;
                }
                self.in_flight.remove(&answered.n);
                self.exposed.remove(&answered.n);
                let since = self.last.replace(now).map_or(Duration::ZERO, |last| now - last);
                self.gap = self.gap.max(since);
                *self.judged.entry(answered.judgement).or_default() += 1;
                self.repeated += u64::from(answered.attempts > 1);
                self.times.push(answered.ms);
                if matches!(answered.judgement, Judgement::Internal | Judgement::Starved) {
                    *self.internal.entry(without_numbers(&answered.text)).or_default() += 1;
                }
                if answered.judgement.is_fault() && self.shown.len() < SHOWN {
                    self.shown.push(answered);
                }
            }
        }
    }

    /// Notes that a client was killed.
    pub fn client_killed(&mut self, client: usize) {
        self.killed.insert(client);
    }

    /// Notes that a client has ended and said all it had to say: what it still waited for gets no answer.
    pub fn client_ended(&mut self, client: usize) {
        let before = self.in_flight.len();
        self.in_flight.retain(|_, (_, of)| *of != client);
        let count = if self.killed.remove(&client) { &mut self.withdrawn } else { &mut self.abandoned };
        *count += (before - self.in_flight.len()) as u64;
        self.exposed.retain(|n| self.in_flight.contains_key(n));
    }

    /// Notes that a fault which may end jobs is over.
    pub fn jobs_may_have_ended(&mut self) {
        self.exposed = self.in_flight.keys().copied().collect();
    }

    /// Whether no request lives that has lived through a fault which may end jobs.
    pub fn none_is_exposed(&self) -> bool {
        self.exposed.is_empty()
    }

    /// Requests without an answer.
    pub fn waiting(&self) -> usize {
        self.in_flight.len()
    }

    /// Requests with an answer.
    pub fn done(&self) -> usize {
        self.answered.len()
    }

    /// How long the oldest request without an answer waits.
    pub fn oldest(&self) -> Duration {
        self.in_flight.values().map(|(since, _)| since.elapsed()).max().unwrap_or_default()
    }

    /// The result. Requests that still have no answer are lost.
    pub fn tally(&self) -> Tally {
        let of = |judgement| self.judged.get(&judgement).copied().unwrap_or(0);
        let mut times = self.times.clone();
        times.sort_unstable();
        let at = |part: usize| times.get((times.len() * part / 1000).min(times.len().saturating_sub(1))).copied();
        let waiting = self.in_flight.len() as u64;
        Tally {
            requests: self.answered.len() as u64 + waiting + self.withdrawn + self.abandoned,
            right: of(Judgement::Right),
            internal: of(Judgement::Internal),
            starved: of(Judgement::Starved),
            unclear: of(Judgement::Unclear),
            withdrawn: self.withdrawn,
            lost: of(Judgement::Lost) + waiting + self.abandoned,
            doubled: self.doubled,
            wrong: of(Judgement::Wrong),
            false_blame: of(Judgement::FalseBlame),
            repeated: self.repeated,
            ms: [500, 990, 1000].map(|part| at(part).unwrap_or(0)),
            longest_gap_ms: self.gap.as_millis() as u64,
            internal_reasons: self.internal.clone(),
            faults: self.shown.clone(),
        }
    }
}

/// The text without what differs between requests, so that reasons can be counted.
fn without_numbers(text: &str) -> String {
    let word = |word: &str| match word.chars().filter(char::is_ascii_digit).count() {
        0 => word.to_owned(),
        1..=6 if word.len() <= 8 => "N".into(),
        _ => "…".into(),
    };
    text.split(' ').take(24).map(word).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(n: u64, judgement: Judgement) -> Line {
        Line::Answered(Answered { n, judgement, text: "text".into(), attempts: 1, ms: n })
    }

    #[test]
    fn requests_are_counted_by_what_became_of_them() {
        let mut checker = Checker::default();
        for n in 0..6 {
            checker.take((n % 2) as usize, Line::Begins(n));
        }
        checker.jobs_may_have_ended();
        assert!(!checker.none_is_exposed());
        checker.take(0, answered(0, Judgement::Right));
        checker.take(0, answered(0, Judgement::Right));
        checker.take(0, answered(2, Judgement::FalseBlame));
        checker.client_killed(1);
        checker.client_ended(1);
        checker.take(0, Line::Begins(7));
        assert!(!checker.none_is_exposed(), "request 4 has no answer yet");
        checker.take(0, answered(4, Judgement::Internal));
        assert!(checker.none_is_exposed());
        checker.take(0, answered(7, Judgement::Starved));
        checker.take(1, Line::Begins(8));
        checker.client_ended(1);
        let tally = checker.tally();
        assert_eq!((tally.requests, tally.right, tally.doubled, tally.withdrawn), (8, 1, 1, 3));
        assert_eq!((tally.false_blame, tally.internal, tally.starved, tally.faults.len()), (1, 1, 1, 1));
        assert_eq!(tally.lost, 1, "the client of request 8 ended by itself");
    }
}
