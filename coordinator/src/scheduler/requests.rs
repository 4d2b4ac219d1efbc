//! Requests: who waits for what, until when, and how each ends.

use super::{
    Effect, Moment, Scheduler,
    artifacts::{ArtifactKey, Waiter},
    chores::Chore,
    clients::ClientKey,
    deadlines::Entry,
    leaves::LeafEntry,
    programs::Program,
    timers::Nanos,
};
use pvf_shared::{
    ids::{CodeHash, JobId, NodeId, RequestId, WorkerId},
    priority::{ExecuteKind, PreparePriority},
    verdict::{Outcome, WireOutcome},
    wire::{ArtifactSummary, Timings, Verdict, WorkerKind},
};
use std::{sync::Arc, time::Duration};

/// Requests that are answered at once; more than these wait for their turn among the chores.
const ANSWERED_AT_ONCE: usize = 32;

/// A request without a verdict.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) client: ClientKey,
    pub(super) arrived: Moment,
    pub(super) deadline: Moment,
    /// Where its deadline stands in the calendar.
    pub(super) entry: Entry,
    /// The relay leaf that it belongs to, if it may be orphaned, and where it stands there.
    pub(super) leaf: Option<LeafEntry>,
    pub(super) wants: Wants,
}

/// What a request waits for.
#[derive(Debug)]
pub(super) enum Wants {
    /// An execution; and as which kind it was admitted.
    Execution(JobId, ExecuteKind),
    /// A preparation.
    Preparation(Box<Errand>),
}

/// The way through the artifact table, and what was learnt on it.
#[derive(Debug, Clone)]
pub(super) struct Errand {
    pub(super) program: Arc<Program>,
    pub(super) artifact: Option<ArtifactKey>,
    /// Nobody waits for the end: the request is answered when its artifact has been asked for.
    pub(super) heads_up: bool,
    /// The artifact was there each time.
    pub(super) cached: bool,
    pub(super) timings: Spent,
    /// Since when it is where it is.
    pub(super) since: Moment,
}

/// How long each stage took so far.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Spent {
    pub(super) queued: Nanos,
    pub(super) prepare: Nanos,
    pub(super) execute: Nanos,
}

impl From<Spent> for Timings {
    fn from(spent: Spent) -> Self {
        let (queued, prepare, execute) = (spent.queued.into(), spent.prepare.into(), spent.execute.into());
        Self { queued, prepare, execute, total: Duration::ZERO }
    }
}

impl Errand {
    pub(super) fn new(program: Arc<Program>, now: Moment) -> Self {
        Self { program, artifact: None, heads_up: false, cached: true, timings: Spent::default(), since: now }
    }

    /// It waited for its artifact, and has it now. `times`: when its preparation was dispatched and when it ended,
    /// if it waited for one.
    pub(super) fn artifact_is_there(&mut self, times: Option<(Moment, Moment)>, now: Moment) {
        if let Some((dispatched, ended)) = times {
            self.cached = false;
            self.timings.queued += dispatched.since(self.since);
            self.timings.prepare += ended.since(dispatched.max(self.since));
        }
        self.since = now;
    }
}

/// How something ended that one or more requests waited for.
#[derive(Debug, Clone)]
pub(super) struct Ending {
    pub(super) outcome: WireOutcome,
    pub(super) worker: Option<WorkerId>,
    pub(super) code_hash: CodeHash,
    pub(super) artifact: Option<ArtifactSummary>,
    pub(super) timings: Timings,
    pub(super) attempts: u32,
}

impl Scheduler {
    /// A precheck or a heads-up asks for its artifact.
    pub(super) fn house_preparation(&mut self, id: RequestId, now: Moment) {
        let Some(Request { wants: Wants::Preparation(errand), .. }) = self.requests.get(&id) else {
            return;
        };
        let (program, heads_up) = (errand.program.clone(), errand.heads_up);
        let key =
            self.choose_engine(WorkerKind::Prepare, &program).map(|engine| self.artifact_for(&program, engine, now));
        let Some(Request { wants: Wants::Preparation(errand), .. }) = self.requests.get_mut(&id) else {
            return;
        };
        errand.artifact = key;
        match key {
            None => drop(self.homeless.insert(Waiter::Preparation(id))),
            Some(key) => {
                let priority = if heads_up { PreparePriority::Background } else { PreparePriority::Normal };
                self.need_artifact(key, Waiter::Preparation(id), (program, priority, !heads_up), now);
                if heads_up {
                    self.end_request(id, Some(Outcome::HeadsUpTaken), now);
                }
            }
        }
    }

    /// What became of the artifact of an errand, for the verdict.
    fn ending(&self, errand: &Errand, outcome: WireOutcome, worker: Option<WorkerId>, attempts: u32) -> Ending {
        let artifact = errand.artifact.and_then(|key| self.artifacts.get(key));
        Ending {
            outcome,
            worker,
            code_hash: errand.program.code.hash,
            artifact: artifact.map(|a| ArtifactSummary {
                id: errand.program.artifact_id(self.fleet.engine(a.engine)),
                bytes: a.bytes,
                cached: errand.cached && a.bytes > 0,
            }),
            timings: errand.timings.into(),
            attempts,
        }
    }

    /// A precheck ends.
    pub(super) fn finish_preparation(
        &mut self,
        id: RequestId,
        outcome: WireOutcome,
        times: Option<(Moment, Moment)>,
        now: Moment,
    ) {
        if let Some(Request { wants: Wants::Preparation(errand), .. }) = self.requests.get_mut(&id) {
            errand.artifact_is_there(times, now);
            let errand = (**errand).clone();
            let outcome = match outcome {
                Outcome::PrecheckOk if errand.heads_up => Outcome::HeadsUpTaken,
                outcome => outcome,
            };
            let ending = self.ending(&errand, outcome, None, 0);
            drop(errand);
            self.answer(id, &ending, now);
        }
    }

    /// An execution that is in no stage ends: everybody who waits for it gets the verdict.
    pub(super) fn finish_execution(&mut self, job: JobId, outcome: WireOutcome, worker: Option<WorkerId>, now: Moment) {
        let Some(execution) = self.executions.get(&job) else { return };
        let ending = self.ending(&execution.errand, outcome, worker, execution.begun());
        let Some(waiters) = self.forget_execution(job) else { return };
        if waiters.len() <= ANSWERED_AT_ONCE {
            for request in waiters {
                self.answer(request, &ending, now);
            }
        } else {
            self.chores.push_back(Chore::Answer(waiters.into_vec(), Box::new(ending)));
        }
    }

    /// Gives the verdict: the request is done with.
    pub(super) fn answer(&mut self, id: RequestId, ending: &Ending, now: Moment) {
        let Some((node, arrived)) = self.forget_request(id) else { return };
        let total = now.since(arrived);
        let own = |stage: Duration| stage.min(total);
        let timings = Timings {
            queued: own(ending.timings.queued),
            prepare: own(ending.timings.prepare),
            execute: own(ending.timings.execute),
            total,
        };
        let verdict = Arc::new(Verdict {
            request: id,
            outcome: ending.outcome.clone(),
            code_hash: ending.code_hash,
            artifact: ending.artifact.clone(),
            timings,
            worker: ending.worker,
            attempts: ending.attempts,
        });
        self.verdicts.keep(verdict.clone());
        self.effects.push_back(Effect::Verdict { node, verdict });
    }

    /// Nobody waits for this request any more, or it is answered; gives whose it is and when it came.
    fn forget_request(&mut self, id: RequestId) -> Option<(NodeId, Moment)> {
        let request = self.requests.remove(&id)?;
        if self.deadlines.clear(request.entry) {
            let requests = &self.requests;
            self.deadlines.tidy(request.entry, |id| requests.get(id).is_some_and(|r| r.entry == request.entry));
        }
        let kind = match request.wants {
            Wants::Execution(_, kind) => Some(kind),
            Wants::Preparation(errand) => {
                self.programs.release(errand.program);
                None
            }
        };
        let requests = &self.requests;
        let is_live = |id: &RequestId| requests.get(id).is_some_and(|r| r.leaf == request.leaf);
        self.clients.release(request.client, kind, request.leaf, is_live);
        let node = self.clients.get(request.client).map(|client| client.node)?;
        Some((node, request.arrived))
    }

    /// A single request ends before what it waits for: its own deadline, leaf or cancellation.
    pub(super) fn end_request(&mut self, id: RequestId, outcome: Option<WireOutcome>, now: Moment) {
        let Some(request) = self.requests.get(&id) else { return };
        let ending = match &request.wants {
            Wants::Preparation(errand) => {
                let errand = errand.clone();
                let waiter = Waiter::Preparation(id);
                self.homeless.remove(&waiter);
                if let Some(artifact) = errand.artifact.and_then(|key| self.artifacts.get_mut(key)) {
                    artifact.waiters.remove(&waiter);
                }
                outcome.map(|outcome| self.ending(&errand, outcome, None, 0))
            }
            Wants::Execution(job, _) => {
                let job = *job;
                let Some(execution) = self.executions.get(&job) else {
                    // Its answer is among the chores already.
                    return;
                };
                let ending = outcome.map(|outcome| self.ending(&execution.errand, outcome, None, execution.begun()));
                self.leave_execution(job, id, now);
                ending
            }
        };
        match ending {
            Some(ending) => self.answer(id, &ending, now),
            None => drop(self.forget_request(id)),
        }
    }

    fn leave_execution(&mut self, job: JobId, id: RequestId, now: Moment) {
        let Some(execution) = self.executions.get_mut(&job) else { return };
        execution.waiters.retain(|waiter| *waiter != id);
        let Some(heir) = execution.waiters.first().and_then(|id| self.requests.get(id)) else {
            self.withdraw_execution(job, now);
            self.forget_execution(job);
            return;
        };
        let client = heir.client;
        let leaf = heir.leaf.and_then(|entry| self.clients.leaf(client, entry)).copied();
        self.rearrange(job, |execution| (execution.client, execution.work.relay_leaf) = (client, leaf));
    }

    /// Too late: an execution that nobody else waits for is stopped.
    pub(super) fn on_deadline(&mut self, id: RequestId, now: Moment) {
        self.end_request(id, Some(Outcome::ExecutionDeadline), now);
    }
}
