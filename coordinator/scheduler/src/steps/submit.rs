//! Submissions: accepted or refused; an accepted one joins an execution that is under way, or starts a new job.

use crate::{
    core::{Core, FollowUp, Out},
    effect::{Answer, Effect},
    keys::RequestKey,
    notice::Notice,
    operations::{
        adoption,
        clients::{make_room_for_users, note_heard},
        executions,
    },
    policies::{admission_limit, check_kind, class_and_bytes, execute_bytes},
    tables::{Execution, HeadsUp, JobContext, NewExecution, PvfSpec, Request, RequestClass, RequestTarget},
    time::Timestamp,
};
use pvf_proto::{
    identity::ClientId,
    ids::{BlobHash, JobId, RequestId, ValidationKey},
    priority::{ExecuteKind, PreparePriority},
    subjects::Subject,
    verdict::{AmbiguousReason, Outcome},
    wire::{ExecuteSubmission, Refusal, Submission, SubmitReply, Work},
};
use std::sync::Arc;

/// A submission, with its client, the identity of its validation, and where the acknowledgement goes.
pub(crate) struct Submitted {
    pub(crate) client: ClientId,
    pub(crate) submission: Submission,
    pub(crate) identity: Option<ValidationKey>,
    pub(crate) reply: Option<Subject>,
}

/// A submission arrives. A repeated one is acknowledged again and changes nothing.
pub(crate) fn on_submit(core: &mut Core, out: &mut Out, submitted: Submitted, now: Timestamp) {
    let Submitted { client, submission, identity, reply } = submitted;
    let id = submission.id;
    let answer = match admit(core, out, client, &submission, now) {
        Ok(true) => {
            accept(core, out, (client, submission), identity, now);
            Answer::Accepted { client, request: id }
        }
        Ok(false) => Answer::Accepted { client, request: id },
        Err(refusal) => Answer::Submit(SubmitReply::Refused(refusal)),
    };
    out.reply(reply, answer);
}

/// Whether a submission is new, if it may be accepted.
fn admit(
    core: &mut Core,
    out: &mut Out,
    from: ClientId,
    submission: &Submission,
    now: Timestamp,
) -> Result<bool, Refusal> {
    let id = submission.id;
    if let Some(client) = core.clients.find(&from) {
        // A refused submission shows as well that its client is alive.
        note_heard(core, client, now);
        if core.requests.contains(&RequestKey { id, client }) {
            return Ok(false);
        }
    }
    if let Some(verdict) = core.verdicts.get(&id, from) {
        out.effect(Effect::Verdict { client: from, verdict: verdict.clone(), about: None });
        return Ok(false);
    }
    if core.verdicts.was_heard(&id, from) || core.cancellations.contains(id, from) {
        return Ok(false);
    }
    let (class, bytes) = class_and_bytes(&submission.work);
    check_kind(&core.config.policy, &from, class)?;
    make_room_for_users(core);
    if let Some(limit) = admission_limit(&core.clients, &core.config.policy, &from, class, bytes) {
        out.counts.overloaded += 1;
        out.notice(Notice::RequestShed { request: id, client: from, limit: limit.clone() });
        return Err(Refusal::Overloaded { what: limit, retry_after: core.config.policy.retry_after });
    }
    Ok(true)
}

fn accept(
    core: &mut Core,
    out: &mut Out,
    (from, submission): (ClientId, Submission),
    identity: Option<ValidationKey>,
    now: Timestamp,
) {
    let Some(client) = core.clients.find_or_add(from) else {
        return out.inconsistent("a submission of a client too many was admitted");
    };
    let key = RequestKey { id: submission.id, client };
    note_heard(core, client, now);
    let deadline = now.after(submission.answer_within);
    let spec = core.specs.acquire(&submission);
    let request = |leaf, target| Request { arrived: now, deadline, leaf, target };
    match submission.work {
        Work::Execute(mut work) => {
            // Approvals and disputes are needed whatever becomes of the leaf.
            work.relay_leaf = work.relay_leaf.filter(|_| work.kind.prepare_priority() == PreparePriority::Normal);
            // An execution without an identity is like no other.
            let identity = identity.unwrap_or_else(|| unlike_any_other(&from, &key.id));
            let target = RequestTarget::Execution { job: JobId(0), kind: work.kind };
            let request = request(work.relay_leaf, target);
            accept_execution(core, out, NewValidation { key, request, work, spec, identity }, now);
        }
        Work::Precheck | Work::HeadsUp { .. } => {
            let heads_up = match submission.work {
                Work::HeadsUp { wait_prepared: true } => Some(HeadsUp::Prepared),
                Work::HeadsUp { wait_prepared: false } => Some(HeadsUp::Taken),
                Work::Precheck | Work::Execute(_) => None,
            };
            let context = JobContext { heads_up, ..JobContext::new(spec, now) };
            add_request(core, key, request(None, RequestTarget::Preparation(Box::new(context))));
            out.follow_up(FollowUp::PlacePreparation(key));
        }
    }
}

/// The identity of a validation that has none.
fn unlike_any_other(client: &ClientId, id: &RequestId) -> ValidationKey {
    ValidationKey(BlobHash::of(format!("{client}/{id}").as_bytes()).0)
}

fn add_request(core: &mut Core, key: RequestKey, request: Request) {
    core.clients.count_request(key, RequestClass(request.target.kind()), request.leaf);
    core.requests.insert(key, request);
}

/// An accepted request for an execution.
struct NewValidation {
    key: RequestKey,
    request: Request,
    work: Box<ExecuteSubmission>,
    spec: Arc<PvfSpec>,
    identity: ValidationKey,
}

fn accept_execution(core: &mut Core, out: &mut Out, new: NewValidation, now: Timestamp) {
    let NewValidation { key, mut request, work, spec, identity } = new;
    let max_deaths = core.config.policy.max_deaths;
    let (client, deadline, leaf, kind) = (key.client, request.deadline, request.leaf, work.kind);
    let joined = if work.fresh { None } else { core.executions.find_same(&identity) };
    let mut job = joined.unwrap_or_else(|| core.next_job());
    request.target = RequestTarget::Execution { job, kind };
    add_request(core, key, request);
    if joined.is_some() {
        core.specs.release(&spec);
        join(core, out, Joining { job, key, kind, deadline }, now);
    } else {
        let bytes = execute_bytes(&work);
        let Some(user) = core.clients.user_of(client) else {
            return out.inconsistent("the client of a new execution is not known");
        };
        core.clients.charge_bytes(user, kind, bytes);
        let context = JobContext::new(spec, now);
        let new = NewExecution { context, deadline, work: *work, identity, request: key, user, bytes };
        // A fresh execution is run in any case.
        let quarantined_by = if new.work.fresh { None } else { core.quarantine.holds(&identity, max_deaths, now) };
        core.executions.insert(job, Execution::new(new));
        if let Some(hosts) = quarantined_by {
            quarantine(core, out, (job, key), hosts);
            return;
        }
        match adoption::claim_execution(core, out, job, now) {
            Some(adopted) => job = adopted,
            None => out.follow_up(FollowUp::PlaceExecution(job)),
        }
    }
    let retired = leaf.is_some_and(|leaf| core.clients.is_retired(client, &leaf));
    let running = core.executions.get(job).is_some_and(Execution::is_running);
    if retired && !running {
        out.follow_up(FollowUp::EndRequest { request: key, outcome: Some(Outcome::Expired) });
    }
}

/// A new execution of a validation that lost too many workers is answered at once.
fn quarantine(core: &Core, out: &mut Out, (job, key): (JobId, RequestKey), hosts: Vec<String>) {
    out.counts.quarantined += 1;
    if let (Some(execution), Some(client)) = (core.executions.get(job), core.clients.get(key.client)) {
        let code = execution.context.spec.code;
        out.notice(Notice::ExecutionQuarantined { hosts, request: key.id, client: client.id, code });
    }
    let outcome = Outcome::PossiblyInvalid(AmbiguousReason::WorkerDeath);
    out.follow_up(FollowUp::FinishExecution { job, outcome, worker: None });
}

/// A request that joins an execution.
struct Joining {
    job: JobId,
    key: RequestKey,
    kind: ExecuteKind,
    deadline: Timestamp,
}

/// A request joins an execution that is under way; it may make it more urgent.
fn join(core: &mut Core, out: &mut Out, joining: Joining, now: Timestamp) {
    let Joining { job, key, kind, deadline } = joining;
    let Some(execution) = core.executions.get_mut(job) else {
        return out.inconsistent(format_args!("execution {job} was found by its identity and is not known"));
    };
    execution.waiters.push(key);
    if let Some(key) = execution.context.artifact {
        core.artifacts.touch(key, now);
    }
    out.counts.coalesced += 1;
    executions::rearrange(core, out, job, |execution| {
        execution.kind = execution.kind.min(kind);
        execution.deadline = execution.deadline.min(deadline);
    });
}
