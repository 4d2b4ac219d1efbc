//! Registration, heartbeats, deregistration and silence of workers.

use crate::{
    core::{AttemptLoss, BackgroundTask, Core, FollowUp, Out},
    effect::Answer,
    keys::{AttemptKey, EndedAttempt, EngineKey},
    notice::Notice,
    operations::{
        adoption, artifacts, leases, preparations,
        workers::{note_held, recall_all_waiting},
    },
    tables::{FetchStage, Gone, MAX_WORKERS, Slot, SlotState, Timer, Worker, WorkerEvent, WorkerState},
    time::Timestamp,
};
use pvf_proto::{
    identity::WorkerId,
    keys::KeyFingerprint,
    subjects::Subject,
    wire::{
        Compiling, Heartbeat, Holding, MAX_TRUSTED_KEYS, RunningJob, WorkerHello, WorkerKind, WorkerRefusal,
        WorkerReply,
    },
};
use std::collections::HashSet;

/// Most slots that one worker may have.
const MAX_SLOTS: u32 = 1024;
/// Most artifacts in one registration or heartbeat; more are ignored.
const MAX_HOLDINGS: usize = 512;

/// Why a worker cannot be part of a fleet that trusts these keys: others would refuse what it makes, or it would refuse
/// what others make.
fn wrong_keys(kind: WorkerKind, hello: &WorkerHello, fleet: &[KeyFingerprint]) -> Option<WorkerRefusal> {
    let worker = match kind {
        WorkerKind::Prepare => hello.signs_with.as_slice(),
        WorkerKind::Execute => hello.trusts.as_slice(),
    };
    let fits = match kind {
        WorkerKind::Prepare => worker.iter().any(|key| fleet.contains(key)),
        WorkerKind::Execute => !fleet.is_empty() && fleet.iter().all(|key| worker.contains(key)),
    };
    let listed = || worker.iter().copied().take(MAX_TRUSTED_KEYS).collect();
    (!fits).then(|| WorkerRefusal::WrongKeys { worker: listed(), fleet: fleet.to_vec() })
}

/// A worker registers. One that missed the answer registers again, and may have jobs.
pub(crate) fn on_hello(
    core: &mut Core,
    out: &mut Out,
    (id, mut hello): (WorkerId, Box<WorkerHello>),
    reply: Option<Subject>,
    now: Timestamp,
) {
    let is_new = !core.workers.contains(&id);
    let refusal = if hello.slots == 0 || hello.slots > MAX_SLOTS {
        Some(WorkerRefusal::Slots { slots: hello.slots, max: MAX_SLOTS })
    } else if is_new && core.workers.len() >= MAX_WORKERS as usize {
        Some(WorkerRefusal::FleetFull { max: MAX_WORKERS })
    } else {
        wrong_keys(id.kind, &hello, &core.config.trusted_keys)
    };
    if let Some(refusal) = refusal {
        out.reply(reply, Answer::Worker(WorkerReply::Refused(refusal)));
        return;
    }
    out.reply(reply, Answer::Worker(WorkerReply::Welcome { token: core.config.token }));
    let (holds, held) = (std::mem::take(&mut hello.holds), std::mem::take(&mut hello.held));
    let running = hello.running.clone();
    hello.trusts.truncate(MAX_TRUSTED_KEYS);
    if is_new {
        if core.workers.find_engine(&hello.engine).is_none() {
            out.notice(Notice::EngineSeen { engine: hello.engine.clone() });
        }
        out.counts.workers_joined += 1;
        out.notice(Notice::WorkerJoined { worker: id, hello: hello.clone() });
        let silence = now.after(core.config.timing.worker_silence);
        core.timers.set(Timer::WorkerSilence(id), silence);
        core.workers.add(id, hello, now, silence);
        if core.departures.is_back(&id) {
            core.workers.tell_to_drain(&id);
        }
    } else {
        heard(core, out, id, now);
    }
    for holding in holds.iter().take(MAX_HOLDINGS) {
        note_holding(core, id, holding);
    }
    adoption::take_up(core, out, id, (&running, held), now);
    preparations::worker_came(core);
    if !core.unassigned.is_empty() {
        out.background.push_back(BackgroundTask::AssignEngines);
    }
    reassign_stranded(core, out, now);
}

/// Queues of engines without workers may be worked on by another engine.
pub(crate) fn reassign_stranded(core: &mut Core, out: &mut Out, now: Timestamp) {
    for engine in core.workers.engines() {
        let executes = !core.workers.pool(WorkerKind::Execute, engine).is_empty();
        if !executes && core.execute_queue.len(engine) > 0
            || !core.workers.can_prepare(engine) && !core.prepare_queue.is_empty(engine)
        {
            out.background.push_back(BackgroundTask::Reassign(engine));
        }
        if !core.prepare_queue.is_empty(engine) {
            preparations::await_worker(core, out, engine, now);
        }
    }
}

/// A message of a worker arrived: it may get jobs, and its silence counts from now.
fn heard(core: &mut Core, out: &mut Out, id: WorkerId, now: Timestamp) {
    let Some(worker) = core.workers.get_mut(&id) else {
        return out.inconsistent(format_args!("worker {id} is heard from and is not registered"));
    };
    // The silence timer stays as it is: when it fires it finds this.
    worker.heard = now;
    if !matches!(worker.state(), WorkerState::Suspect { .. }) {
        return;
    }
    if core.workers.transition(&id, WorkerEvent::Heard).and_then(|transition| out.checked(transition)).is_some() {
        out.notice(Notice::WorkerRecovered { worker: id });
    }
}

fn note_holding(core: &mut Core, id: WorkerId, holding: &Holding) {
    let (Holding::Warm(artifact) | Holding::OnDisk(artifact) | Holding::Gone(artifact)) = holding;
    let Some(key) = artifacts::find(core, artifact) else { return };
    match holding {
        Holding::Warm(_) => note_held(core, key, id, true),
        Holding::OnDisk(_) => note_held(core, key, id, false),
        Holding::Gone(_) => core.workers.note_not_held(&id, key),
    }
}

/// Attempts that were dispatched to a worker a while ago, and of which it has neither the job nor an unacknowledged
/// report; with each, how it was lost.
fn missing_attempts(
    core: &Core,
    worker: &Worker,
    heartbeat: &Heartbeat,
    now: Timestamp,
) -> Vec<(EndedAttempt, AttemptLoss)> {
    let grace = core.config.timing.heartbeat * 2 + core.config.timing.ack;
    let mut overdue = worker.jobs.iter().filter(|slot| slot.taken.is_some_and(|at| now.since(at) > grace)).peekable();
    if overdue.peek().is_none() {
        return Vec::new();
    }
    let has = current_attempts(core, worker, &heartbeat.running);
    let missing = overdue.filter(|slot| !has.contains(&slot.at));
    let lost = |slot: &Slot| match slot.acknowledged {
        true => AttemptLoss::Failed("the worker has lost the job".into()),
        false => AttemptLoss::NotBegun("the worker did not acknowledge the dispatch and does not have the job".into()),
    };
    let mut missing: Vec<_> =
        missing.map(|slot| (EndedAttempt { at: slot.at, site: worker.site() }, lost(slot))).collect();
    missing.sort_unstable_by_key(|(ended, _)| ended.at);
    missing
}

/// A heartbeat acknowledges the dispatches whose jobs it lists, and says which of these are only being fetched.
fn note_listed(core: &mut Core, out: &mut Out, id: &WorkerId, heartbeat: &Heartbeat) {
    let Some(worker) = core.workers.get(id) else { return };
    if worker.jobs.iter().all(|slot| slot.acknowledged && slot.fetch == FetchStage::Over) {
        return;
    }
    let listed = current_attempts(core, worker, &heartbeat.running);
    let fetching = current_attempts(core, worker, &heartbeat.fetching);
    let unfetched =
        worker.jobs.iter().filter(|slot| worker.kind == WorkerKind::Prepare && slot.fetch != FetchStage::Over);
    let unfetched: Vec<_> = unfetched.map(|slot| slot.at.job).collect();
    core.workers.note_listed(id, &listed, &fetching);
    for job in unfetched {
        preparations::tell_if_taken(core, out, job);
    }
}

/// A heartbeat says how far preparations have come.
fn note_compiled(core: &mut Core, id: &WorkerId, compiling: &[Compiling]) {
    let Some(worker) = core.workers.get_mut(id) else { return };
    for Compiling { attempt, progress } in compiling.iter().take(worker.jobs.len()) {
        if let Some(slot) = worker.slot_mut(AttemptKey { job: attempt.job, attempt: attempt.attempt })
            && slot.token == attempt.token
        {
            slot.compiled = Some(progress.plausible());
        }
    }
}

/// Those of a worker's attempts that this coordinator dispatched, or that it has taken up from an earlier one.
fn current_attempts(core: &Core, worker: &Worker, attempts: &[RunningJob]) -> HashSet<AttemptKey> {
    let key = |attempt: &RunningJob| AttemptKey { job: attempt.job, attempt: attempt.attempt };
    let is_current =
        |attempt: &&RunningJob| attempt.token == core.config.token || worker.has_of(key(attempt), attempt.token);
    attempts.iter().filter(is_current).map(key).collect()
}

/// Whether a worker has an attempt of an earlier coordinator that it has not described: it took it after it registered.
fn has_undescribed(core: &Core, worker: &Worker, attempts: &[RunningJob]) -> bool {
    let mut earlier = attempts.iter().filter(|attempt| attempt.token < core.config.token);
    earlier.any(|attempt| !worker.foreign.has(AttemptKey { job: attempt.job, attempt: attempt.attempt }))
}

/// A worker's heartbeat.
pub(crate) fn on_heartbeat(
    core: &mut Core,
    out: &mut Out,
    (id, heartbeat): (WorkerId, Heartbeat),
    reply: Option<Subject>,
    now: Timestamp,
) {
    let Some(worker) = core.workers.get(&id) else {
        out.reply(reply, Answer::Worker(WorkerReply::SayHello));
        return;
    };
    let missing = missing_attempts(core, worker, &heartbeat, now);
    let told = worker.is_told_to_drain();
    let answer = match has_undescribed(core, worker, &heartbeat.running) {
        true => WorkerReply::SayHello,
        false if told => WorkerReply::Drain,
        false => WorkerReply::Ack,
    };
    note_listed(core, out, &id, &heartbeat);
    note_compiled(core, &id, &heartbeat.compiling);
    heard(core, out, id, now);
    if let Some(transition) = core.workers.transition(&id, WorkerEvent::Drains(heartbeat.draining)) {
        out.checked(transition);
    }
    let takes_none = told || heartbeat.draining;
    if takes_none {
        recall_all_waiting(core, out, id);
    }
    if takes_none && let Some((kind, engine)) = core.workers.get(&id).map(|worker| (worker.kind, worker.engine)) {
        resume_all(core, out, kind, engine);
    }
    out.reply(reply, Answer::Worker(answer));
    for holding in heartbeat.holdings.iter().take(MAX_HOLDINGS) {
        note_holding(core, id, holding);
    }
    for (ended, loss) in missing {
        core.workers.vacate(&id, ended.at);
        out.follow_up(FollowUp::AttemptLost { ended, loss });
    }
    leases::check(core, out, id, now);
}

/// A worker deregisters: what it still has is done elsewhere.
pub(crate) fn on_goodbye(core: &mut Core, out: &mut Out, id: WorkerId, reply: Option<Subject>) {
    out.reply(reply, Answer::Worker(WorkerReply::Ack));
    let Some(worker) = core.workers.remove(&id) else { return };
    out.counts.workers_left += 1;
    let (host, jobs) = (worker.host_name(), worker.jobs.len() as u32);
    out.notice(Notice::WorkerLeft { worker: id, host, jobs });
    give_up_jobs(core, out, *worker, Gone::Deregistered);
}

/// The silence timer of a worker fired. It is lost only if the coordinator itself was connected all the while.
pub(crate) fn on_silence(core: &mut Core, out: &mut Out, id: WorkerId, now: Timestamp) {
    let silence = core.config.timing.worker_silence;
    let link_up_since = core.link_up_since.unwrap_or(now);
    let Some(worker) = core.workers.get_mut(&id) else {
        return out.inconsistent(format_args!("worker {id} has a silence timer and is not registered"));
    };
    let since = worker.heard.max(link_up_since);
    if now.since(since) < silence {
        worker.silence_timer = since.after(silence);
        core.timers.set(Timer::WorkerSilence(id), worker.silence_timer);
        return;
    }
    let Some(worker) = core.workers.remove(&id) else { return };
    out.counts.workers_lost += 1;
    let (host, jobs) = (worker.host_name(), worker.jobs.len() as u32);
    out.notice(Notice::WorkerLost { worker: id, host, jobs, silent: now.since(worker.heard) });
    give_up_jobs(core, out, *worker, Gone::Lost);
}

/// The pause of a worker that had failed is over.
pub(crate) fn on_pause_over(core: &mut Core, out: &mut Out, id: WorkerId) {
    if !core.workers.resume(&id) {
        return out.inconsistent(format_args!("worker {id} has a pause and is not registered"));
    }
    out.notice(Notice::WorkerResumed { worker: id });
}

/// If no worker of a pool takes jobs but for its pause, the pauses end: a worker that fails is better than none.
fn resume_all(core: &mut Core, out: &mut Out, kind: WorkerKind, engine: EngineKey) {
    let pool = core.workers.pool(kind, engine);
    if pool.paused() == 0 || pool.members().filter_map(|id| core.workers.get(id)).any(Worker::takes_jobs) {
        return;
    }
    for id in pool.members().copied().collect::<Vec<_>>() {
        if let Some(until) = core.workers.get(&id).and_then(|worker| worker.health().paused_until()) {
            core.timers.clear(Timer::WorkerPause(id), until);
            on_pause_over(core, out, id);
        }
    }
}

/// What the removal of its worker says about a job.
fn loss_of(slot: &Slot, gone: Gone) -> AttemptLoss {
    use FetchStage::{Over, UnderWay, Unknown};
    use SlotState::{Fetching, Recalled, Running, Staged};
    // A worker acknowledges a job that takes over 50 ms: this one has not run for longer, if at all.
    let unacknowledged = || AttemptLoss::NotBegun("the worker was gone before it acknowledged the dispatch".into());
    match (gone, slot.state, slot.fetch) {
        (Gone::Lost, Running | Staged | Recalled | Fetching, Unknown | UnderWay | Over) if !slot.acknowledged => {
            unacknowledged()
        }
        // It may have got its slot, or what it needs, after the last heartbeat.
        (Gone::Lost, Running | Fetching, UnderWay) | (Gone::Lost, Staged | Recalled, Unknown | UnderWay | Over) => {
            AttemptLoss::PerhapsBegun
        }
        (Gone::Lost, Running | Fetching, Unknown | Over) => AttemptLoss::WorkerLost,
        // A worker that deregisters has not begun what is staged there.
        (Gone::Deregistered, Staged | Recalled, Unknown | UnderWay | Over) => AttemptLoss::Returned,
        (Gone::Deregistered, Running | Fetching, Unknown | UnderWay | Over) if !slot.acknowledged => unacknowledged(),
        (Gone::Deregistered, Running | Fetching, UnderWay) => {
            AttemptLoss::NotBegun("the worker deregistered while it fetched what the job needs".into())
        }
        (Gone::Deregistered, Running | Fetching, Unknown | Over) => {
            AttemptLoss::GivenBack("the worker deregistered".into())
        }
    }
}

/// The jobs of a worker that was removed are lost.
fn give_up_jobs(core: &mut Core, out: &mut Out, worker: Worker, gone: Gone) {
    core.timers.clear(Timer::WorkerSilence(worker.id), worker.silence_timer);
    if let Some(until) = worker.health().paused_until() {
        core.timers.clear(Timer::WorkerPause(worker.id), until);
    }
    if worker.is_told_to_drain() {
        core.departures.note(worker.id, gone);
    }
    adoption::forget_all(core, worker.id);
    let site = worker.site();
    let mut jobs = worker.jobs;
    jobs.sort_unstable_by_key(|slot| slot.at);
    for slot in jobs {
        let loss = loss_of(&slot, gone);
        out.follow_up(FollowUp::AttemptLost { ended: EndedAttempt { at: slot.at, site: site.clone() }, loss });
    }
    resume_all(core, out, worker.kind, worker.engine);
    // Once the lost jobs are in their queues again.
    out.follow_up(FollowUp::ReassignStranded);
}
