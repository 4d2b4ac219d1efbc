//! Requests without a verdict, as people see them.

use super::page::Page;
use crate::{
    core::Core,
    effect::WorkKind,
    keys::RequestKey,
    tables::{ExecutionState, JobContext, PreparationState, Request, RequestTarget},
    time::Timestamp,
};
use pvf_proto::{
    identity::{ClientId, UserName, WorkerId},
    ids::{ArtifactId, Attempt, CodeHash, JobId, RequestId},
    priority::ExecuteKind,
    wire::CompileProgress,
};
use std::cmp::Reverse;

/// Requests that are looked at for one list. In an overload there are more; looking at all of them would hold up the
/// requests themselves.
const MOST_LOOKED_AT: usize = 50_000;

/// Where a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It is about to be placed.
    Unplaced,
    /// No worker of the kind that it needs is registered.
    AwaitingEngine,
    /// Its artifact is looked up in the store, or waits for a prepare worker.
    AwaitingArtifact,
    /// A prepare worker makes its artifact.
    Preparing,
    /// It waits for a slot of an execute worker.
    Queued,
    /// An attempt did not begin; the next one waits a moment.
    BackingOff,
    /// An execute worker has it.
    Running,
}

impl Stage {
    /// Its name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unplaced => "unplaced",
            Self::AwaitingEngine => "awaiting-engine",
            Self::AwaitingArtifact => "awaiting-artifact",
            Self::Preparing => "preparing",
            Self::Queued => "queued",
            Self::BackingOff => "backing-off",
            Self::Running => "running",
        }
    }
}

/// Which requests are listed.
#[derive(Debug, Clone, Default)]
pub struct RequestFilter {
    /// Only executions of this kind.
    pub kind: Option<ExecuteKind>,
    /// Only requests about this code.
    pub code: Option<CodeHash>,
    /// Only requests of this user.
    pub user: Option<UserName>,
    /// At most so many.
    pub limit: usize,
}

/// A request without a verdict.
#[derive(Debug, Clone, PartialEq)]
pub struct RequestView {
    /// Its id, which its client has chosen.
    pub request: RequestId,
    /// Its client.
    pub client: Option<ClientId>,
    /// What it asks for.
    pub work: WorkKind,
    /// The code.
    pub code: CodeHash,
    /// Where it is.
    pub stage: Stage,
    /// When it arrived.
    pub arrived: Timestamp,
    /// When it expires.
    pub deadline: Timestamp,
    /// The execution that it waits for.
    pub job: Option<JobId>,
    /// The attempt that runs, or the last one.
    pub attempt: Attempt,
    /// The worker that has it, with the name of its machine.
    pub worker: Option<(WorkerId, String)>,
    /// The preparation that it waits for.
    pub preparation: Option<JobId>,
    /// How far the preparation that it waits for has come, if its worker has said so.
    pub compiling: Option<CompileProgress>,
    /// Requests that wait for the same execution, this one included.
    pub waiters: usize,
    /// The artifact that it needs.
    pub artifact: Option<ArtifactId>,
    /// Where the tables have it.
    pub(super) key: RequestKey,
}

pub(crate) fn list(core: &Core, filter: &RequestFilter) -> Page<RequestView> {
    let mut found: Vec<(Timestamp, RequestKey)> = core
        .requests
        .iter()
        .take(MOST_LOOKED_AT)
        .filter(|(key, request)| matches(core, filter, key, request))
        .map(|(key, request)| (request.arrived, *key))
        .collect();
    found.sort_unstable_by_key(|(arrived, key)| (Reverse(*arrived), *key));
    let matching = found.len();
    let entries = found.iter().take(filter.limit).filter_map(|(_, key)| view(core, *key)).collect();
    Page { entries, matching, complete: core.requests.len() <= MOST_LOOKED_AT }
}

pub(crate) fn with_id(core: &Core, id: RequestId) -> Vec<RequestView> {
    let keys = core.clients.keys().map(|client| RequestKey { id, client });
    keys.filter_map(|key| view(core, key)).collect()
}

fn matches(core: &Core, filter: &RequestFilter, key: &RequestKey, request: &Request) -> bool {
    let of_user = |user: &UserName| core.clients.get(key.client).is_some_and(|client| client.id.user == *user);
    filter.kind.is_none_or(|kind| request.target.kind() == Some(kind))
        && filter.user.as_ref().is_none_or(of_user)
        && filter.code.is_none_or(|code| context(core, request).is_some_and(|context| context.spec.code == code))
}

pub(super) fn context<'a>(core: &'a Core, request: &'a Request) -> Option<&'a JobContext> {
    match &request.target {
        RequestTarget::Execution { job, .. } => core.executions.get(*job).map(|execution| &execution.context),
        RequestTarget::Preparation(context) => Some(context),
    }
}

fn view(core: &Core, key: RequestKey) -> Option<RequestView> {
    let request = core.requests.get(&key)?;
    let context = context(core, request)?;
    let execution = request.target.job().and_then(|job| core.executions.get(job));
    let (stage, attempt, worker) = match execution.map(|execution| (execution.state(), execution.attempts)) {
        None => of_preparation(core, context),
        Some((ExecutionState::AwaitingArtifact, attempts)) => {
            let (stage, _, worker) = of_preparation(core, context);
            (stage, attempts, worker)
        }
        Some((ExecutionState::Unplaced, attempts)) => (Stage::Unplaced, attempts, None),
        Some((ExecutionState::AwaitingEngine, attempts)) => (Stage::AwaitingEngine, attempts, None),
        Some((ExecutionState::Queued(_), attempts)) => (Stage::Queued, attempts, None),
        Some((ExecutionState::BackingOff(_), attempts)) => (Stage::BackingOff, attempts, None),
        Some((ExecutionState::Running { attempt, worker }, _)) => (Stage::Running, *attempt, Some(*worker)),
    };
    let host = |worker: WorkerId| core.workers.get(&worker).map(|worker| worker.host_name()).unwrap_or_default();
    let artifact = context.artifact.and_then(|key| core.artifacts.get(key));
    let preparation = core.preparation_of(&key);
    Some(RequestView {
        request: key.id,
        client: core.clients.get(key.client).map(|client| client.id),
        work: request.target.work(),
        code: context.spec.code,
        stage,
        arrived: request.arrived,
        deadline: request.deadline,
        job: request.target.job(),
        attempt,
        worker: worker.map(|worker| (worker, host(worker))),
        preparation,
        compiling: preparation.and_then(|job| core.compile_progress(job)),
        waiters: execution.map_or(1, |execution| execution.waiters.len()),
        artifact: artifact.map(|artifact| (*artifact.id).clone()),
        key,
    })
}

/// Where what waits for an artifact is.
fn of_preparation(core: &Core, context: &JobContext) -> (Stage, Attempt, Option<WorkerId>) {
    let Some(artifact) = context.artifact.and_then(|key| core.artifacts.get(key)) else {
        return (Stage::AwaitingEngine, 0, None);
    };
    let preparation = artifact.preparing().and_then(|job| core.preparations.get(&job));
    match preparation.map(|task| (task.state(), task.last_attempt())) {
        Some((PreparationState::Dispatched { attempt, worker, .. }, _)) => (Stage::Preparing, *attempt, Some(*worker)),
        Some((_, attempt)) => (Stage::AwaitingArtifact, attempt, None),
        None => (Stage::AwaitingArtifact, 0, None),
    }
}
