//! The rules of a worker, derived from the commands that reach it, its actions, and what its processes do.

use super::super::setup::timing;
use pvf_shared::{
    ids::FencingToken,
    job::JobOutcome,
    subjects::Subject,
    time::Timestamp,
    wire::{CommandRefusal, Dispatch, DispatchReply, JobReport, RunningJob, ToWorker, WorkerReply},
};
use pvf_worker_core::{Action, AttemptKey, Request};
use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

/// Longest time between two transmissions of a report that is not acknowledged, apart from the wait for an answer.
const REPEATED_WITHIN: Duration = Duration::from_secs(3);

/// What is known of one worker.
#[derive(Debug)]
pub struct WorkerChecks {
    highest_token: FencingToken,
    attempts: BTreeMap<AttemptKey, Seen>,
    /// Commands that wait for an answer: how often each arrived, when it did last, and the attempt.
    unanswered: HashMap<Subject, (u32, Timestamp, AttemptKey)>,
    /// When it went on after it stood still.
    resumed: Timestamp,
    /// Its machine can run jobs.
    pub fit: bool,
}

/// An attempt that the worker was told of.
#[derive(Debug)]
struct Seen {
    urgency: u8,
    /// When the dispatch was handled; once it is fetched, when it was.
    arrived: Timestamp,
    state: State,
}

#[derive(Debug)]
enum State {
    /// It was accepted, and what it needs is being fetched.
    Fetching,
    /// It is fetched and has not begun.
    Waiting,
    /// It has begun, or failed before it could.
    Begun,
    /// It was recalled, cancelled or superseded.
    Withdrawn,
    /// It has ended; its report is not acknowledged.
    Completed {
        outcome: JobOutcome,
        at: Timestamp,
        sent: Option<Timestamp>,
    },
    Acknowledged,
}

impl Default for WorkerChecks {
    fn default() -> Self {
        let (attempts, unanswered, resumed) = (BTreeMap::new(), HashMap::new(), Timestamp::default());
        Self { highest_token: FencingToken(0), attempts, unanswered, resumed, fit: true }
    }
}

impl WorkerChecks {
    /// The worker goes on after it stood still.
    pub fn resumed(&mut self, now: Timestamp) {
        self.resumed = now;
    }

    /// A command was handled with these actions, which are not executed yet.
    pub fn on_command(&mut self, message: &ToWorker, reply: Option<&Subject>, actions: &[Action], now: Timestamp) {
        let refusal = actions.iter().find_map(|action| match action {
            Action::Reply { to, reply: DispatchReply::Refused(why) } if Some(to) == reply => Some(why),
            _ => None,
        });
        let by = match message {
            ToWorker::Dispatch(dispatch) => {
                // What a coordinator that was replaced acknowledges is not acknowledged to its successor.
                if dispatch.token >= self.highest_token {
                    self.acknowledged(&dispatch.acknowledged);
                }
                AttemptKey::from(&**dispatch)
            }
            ToWorker::Acknowledge { reports } => return self.acknowledged(reports),
            ToWorker::Cancel { token, job, attempt } | ToWorker::Recall { token, job, attempt } => {
                AttemptKey { token: *token, job: *job, attempt: *attempt }
            }
        };
        // A coordinator ends also what an earlier one has dispatched.
        let of_earlier = || {
            let is_it = |key: &&AttemptKey| (key.job, key.attempt) == (by.job, by.attempt) && key.token < by.token;
            self.attempts.keys().rfind(is_it).copied()
        };
        let key = match message {
            ToWorker::Cancel { .. } | ToWorker::Recall { .. } => of_earlier().unwrap_or(by),
            ToWorker::Dispatch(_) | ToWorker::Acknowledge { .. } => by,
        };
        if let Some(reply) = reply {
            let entry = self.unanswered.entry(reply.clone()).or_insert((0, now, key));
            (entry.0, entry.1) = (entry.0 + 1, now);
        }
        let stale = matches!(refusal, Some(CommandRefusal::StaleToken { .. }));
        let highest = &mut self.highest_token;
        assert_eq!(stale, by.token < *highest, "fencing: token {:?} after {highest:?}: {refusal:?}", by.token);
        if stale {
            return;
        }
        *highest = by.token;
        match message {
            ToWorker::Dispatch(dispatch) => self.on_dispatch(dispatch, refusal, now),
            ToWorker::Cancel { .. } => {
                assert!(refusal.is_none(), "a cancellation is refused: {refusal:?}");
                self.attempts.entry(key).or_insert(Seen { urgency: 0, arrived: now, state: State::Withdrawn }).state =
                    State::Withdrawn;
            }
            ToWorker::Recall { .. } if refusal.is_none() => {
                let seen = self.attempts.get_mut(&key).unwrap_or_else(|| panic!("{key} is given back and is not here"));
                // It may have begun in a moment that the worker has not seen yet.
                let may = matches!(seen.state, State::Fetching | State::Waiting | State::Begun);
                assert!(may, "{key} is given back: {seen:?}");
                seen.state = State::Withdrawn;
            }
            ToWorker::Recall { .. } | ToWorker::Acknowledge { .. } => {}
        }
    }

    fn on_dispatch(&mut self, dispatch: &Dispatch, refusal: Option<&CommandRefusal>, now: Timestamp) {
        let key = AttemptKey::from(dispatch);
        if self.attempts.contains_key(&key) {
            return;
        }
        assert!(self.fit || refusal.is_some(), "a worker whose machine cannot run jobs takes {key}");
        if refusal.is_none_or(|why| *why == CommandRefusal::NoFreeSlot) {
            let earlier = self.attempts.iter_mut().filter(|(other, _)| other.job == key.job);
            for (_, seen) in earlier.filter(|(_, seen)| !matches!(seen.state, State::Acknowledged)) {
                seen.state = State::Withdrawn;
            }
        }
        if refusal.is_none() {
            self.attempts.insert(key, Seen { urgency: dispatch.urgency, arrived: now, state: State::Fetching });
        }
    }

    fn acknowledged(&mut self, reports: &[RunningJob]) {
        for report in reports {
            if let Some(seen) = self.attempts.get_mut(&AttemptKey::from(*report))
                && matches!(seen.state, State::Completed { .. })
            {
                seen.state = State::Acknowledged;
            }
        }
    }

    /// A request of the worker was answered, or not.
    pub fn on_answer(&mut self, request: Request, answer: &Result<WorkerReply, String>) {
        match (request, answer) {
            (Request::Report(key), Ok(_)) => self.acknowledged(&[key.into()]),
            (_, Ok(WorkerReply::Welcome { token })) => self.highest_token = self.highest_token.max(*token),
            _ => {}
        }
    }

    /// The worker hears of another coordinator.
    pub fn on_announced(&mut self, token: FencingToken) {
        self.highest_token = self.highest_token.max(token);
    }

    /// The worker does this.
    pub fn on_action(&mut self, action: &Action, now: Timestamp) {
        match action {
            Action::Reply { to, reply } => {
                let (copies, ..) = self.unanswered.get_mut(to).unwrap_or_else(|| panic!("a second answer: {reply:?}"));
                *copies -= 1;
                if *copies == 0 {
                    self.unanswered.remove(to);
                }
                if let DispatchReply::Done(report) = reply {
                    self.on_report(report, now);
                }
            }
            Action::Report(report) => self.on_report(report, now),
            Action::Start { dispatch, .. } => {
                let key = AttemptKey::from(&**dispatch);
                let seen = self.attempts.get(&key);
                let may = seen.is_some_and(|seen| matches!(seen.state, State::Waiting | State::Begun));
                assert!(may, "{key} is started: {seen:?}");
            }
            Action::Heartbeat(heartbeat) => {
                self.on_heartbeat(&heartbeat.running, now);
                self.check_fetching(&heartbeat.fetching);
            }
            Action::Register(hello) => {
                self.on_heartbeat(&hello.running, now);
                let mut described: Vec<_> = hello.held.iter().map(|held| AttemptKey::from(held.attempt)).collect();
                described.sort_unstable();
                let mut listed: Vec<_> = hello.running.iter().map(|job| AttemptKey::from(*job)).collect();
                listed.sort_unstable();
                assert_eq!(described, listed, "a worker describes other jobs than it lists");
            }
            Action::Fetch { dispatch, .. } => {
                let seen = self.attempts.get(&AttemptKey::from(&**dispatch));
                assert!(seen.is_some_and(|seen| matches!(seen.state, State::Fetching)), "{seen:?} is fetched");
            }
            Action::StopFetch { .. }
            | Action::GrantSlot { .. }
            | Action::Stop { .. }
            | Action::Leave
            | Action::Notice(_) => {}
        }
    }

    /// There is one report for each attempt, and it says what happened.
    fn on_report(&mut self, report: &JobReport, now: Timestamp) {
        let key = AttemptKey::from(report);
        match self.attempts.get_mut(&key).map(|seen| &mut seen.state) {
            Some(State::Completed { outcome, sent, .. }) => {
                assert_eq!(outcome, &report.outcome, "{key} is reported with another outcome");
                *sent = Some(now);
            }
            other => panic!("{key} is reported: {other:?}"),
        }
    }

    /// The worker says which attempts it has, and repeats the reports among them.
    fn on_heartbeat(&mut self, running: &[RunningJob], now: Timestamp) {
        let mut listed: Vec<_> = running.iter().map(|job| AttemptKey::from(*job)).collect();
        listed.sort_unstable();
        let has = |seen: &Seen| {
            matches!(seen.state, State::Fetching | State::Waiting | State::Begun | State::Completed { .. })
        };
        let expected: Vec<_> = self.attempts.iter().filter(|(_, seen)| has(seen)).map(|(key, _)| *key).collect();
        assert_eq!(listed, expected, "a worker lists other jobs than it has");
        let limit = REPEATED_WITHIN + timing().ack;
        for (key, seen) in &self.attempts {
            if let State::Completed { at, sent, .. } = &seen.state {
                let last = sent.unwrap_or(*at).max(self.resumed);
                assert!(now.since(last) <= limit, "the report of {key} is not repeated");
            }
        }
    }

    /// The worker says which attempts are only being fetched: those of which it has handed nothing to a process.
    fn check_fetching(&self, fetching: &[RunningJob]) {
        let mut listed: Vec<_> = fetching.iter().map(|job| AttemptKey::from(*job)).collect();
        listed.sort_unstable();
        let is_fetching = |seen: &Seen| matches!(seen.state, State::Fetching);
        let expected: Vec<_> = self.attempts.iter().filter(|(_, s)| is_fetching(s)).map(|(key, _)| *key).collect();
        assert_eq!(listed, expected, "a worker says of other jobs that they are being fetched");
    }

    /// A process begins a job, or fails before it could.
    pub fn on_begin(&mut self, key: AttemptKey, now: Timestamp) {
        let Some(seen) = self.attempts.get_mut(&key) else { panic!("{key} begins and was not dispatched") };
        // It may begin again: it was displaced in the moment in which it had begun.
        assert!(matches!(seen.state, State::Waiting | State::Begun), "{key} begins: {seen:?}");
        seen.state = State::Begun;
        let urgency = seen.urgency;
        // The kernel gives the slot of a process that ended to the job staged behind it. If a dispatch ended the
        // process, because it superseded that attempt, the staged job begins before the dispatched one can take its
        // place.
        let waits = |seen: &Seen| matches!(seen.state, State::Waiting) && seen.urgency < urgency && seen.arrived < now;
        let first = self.attempts.iter().find(|(_, seen)| waits(seen));
        assert!(first.is_none(), "a less urgent job begins first: {key} ({urgency}) before {first:?}");
    }

    /// The fetch of what an attempt needs is over. From now on it waits with the others.
    pub fn on_fetched(&mut self, key: AttemptKey, now: Timestamp) {
        match self.attempts.get_mut(&key) {
            Some(seen @ Seen { state: State::Fetching, .. }) => (seen.state, seen.arrived) = (State::Waiting, now),
            other => panic!("{key} is fetched: {other:?}"),
        }
    }

    /// What an attempt needs could not be fetched.
    pub fn on_failed(&mut self, key: AttemptKey, outcome: &JobOutcome, now: Timestamp) {
        if let Some(seen) = self.attempts.get_mut(&key) {
            seen.state = State::Completed { outcome: outcome.clone(), at: now, sent: None };
        }
    }

    /// The outcome of an attempt is known.
    pub fn on_ended(&mut self, key: AttemptKey, outcome: &JobOutcome, now: Timestamp) {
        match self.attempts.get_mut(&key).map(|seen| &mut seen.state) {
            Some(state @ State::Begun) => {
                *state = State::Completed { outcome: outcome.clone(), at: now, sent: None };
            }
            other => panic!("{key} ends: {other:?}"),
        }
    }

    /// Nothing was lost for a while: everything is answered and acknowledged.
    pub fn settled(&self, now: Timestamp) {
        let while_ago = |at: Timestamp| now.since(at) >= timing().ack * 6;
        for (key, seen) in &self.attempts {
            if let State::Completed { at, .. } = seen.state {
                assert!(!while_ago(at), "the report of {key} is never acknowledged");
            }
        }
        for (copies, arrived, key) in self.unanswered.values() {
            // The dispatch of a superseded attempt is not answered any more.
            let superseded = self.attempts.get(key).is_some_and(|seen| matches!(seen.state, State::Withdrawn));
            assert!(superseded || !while_ago(*arrived), "a command for {key} is not answered ({copies})");
        }
    }
}
