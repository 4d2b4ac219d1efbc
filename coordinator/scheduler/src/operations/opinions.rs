//! Second opinions: which executions get one, their timers, and how asking ends. The first opinion stands if no other
//! machine gives one in time; if one does and disagrees, neither is believed.

use crate::{
    core::{Core, Out},
    notice::Notice,
    operations::workers::allowance,
    settings::CrossCheck,
    tables::{Decision, Execution, FirstOpinion, Opinions, Timer, Timers},
    time::Timestamp,
};
use pvf_proto::{
    identity::WorkerId,
    ids::JobId,
    priority::ExecuteKind,
    verdict::{InternalError, Outcome, WireOutcome, clean_reason},
    wire::{OpinionResult, SecondOpinion},
};

/// How an execution ends: its outcome, the worker that decided it, and what came of asking another machine.
pub(crate) type End = (WireOutcome, Option<WorkerId>, Option<Box<SecondOpinion>>);

/// Whether another machine is to be asked about what this outcome says. Which of the invalid ones are depends on the
/// validation alone: it is the same whenever and by whichever coordinator it is decided.
pub(crate) fn is_wanted(settings: &CrossCheck, execution: &Execution, outcome: &WireOutcome) -> bool {
    let disputed = settings.dispute && execution.kind == ExecuteKind::Dispute;
    match outcome {
        Outcome::Valid(_) => disputed,
        Outcome::Invalid(_) => disputed || settings.invalid.takes(&execution.identity),
        Outcome::PrecheckOk
        | Outcome::HeadsUpTaken
        | Outcome::HeadsUpPrepared
        | Outcome::PossiblyInvalid(_)
        | Outcome::PreparationFailed(_)
        | Outcome::Internal(_)
        | Outcome::Expired => false,
    }
}

/// A decision becomes the first opinion, and another one is awaited. Its result counts among the bytes that the
/// execution holds.
pub(crate) fn await_second(core: &mut Core, out: &mut Out, decision: Decision, now: Timestamp) {
    let job = decision.at.job;
    let Some(cpu_limit) = core.executions.get(job).map(Execution::cpu_limit) else { return };
    let until = now.after(core.config.policy.cross_check.wait);
    let end = until.after(allowance(core, cpu_limit));
    let Some(execution) = core.executions.get_mut(job) else { return };
    let result = if let Outcome::Valid(result) = &decision.outcome { result.inline_len() as u64 } else { 0 };
    execution.bytes += result;
    let (user, kind) = execution.charged;
    core.clients.charge_bytes(user, kind, result);
    execution.opinions = Opinions::First(Box::new(FirstOpinion { decision, end, timer: until }));
    core.timers.set(Timer::SecondOpinion(job), until);
    out.counts.cross_checks += 1;
}

/// Clears the timer of a second opinion that is not awaited any more.
pub(crate) fn clear_timer(timers: &mut Timers, job: JobId, first: Option<&FirstOpinion>) {
    if let Some(first) = first {
        timers.clear(Timer::SecondOpinion(job), first.timer);
    }
}

/// An execution ends with this outcome. If its second opinion is still awaited, the first one stands: what else has
/// happened since is no opinion. But `valid` does not stand if so many attempts on other machines died that the
/// candidate is possibly invalid.
pub(crate) fn settle(
    core: &mut Core,
    out: &mut Out,
    job: JobId,
    (outcome, worker): (WireOutcome, Option<WorkerId>),
) -> End {
    let Some(execution) = core.executions.get_mut(job) else { return (outcome, worker, None) };
    if let Some(record) = execution.opinions.take_record() {
        return (outcome, worker, Some(record));
    }
    if execution.opinions.first().is_none() {
        return (outcome, worker, None);
    }
    let reason = outcome.reason().map(|reason| format!(": {reason}")).unwrap_or_default();
    let why = format!("the second attempt ended as {}{reason}", outcome.name());
    let may_be_invalid = matches!(outcome, Outcome::PossiblyInvalid(_));
    match stand(core, out, job, why.clone()) {
        // The candidate may have killed the attempts on other machines: one machine's `valid` is no verdict then.
        Some((Outcome::Valid(_), _, record)) if may_be_invalid => {
            let why = format!("one machine found it valid, and {why}");
            (Outcome::Internal(InternalError::Disagreement(clean_reason(&why))), None, record)
        }
        Some(end) => end,
        None => (outcome, worker, None),
    }
}

/// The first opinion stands, if the second one is awaited.
pub(crate) fn stand(core: &mut Core, out: &mut Out, job: JobId, why: String) -> Option<End> {
    let execution = core.executions.get_mut(job)?;
    let first = execution.opinions.take_first()?;
    clear_timer(&mut core.timers, job, Some(&first));
    out.counts.opinions_missing += 1;
    out.notice(Notice::NoSecondOpinion { job, code: execution.context.spec.code, why: why.clone() });
    let record = first.alone(why);
    Some((first.decision.outcome, Some(first.decision.site.worker), Some(Box::new(record))))
}

/// One of the requests for an execution ends with this outcome before the execution does. What is known of the
/// candidate is not lost with the time for a second opinion.
pub(crate) fn end_of_request(out: &mut Out, job: JobId, execution: &Execution, outcome: WireOutcome) -> End {
    let Some(first) = execution.opinions.first().filter(|_| outcome == Outcome::Expired) else {
        return (outcome, None, None);
    };
    let why = "the request expired before there was one".to_owned();
    if execution.waiters.len() == 1 {
        out.counts.opinions_missing += 1;
        out.notice(Notice::NoSecondOpinion { job, code: execution.context.spec.code, why: why.clone() });
    }
    let worker = Some(first.decision.site.worker);
    (first.decision.outcome.clone(), worker, Some(Box::new(first.alone(why))))
}

/// A second decision comes: the two are compared. Returns how the execution ends.
pub(crate) fn compare(core: &mut Core, out: &mut Out, second: Decision) -> Option<(WireOutcome, Option<WorkerId>)> {
    let job = second.at.job;
    let execution = core.executions.get_mut(job)?;
    let first = execution.opinions.take_first()?;
    clear_timer(&mut core.timers, job, Some(&first));
    let record = first.with(&second);
    execution.opinions = Opinions::Over(Box::new(record.clone()));
    if record.result == OpinionResult::Agreed {
        out.counts.opinions_agreed += 1;
        // The second worker has been heard from just now: it has the result still.
        return Some((second.outcome, Some(second.site.worker)));
    }
    out.counts.opinions_disagreed += 1;
    let request = execution.waiters.first();
    let client = request.and_then(|request| core.clients.get(request.client)).map(|client| client.id);
    let texts: Vec<_> = record.opinions.iter().map(ToString::to_string).collect();
    out.notice(Notice::OpinionsDiffer {
        job,
        request: request.map(|request| request.id),
        client,
        code: execution.context.spec.code,
        opinions: record.opinions,
    });
    Some((Outcome::Internal(InternalError::Disagreement(clean_reason(&texts.join("; ")))), None))
}
