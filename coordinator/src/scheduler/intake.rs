//! What nodes say: submissions, questions, cancellations, leaf updates.

use super::{Answer, Effect, Moment, Request, Scheduler, Stage, artifacts::Recipe, timers::Timer};
use pvf_shared::{
    ids::{ArtifactId, NodeId, RequestId},
    priority::PreparePriority,
    subjects::Subject,
    verdict::Outcome,
    wire::{ActiveLeavesUpdate, AskReply, FleetStatus, Refusal, Submission, SubmitReply, Timings, Work, WorkerKind},
};
use std::time::Duration;

const DAY_MS: u64 = 24 * 3600 * 1000;
const MAX_BOMB_LIMIT: u64 = 1 << 30;

/// Whether a submission keeps every rule; the refusal names the field and the limit.
pub fn check(submission: &Submission) -> Result<(), Refusal> {
    submission.executor_params.check_consistency().map_err(Refusal::Params)?;
    let bytes = |field, value: u64| in_range(field, value, (1, MAX_BOMB_LIMIT), "bytes");
    let ms = |field, value: Duration, max| {
        in_range(field, u64::try_from(value.as_millis()).unwrap_or(u64::MAX), (1, max), "ms")
    };
    bytes("code bomb limit", submission.code_bomb_limit.into())?;
    ms("answer_within", submission.answer_within, DAY_MS)?;
    if let Some(timeout) = submission.prepare_timeout {
        ms("prepare timeout", timeout, 3_600_000)?;
    }
    if let Work::Execute(execute) = &submission.work {
        bytes("PoV bomb limit", execute.pov_bomb_limit.into())?;
        if let Some(timeout) = execute.exec_timeout {
            ms("execution timeout", timeout, 3_600_000)?;
        }
    }
    Ok(())
}

fn in_range(field: &str, value: u64, (min, max): (u64, u64), unit: &str) -> Result<(), Refusal> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    Err(Refusal::OutOfRange { field: field.into(), value, min, max, unit: unit.into() })
}

impl Scheduler {
    pub(super) fn on_submit(&mut self, submission: Submission, reply: Option<Subject>, now: Moment) {
        let id = submission.id;
        if let Some(verdict) = self.verdicts.get(&id) {
            let (node, verdict) = (submission.node, Box::new(verdict.clone()));
            self.effects.push_back(Effect::Verdict { node, verdict });
        } else if !self.requests.contains_key(&id) {
            if let Err(refusal) = check(&submission) {
                self.reply(reply, Answer::Submit(SubmitReply::Refused(refusal)));
                return;
            }
            self.timers.set(Timer::Deadline(id), now.after(submission.answer_within));
            self.requests.insert(id, new_request(submission, now));
            self.reply(reply, Answer::Submit(SubmitReply::Accepted));
            self.choose_engine(id, now);
            return;
        }
        self.reply(reply, Answer::Submit(SubmitReply::Accepted));
    }

    /// Decides for which engine a request's artifact is to be, by the workers that are there.
    pub(super) fn choose_engine(&mut self, id: RequestId, now: Moment) {
        let Some(request) = self.requests.get_mut(&id) else { return };
        let decides = match request.work {
            Work::Execute(_) => WorkerKind::Execute,
            Work::Precheck | Work::HeadsUp => WorkerKind::Prepare,
        };
        let Some(engine) = self.fleet.main_engine(decides) else {
            self.waiting_for_fleet.insert(id);
            return;
        };
        self.waiting_for_fleet.remove(&id);
        if let Stage::WaitingForFleet { since } = request.stage {
            request.timings.queued += now.since(since);
        }
        request.artifact = Some(ArtifactId { code_hash: request.code_hash, prep_hash: request.prep_hash, engine });
        let heads_up = matches!(request.work, Work::HeadsUp);
        self.need_artifact(id, now);
        if heads_up {
            self.finish(id, Outcome::HeadsUpTaken, None, now);
        }
    }

    pub(super) fn on_ask(&mut self, request: RequestId, reply: Option<Subject>) {
        let answer = match self.verdicts.get(&request) {
            Some(verdict) => AskReply::Done(Box::new(verdict.clone())),
            None if self.requests.contains_key(&request) => AskReply::Pending,
            None => AskReply::Unknown,
        };
        self.reply(reply, Answer::Ask(answer));
    }

    pub(super) fn on_cancel(&mut self, id: RequestId, node: NodeId, reply: Option<Subject>, now: Moment) {
        self.reply(reply, Answer::Submit(SubmitReply::Accepted));
        if self.requests.get(&id).is_some_and(|r| r.node == node) {
            self.withdraw(id, now);
            self.requests.remove(&id);
        }
    }

    /// Too late: an execution that is running is stopped.
    pub(super) fn on_deadline(&mut self, id: RequestId, now: Moment) {
        self.finish(id, Outcome::ExecutionDeadline, None, now);
    }

    pub(super) fn on_leaves(&mut self, node: NodeId, update: &ActiveLeavesUpdate, reply: Option<Subject>, now: Moment) {
        self.leaves.update(node, update);
        self.reply(reply, Answer::Submit(SubmitReply::Accepted));
        let unwanted = |r: &Request| {
            let Work::Execute(execute) = &r.work else { return false };
            let backing = execute.kind.prepare_priority() == PreparePriority::Normal;
            let waiting = !matches!(r.stage, Stage::Executing { .. });
            let orphaned = execute.relay_leaf.is_some_and(|leaf| !self.leaves.wanted(&node, &leaf));
            r.node == node && backing && waiting && orphaned
        };
        let mut gone: Vec<_> = self.requests.iter().filter(|(_, r)| unwanted(r)).map(|(id, _)| *id).collect();
        gone.sort_unstable();
        for id in gone {
            self.finish(id, Outcome::ExecutionDeadline, None, now);
        }
    }

    pub(super) fn on_status(&mut self, reply: Option<Subject>) {
        let status = FleetStatus {
            token: self.config.token,
            version: self.config.version.clone(),
            workers: self.fleet.status(),
            requests: self.requests.len() as u64,
            prepare_queue: self.prepare_queue.len() as u64,
            execute_queue: self.execute_queue.len() as u64,
            prepared: self.counts.prepare_dispatched,
            executed: self.counts.execute_dispatched,
        };
        self.reply(reply, Answer::Status(status));
    }
}

fn new_request(submission: Submission, now: Moment) -> Request {
    let priority = match &submission.work {
        Work::HeadsUp => PreparePriority::Background,
        Work::Precheck => PreparePriority::Normal,
        Work::Execute(execute) => execute.kind.prepare_priority(),
    };
    Request {
        node: submission.node,
        code_hash: submission.code.hash,
        prep_hash: submission.executor_params.prep_hash(),
        recipe: Recipe {
            code: submission.code.blob,
            executor_params: submission.executor_params,
            code_bomb_limit: submission.code_bomb_limit,
            prepare_timeout: submission.prepare_timeout,
            priority,
            precheck: matches!(submission.work, Work::Precheck),
            failures: 0,
        },
        work: submission.work,
        arrived: now,
        stage: Stage::WaitingForFleet { since: now },
        artifact: None,
        summary: None,
        info: None,
        timings: Timings::default(),
        attempts: 0,
        avoid: Vec::new(),
        ambiguous: 0,
        our_failures: 0,
    }
}
