//! What must hold after every event. Tests and the simulation check it; a release does not.

use crate::{
    Scheduler,
    core::{BackgroundTask, Core},
    keys::{ArtifactKey, RequestKey, Waiter},
    tables::{
        ArtifactState, Client, ExecutionState, FetchStage, Opinions, PreparationState, RequestTarget, SlotState, Timer,
        WorkerIndex,
    },
};
use pvf_proto::wire::WorkerKind;
use std::collections::{HashMap, HashSet};

impl Scheduler {
    /// Panics if the scheduler's parts contradict each other.
    #[doc(hidden)]
    pub fn assert_invariants(&self) {
        let core = &self.core;
        check_requests(core, &self.out.background.iter().collect::<Vec<_>>());
        check_executions(core);
        check_artifacts(core, &self.out.background.iter().collect::<Vec<_>>());
        check_preparations(core);
        check_workers(core);
        check_unclaimed(core);
        check_pools(core);
        check_timers(core);
        check_unassigned(core);
    }
}

fn check_requests(core: &Core, background: &[&BackgroundTask]) {
    let mut answers = HashSet::<&RequestKey>::new();
    for task in background {
        if let BackgroundTask::Answer(requests, _) = task {
            answers.extend(requests);
        }
    }
    let mut of_clients = HashMap::new();
    for (id, request) in core.requests.iter() {
        *of_clients.entry(id.client).or_insert(0) += 1;
        let waits = match &request.target {
            RequestTarget::Execution { job, .. } => {
                core.executions.get(*job).is_some_and(|execution| execution.waiters.contains(id))
            }
            RequestTarget::Preparation(context) => {
                let waiter = Waiter::Preparation(*id);
                let artifact = context.artifact.and_then(|key| core.artifacts.get(key));
                artifact.is_some_and(|artifact| artifact.waiters.contains(&waiter)) || core.unassigned.contains(&waiter)
            }
        };
        assert!(waits || answers.contains(id), "{id:?} waits for nothing");
        assert!(core.requests.has_deadline(id) || answers.contains(id), "{id:?} has no deadline");
    }
    assert!(core.requests.deadlines() <= core.requests.len(), "deadlines of requests that are not here");
    assert_eq!(core.clients.requests(), core.requests.len() as u64, "requests are not counted right");
    for (client, requests) in of_clients {
        let counted = core.clients.get(client).map(Client::requests);
        assert_eq!(counted, Some(requests), "requests of {client:?} are not counted right");
    }
    let users = || core.clients.users().iter().map(|(_, user)| user);
    let of_users: u64 = users().map(|user| user.usage.requests()).sum();
    assert_eq!(of_users, core.requests.len() as u64, "requests of users are not counted right");
    let sessions: u64 = users().map(|user| u64::from(user.sessions)).sum();
    assert_eq!(sessions, core.clients.len() as u64, "sessions are not counted right");
    for (key, user) in core.clients.users().iter() {
        let jobs = core.workers.iter().flat_map(|worker| &worker.jobs).filter(|slot| slot.user == Some(key)).count();
        assert_eq!(core.workers.jobs_of(key) as usize, jobs, "jobs of {} are not counted right", user.name);
    }
}

fn check_executions(core: &Core) {
    let (mut queued, mut bytes, mut shared) = (0, 0, 0);
    for (job, execution) in core.executions.iter() {
        bytes += execution.bytes;
        shared += usize::from(execution.shared);
        assert!(!execution.waiters.is_empty(), "execution {job} has no request");
        for waiter in &execution.waiters {
            let target = core.requests.get(waiter).map(|request| &request.target);
            let waits = matches!(target, Some(RequestTarget::Execution { job: of, .. }) if *of == job);
            assert!(waits, "execution {job} has a request {waiter:?} that does not wait for it");
        }
        if execution.shared {
            assert_eq!(core.executions.find_same(&execution.identity), Some(job), "execution {job} cannot be joined");
        }
        match &execution.opinions {
            Opinions::None => {}
            Opinions::First(first) => {
                let timer = (first.timer, Timer::SecondOpinion(job));
                assert!(core.timers.iter().any(|set| *set == timer), "execution {job} awaits an opinion without end");
            }
            Opinions::Over(_) => panic!("execution {job} has two opinions and goes on"),
        }
        let artifact = execution.context.artifact.and_then(|key| core.artifacts.get(key));
        match execution.state() {
            ExecutionState::Unplaced => panic!("execution {job} is in no stage"),
            ExecutionState::AwaitingEngine => {
                assert!(
                    core.unassigned.contains(&Waiter::Execution(job)),
                    "execution {job} is not among the unassigned"
                );
            }
            ExecutionState::AwaitingArtifact => {
                let waits = artifact.is_some_and(|artifact| artifact.waiters.contains(&Waiter::Execution(job)));
                assert!(waits, "execution {job} waits for an artifact that does not have it among its waiters");
            }
            ExecutionState::BackingOff(until) => {
                let timer = (*until, Timer::RetryExecution(job));
                assert!(core.timers.iter().any(|set| *set == timer), "execution {job} has no timer");
            }
            ExecutionState::Queued(_) => {
                queued += 1;
                assert!(artifact.is_some_and(|artifact| artifact.users > 0), "queued execution {job} is not a user");
            }
            ExecutionState::Running { worker, attempt } => {
                let worker = core.workers.get(worker);
                let there =
                    worker.is_some_and(|w| w.jobs.iter().any(|slot| (slot.at.job, slot.at.attempt) == (job, *attempt)));
                assert!(there, "execution {job} runs where it has no slot");
                assert!(artifact.is_some_and(|artifact| artifact.users > 0), "running execution {job} is not a user");
            }
        }
    }
    assert_eq!(core.execute_queue.depths().iter().sum::<u64>(), queued, "the execute queue has other jobs");
    assert_eq!(core.clients.bytes(), bytes, "bytes are not counted right");
    let of_users: u64 = core.clients.users().iter().map(|(_, user)| user.usage.bytes()).sum();
    assert_eq!(of_users, bytes, "bytes of users are not counted right");
    assert_eq!(core.executions.shared(), shared, "the index of identities has other executions");
}

fn check_artifacts(core: &Core, background: &[&BackgroundTask]) {
    let mut users = HashMap::new();
    for (_, execution) in core.executions.iter() {
        if matches!(execution.state(), ExecutionState::Queued(_) | ExecutionState::Running { .. }) {
            *users.entry(execution.context.artifact).or_insert(0) += 1;
        }
    }
    let mut specs = core.executions.len() as u64;
    specs += core.requests.iter().filter(|(_, r)| matches!(r.target, RequestTarget::Preparation(_))).count() as u64;
    assert_eq!(core.artifacts.by_code_len(), core.artifacts.len(), "artifacts are not found by their code");
    for (key, artifact) in core.artifacts.iter() {
        let found = artifact.precheck_of.is_some() || core.artifacts.of_code(artifact.id.code_hash).any(|of| of == key);
        assert!(found, "{key:?} is not found by its code");
        for waiter in &artifact.waiters {
            assert!(waits_for(core, *waiter, Some(key)), "{key:?} has a waiter {waiter:?} that does not wait for it");
        }
        specs += u64::from(artifact.spec.is_some());
        for entry in artifact.prechecks.entries() {
            let of = core.artifacts.get(entry).and_then(|entry| entry.precheck_of);
            assert_eq!(of, Some(key), "{key:?} is prechecked by an entry of another artifact");
        }
        assert_eq!(artifact.users, users.get(&Some(key)).copied().unwrap_or(0), "{key:?} has other users");
        match artifact.state() {
            ArtifactState::Preparing(job) => {
                assert!(core.preparations.get(job).is_some_and(|task| task.artifact == key), "{key:?} is not prepared");
            }
            ArtifactState::LookingUp | ArtifactState::Dropping => {}
            ArtifactState::Listed
            | ArtifactState::Prepared(_)
            | ArtifactState::Failed { .. }
            | ArtifactState::Abandoned(_) => {
                let releasing = |task: &&BackgroundTask| matches!(task, BackgroundTask::Release(of) if *of == key);
                let released = background.iter().any(releasing);
                assert!(artifact.waiters.is_empty() || released, "{key:?} is waited for and nothing happens");
            }
        }
    }
    assert_eq!(core.specs.users(), specs, "users of specs are not counted right");
}

/// Whether a job waits for this artifact, or unassigned for an engine.
fn waits_for(core: &Core, waiter: Waiter, artifact: Option<ArtifactKey>) -> bool {
    match waiter {
        Waiter::Preparation(request) => {
            core.requests.preparation(&request).is_some_and(|context| context.artifact == artifact)
        }
        Waiter::Execution(job) => core.executions.get(job).is_some_and(|execution| match execution.state() {
            ExecutionState::AwaitingEngine => artifact.is_none(),
            ExecutionState::AwaitingArtifact => artifact.is_some() && execution.context.artifact == artifact,
            _ => false,
        }),
    }
}

fn check_unassigned(core: &Core) {
    for waiter in &core.unassigned {
        assert!(waits_for(core, *waiter, None), "{waiter:?} is unassigned and does not wait for an engine");
    }
}

fn check_preparations(core: &Core) {
    let mut queued = 0;
    for (job, task) in core.preparations.iter() {
        let state = core.artifacts.get(task.artifact).map(|artifact| artifact.state());
        let preparing = matches!(state, Some(ArtifactState::Preparing(of)) if of == job);
        assert!(preparing, "preparation {job} is of an artifact that is not being prepared");
        match task.state() {
            PreparationState::Queued(_) => queued += 1,
            PreparationState::BackingOff(until) => {
                let timer = (*until, Timer::RetryPreparation(*job));
                assert!(core.timers.iter().any(|set| *set == timer), "preparation {job} has no timer");
            }
            PreparationState::Dispatched { .. } => {
                let at_worker = core.workers.iter().any(|worker| worker.jobs.iter().any(|slot| slot.at.job == *job));
                assert!(at_worker, "preparation {job} is nowhere");
            }
        }
    }
    assert_eq!(core.prepare_queue.depths().iter().sum::<u64>(), queued, "the prepare queue has other jobs");
}

fn check_workers(core: &Core) {
    let staged_per_slot = core.workers.staged_per_slot();
    for worker in core.workers.iter() {
        let id = worker.id;
        let credit = worker.credit(staged_per_slot);
        // What earlier coordinators have dispatched is as much as it is.
        let own = worker.jobs.iter().filter(|slot| slot.token == core.config.token).count() as u32;
        assert!(own <= 2 * credit, "{id:?} is above its credit");
        assert!(worker.fetching() <= credit, "{id:?} fetches more than may not count");
        assert_eq!(worker.index(), worker.expected_index(staged_per_slot), "{id:?} is indexed wrongly");
        let pool = core.workers.pool(worker.kind, worker.engine);
        for slot in &worker.jobs {
            if let (SlotState::Staged, Some(rank)) = (slot.state, slot.rank()) {
                assert!(pool.has_staged(rank, id), "job {} is staged at {id:?} and cannot be recalled", slot.at.job);
            }
            let may_fetch = slot.acknowledged && slot.fetch == FetchStage::UnderWay;
            assert!(may_fetch || !slot.is_fetching(), "job {} counts as being fetched at {id:?}", slot.at.job);
        }
        let (running, placed) = (worker.running(), worker.placed());
        assert!(placed == running || running >= worker.slots, "{id:?} has a job staged beside a free slot");
        assert!(placed == running || !matches!(worker.index(), WorkerIndex::Free(_)), "{id:?} is indexed as free");
    }
}

fn check_unclaimed(core: &Core) {
    core.unclaimed.assert_consistent();
    for ((id, at), unclaimed) in core.unclaimed.iter() {
        let Some(worker) = core.workers.get(id) else { panic!("{at:?} is unclaimed at {id}, which is not registered") };
        let has_slot = worker.has_of(*at, unclaimed.token);
        assert_eq!(has_slot, unclaimed.report.is_none(), "{at:?} is unclaimed, and has a slot until it is reported");
        assert!(unclaimed.token < core.config.token, "{at:?} is this coordinator's");
    }
}

fn check_pools(core: &Core) {
    for engine in core.workers.engines() {
        for kind in [WorkerKind::Prepare, WorkerKind::Execute] {
            let pool = core.workers.pool(kind, engine);
            let members: Vec<_> = core.workers.iter().filter(|w| w.engine == engine && w.kind == kind).collect();
            let slots = members.iter().flat_map(|worker| &worker.jobs);
            let running = slots.clone().filter(|slot| slot.is_running()).count() as u64;
            let staged = slots.filter(|slot| matches!(slot.state, SlotState::Staged | SlotState::Recalled)).count();
            assert_eq!((pool.busy(), pool.staged_len(), pool.len()), (running, staged, members.len()));
            let paused = members.iter().filter(|worker| worker.health().paused_until().is_some()).count();
            assert!(pool.paused() == paused && (paused == 0 || paused < members.len()));
        }
    }
}

fn check_timers(core: &Core) {
    let (mut of_workers, mut prune, mut paused, mut unclaimed) = (HashSet::new(), 0, 0, 0);
    for (at, timer) in core.timers.iter() {
        match timer {
            Timer::WorkerSilence(worker) => assert!(of_workers.insert(worker), "{worker:?} has two timers"),
            Timer::WorkerPause(worker) => {
                let until = core.workers.get(worker).and_then(|worker| worker.health().paused_until());
                assert_eq!(until, Some(*at), "{worker:?} has a timer and no pause");
                paused += 1;
            }
            Timer::Prune => prune += 1,
            Timer::RetryExecution(job) => {
                let state = core.executions.get(*job).map(|execution| execution.state());
                assert_eq!(state, Some(&ExecutionState::BackingOff(*at)), "execution {job} has a timer");
            }
            Timer::SecondOpinion(job) => {
                let first = core.executions.get(*job).and_then(|execution| execution.opinions.first());
                assert_eq!(first.map(|first| first.timer), Some(*at), "execution {job} has a timer");
            }
            Timer::RetryPreparation(job) => {
                let state = core.preparations.get(job).map(|task| task.state());
                assert_eq!(state, Some(&PreparationState::BackingOff(*at)), "preparation {job} has a timer");
            }
            Timer::NoPrepareWorker(engine) => {
                assert_eq!(core.without_prepare_worker.get(engine), Some(at), "{engine:?} has a timer");
            }
            Timer::Unclaimed(worker, at_worker) => {
                let until = core.unclaimed.get((*worker, *at_worker)).map(|unclaimed| unclaimed.until);
                assert_eq!(until, Some(*at), "{at_worker:?} has a timer and is not unclaimed");
                unclaimed += 1;
            }
            Timer::DispatchBegins => assert_eq!(core.dispatch_begins, *at),
            Timer::ClientSilence(_) => {}
        }
    }
    assert_eq!((of_workers.len(), prune), (core.workers.len(), 1), "timers are missing or left over");
    assert_eq!(core.workers.iter().filter(|worker| worker.health().paused_until().is_some()).count(), paused);
    assert_eq!(unclaimed, core.unclaimed.len(), "unclaimed attempts without a timer");
    let clients = core.timers.iter().filter(|(_, timer)| matches!(timer, Timer::ClientSilence(_))).count();
    assert!(clients <= core.clients.len(), "timers of clients that are not here");
}
