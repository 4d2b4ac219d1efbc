//! What nodes say: submissions, questions, cancellations, leaf updates.

use super::{
    Answer, Effect, Moment, Scheduler,
    artifacts::State,
    chores::Chore,
    clients::ClientKey,
    deadlines::Entry,
    executions::{Execution, Stage, tag},
    fleet::EngineKey,
    programs::Program,
    requests::{Errand, Request, Wants},
    timers::Timer,
};
use pvf_shared::{
    ids::{NodeId, RequestId, ValidationKey},
    priority::{ExecuteKind, PreparePriority},
    subjects::Subject,
    units::{MAX_TIMEOUT, MAX_WAIT},
    verdict::{AmbiguousReason, Outcome},
    wire::{ActiveLeavesUpdate, AskReply, ExecuteSubmission, Refusal, Submission, SubmitReply, Work, WorkerKind},
};
use std::{sync::Arc, time::Duration};

const MAX_BOMB_LIMIT: u64 = 1 << 30;
/// How long a node without requests is remembered.
const FORGET_CLIENT: Duration = Duration::from_secs(600);
/// An engine that has an artifact is preferred as long as its queue is not longer than this for each slot: about
/// what a preparation would take.
const ARTIFACT_IS_WORTH: u64 = 16;

/// Whether a submission keeps every rule; the refusal names the field and the limit.
pub fn check(submission: &Submission) -> Result<(), Refusal> {
    submission.executor_params.check_consistency().map_err(Refusal::Params)?;
    let bytes = |field, value: u64| in_range(field, value, (1, MAX_BOMB_LIMIT), "bytes");
    let ms = |field, value: Duration, max: Duration| {
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        in_range(field, ms(value), (1, ms(max)), "ms")
    };
    bytes("code bomb limit", submission.code_bomb_limit.into())?;
    ms("answer_within", submission.answer_within, MAX_WAIT)?;
    if let Some(timeout) = submission.prepare_timeout {
        ms("prepare timeout", timeout, MAX_TIMEOUT)?;
    }
    if let Work::Execute(execute) = &submission.work {
        bytes("PoV bomb limit", execute.pov_bomb_limit.into())?;
        if let Some(timeout) = execute.exec_timeout {
            ms("execution timeout", timeout, MAX_TIMEOUT)?;
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
    pub(super) fn on_submit(
        &mut self,
        submission: Submission,
        identity: Option<ValidationKey>,
        reply: Option<Subject>,
        now: Moment,
    ) {
        let id = submission.id;
        let answer = match self.admit(&submission, now) {
            Ok(true) => {
                self.accept(submission, identity, now);
                Answer::Accepted(id)
            }
            Ok(false) => Answer::Accepted(id),
            Err(refusal) => Answer::Submit(SubmitReply::Refused(refusal)),
        };
        self.reply(reply, answer);
    }

    /// Whether a submission is new; if it is, whether there is room for it.
    fn admit(&mut self, submission: &Submission, now: Moment) -> Result<bool, Refusal> {
        let id = submission.id;
        let client = self.clients.find(&submission.node);
        if let Some(client) = client {
            // Whatever becomes of it: its client is there.
            self.client_heard_of(client, now);
        }
        if self.requests.contains_key(&id) {
            return Ok(false);
        }
        if let Some(verdict) = self.verdicts.get(&id) {
            let (node, verdict) = (submission.node, verdict.clone());
            self.effects.push_back(Effect::Verdict { node, verdict });
            return Ok(false);
        }
        if self.cancelled.has(id) {
            return Ok(false);
        }
        check(submission)?;
        let (kind, bytes) = weight(&submission.work);
        let policy = &self.config.policy;
        if let Some(what) = self.clients.full(client, kind, bytes, (policy.per_kind, policy.per_client)) {
            self.counts.overloaded += 1;
            return Err(Refusal::Overloaded { what, retry_after: policy.retry_after });
        }
        Ok(true)
    }

    fn accept(&mut self, submission: Submission, identity: Option<ValidationKey>, now: Moment) {
        let id = submission.id;
        let Some(client) = self.clients.find_or_add(submission.node) else { return };
        self.client_heard_of(client, now);
        let deadline = now.after(submission.answer_within);
        let program = self.programs.of(&submission);
        match submission.work {
            Work::Execute(mut work) => {
                let own = || ValidationKey(pvf_shared::ids::BlobHash::of(id.0.as_bytes()).0);
                let identity = identity.unwrap_or_else(own);
                let leaf = work.relay_leaf.filter(|_| work.kind.prepare_priority() == PreparePriority::Normal);
                work.relay_leaf = leaf;
                self.accept_execution((id, client), (work, program), (identity, leaf), (now, deadline));
            }
            Work::Precheck | Work::HeadsUp => {
                let heads_up = matches!(submission.work, Work::HeadsUp);
                let errand = Errand { heads_up, ..Errand::new(program, now) };
                let wants = Wants::Preparation(Box::new(errand));
                let request = Request { client, arrived: now, deadline, entry: Entry::default(), leaf: None, wants };
                self.add_request(id, request, None);
                self.house_preparation(id, now);
            }
        }
    }

    fn add_request(&mut self, id: RequestId, mut request: Request, leaf: Option<[u8; 32]>) {
        request.entry = self.deadlines.set(id, request.deadline, request.arrived);
        let kind = match &request.wants {
            Wants::Execution(_, kind) => Some(*kind),
            Wants::Preparation(_) => None,
        };
        request.leaf = self.clients.admit(request.client, kind, leaf.map(|leaf| (leaf, id)));
        self.requests.insert(id, request);
    }

    fn accept_execution(
        &mut self,
        (id, client): (RequestId, ClientKey),
        (work, program): (Box<ExecuteSubmission>, Arc<Program>),
        (identity, leaf): (ValidationKey, Option<[u8; 32]>),
        (now, deadline): (Moment, Moment),
    ) {
        let kind = work.kind;
        let joined = (!work.fresh).then(|| self.same_execution(&identity)).flatten();
        let job = joined.unwrap_or_else(|| self.next_job());
        let wants = Wants::Execution(job, kind);
        let request = Request { client, arrived: now, deadline, entry: Entry::default(), leaf: None, wants };
        self.add_request(id, request, leaf);
        if joined.is_some() {
            self.programs.release(program);
            self.join_execution(job, id, (kind, deadline), now);
        } else {
            let bytes = weight_of(&work);
            self.clients.charge_bytes((client, kind), bytes);
            let shared = !work.fresh && !self.identities.contains_key(&tag(&identity));
            if shared {
                self.identities.insert(tag(&identity), job);
            }
            let execution = Execution {
                errand: Errand::new(program, now),
                kind,
                deadline,
                work: *work,
                identity,
                shared,
                waiters: std::iter::once(id).collect(),
                client,
                bytes,
                charged: (client, kind),
                stage: Stage::Homeless,
                attempts: 0,
                not_begun: 0,
                used: None,
                avoid: Vec::new(),
                ambiguous: 0,
                our_failures: 0,
            };
            self.executions.insert(job, execution);
            if self.quarantine.holds(&identity, self.config.policy.max_deaths, now) {
                self.counts.quarantined += 1;
                let outcome = Outcome::PossiblyInvalid(AmbiguousReason::WorkerDeath);
                self.finish_execution(job, outcome, None, now);
                return;
            }
            self.house_execution(job, now);
        }
        if let Some(leaf) = leaf
            && self.clients.is_retired(client, &leaf)
            && !self.is_running(id)
        {
            self.end_request(id, Some(Outcome::ExecutionDeadline), now);
        }
    }

    /// For which engine work is to be done: one that has workers, with regard to what waits for each and to whether
    /// the artifact is there already. An engine that cannot get the artifact is not chosen while another can.
    pub(super) fn choose_engine(&self, kind: WorkerKind, program: &Program) -> Option<EngineKey> {
        let mut candidates = self.fleet.engines().filter(|engine| !self.fleet.pool(kind, *engine).is_empty());
        let first = candidates.next()?;
        let Some(second) = candidates.next() else { return Some(first) };
        let cost = |engine: &EngineKey| {
            let slots = self.fleet.pool(kind, *engine).slots().max(1);
            let artifact = self.artifacts.find(program.code.hash, program.prep_hash, *engine);
            let artifact = artifact.and_then(|key| self.artifacts.get(key));
            let there = artifact.is_some_and(|a| !matches!(a.state, State::Listed | State::Failed { .. }));
            let possible = there || !self.fleet.pool(WorkerKind::Prepare, *engine).is_empty();
            let busy = self.fleet.pool(kind, *engine).busy();
            let waiting = match kind {
                WorkerKind::Execute => self.execute_queue.len(*engine) as u64,
                WorkerKind::Prepare => 0,
            };
            let load = (waiting + busy) * 4 / slots + if there { 0 } else { ARTIFACT_IS_WORTH * 4 };
            (!possible, load, std::cmp::Reverse(slots))
        };
        [first, second].into_iter().chain(candidates).min_by_key(cost)
    }

    fn client_heard_of(&mut self, client: ClientKey, now: Moment) {
        if let Some(at) = self.clients.heard_of(client, self.config.policy.client_silence, now) {
            self.timers.set(Timer::Gone(client), at);
        }
    }

    /// A node said something that is no submission.
    fn node_heard_of(&mut self, node: NodeId, now: Moment) -> Option<ClientKey> {
        let client = self.clients.find_or_add(node)?;
        self.client_heard_of(client, now);
        Some(client)
    }

    /// A client's silence timer went off.
    pub(super) fn on_client_silence(&mut self, key: ClientKey, now: Moment) {
        let silence = self.config.policy.client_silence;
        let link = self.link_up_since.map(|up| now.since(up));
        let Some(client) = self.clients.get_mut(key) else { return };
        let silent = now.since(client.last_heard);
        // As long as it had more than its share it stays known, lest it come back as somebody else.
        if !client.has_requests() && silent >= FORGET_CLIENT.max(silence) && !self.execute_queue.remembers(key) {
            self.clients.forget(key);
            return;
        }
        // It is judged only by a coordinator whose own link was up all the while.
        client.gone = silent >= silence && link.is_some_and(|up| up >= silence);
        client.silence = now.after(if silent >= silence { silence } else { silence - silent });
        let at = client.silence;
        self.timers.set(Timer::Gone(key), at);
    }

    pub(super) fn on_ask(&mut self, node: NodeId, requests: &[RequestId], reply: Option<Subject>, now: Moment) {
        self.node_heard_of(node, now);
        let mut unknown = Vec::new();
        for id in requests {
            if let Some(verdict) = self.verdicts.get(id) {
                self.effects.push_back(Effect::Verdict { node, verdict: verdict.clone() });
            } else if !self.requests.contains_key(id) {
                unknown.push(*id);
            }
        }
        self.reply(reply, Answer::Ask(AskReply { unknown }));
    }

    pub(super) fn on_cancel(&mut self, id: RequestId, node: NodeId, reply: Option<Subject>, now: Moment) {
        self.reply(reply, Answer::Submit(SubmitReply::Accepted));
        match self.requests.get(&id) {
            Some(request) if Some(request.client) == self.clients.find(&node) => self.end_request(id, None, now),
            Some(_) => {}
            // It may have overtaken its submission.
            None => self.cancelled.note(id),
        }
    }

    pub(super) fn on_leaves(&mut self, node: NodeId, update: &ActiveLeavesUpdate, reply: Option<Subject>, now: Moment) {
        let client = self.node_heard_of(node, now);
        self.reply(reply, Answer::Submit(SubmitReply::Accepted));
        let Some(client) = client else { return };
        for leaf in self.clients.update_leaves(client, update) {
            self.chores.push_back(Chore::Orphans(client, leaf));
        }
    }

    /// Whether a worker has what this request waits for.
    pub(super) fn is_running(&self, id: RequestId) -> bool {
        let Some(Request { wants: Wants::Execution(job, _), .. }) = self.requests.get(&id) else {
            return false;
        };
        self.executions.get(job).is_some_and(|e| matches!(e.stage, Stage::Running { .. }))
    }
}

/// As what and with how many bytes a submission counts for the limits.
fn weight(work: &Work) -> (Option<ExecuteKind>, u64) {
    match work {
        Work::Execute(work) => (Some(work.kind), weight_of(work)),
        Work::Precheck | Work::HeadsUp => (None, 0),
    }
}

fn weight_of(work: &ExecuteSubmission) -> u64 {
    (work.block_data.inline_len() + work.context.parent_head.len()) as u64
}
