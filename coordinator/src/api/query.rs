//! Questions to the scheduler, and those that are answered from it and from what the coordinator remembers.

use super::{
    Api, ApiError, json,
    params::{Params, Which},
};
use crate::history::{Ended, History, Retry};
use pvf_scheduler::{
    ArtifactFilter, ArtifactView, Counts, Gauges, Page, RequestFilter, RequestView, Scheduler, Shares, Timestamp,
    WorkerFilter, WorkerView,
};
use pvf_shared::{ids::RequestId, wire::FleetStatus};
use serde_json::Value;
use std::sync::Arc;
use tokio::sync::oneshot;

/// A question to the scheduler.
#[derive(Debug)]
pub(crate) enum Query {
    /// Whether this coordinator is the active one.
    Nothing,
    Status,
    Workers(WorkerFilter),
    Requests(RequestFilter),
    Request(RequestId),
    Artifacts(ArtifactFilter),
}

/// What the scheduler answers.
#[derive(Debug)]
pub(crate) enum Found {
    Nothing,
    Status(Box<Overview>),
    Workers(Page<WorkerView>),
    Requests(Page<RequestView>),
    /// With sentences about each.
    Request(Vec<(RequestView, Vec<String>)>),
    Artifacts(Page<ArtifactView>, u64),
}

/// The state of the fleet in numbers, and the first workers.
#[derive(Debug)]
pub(crate) struct Overview {
    pub(crate) status: FleetStatus,
    pub(crate) gauges: Gauges,
    pub(crate) counts: Counts,
    pub(crate) shares: Shares,
    pub(crate) workers: Page<WorkerView>,
    /// When the coordinator became active.
    pub(crate) active_since: Timestamp,
}

/// A question, and where its answer goes.
#[derive(Debug)]
pub(crate) struct Asked {
    query: Query,
    answer: oneshot::Sender<Found>,
}

/// Workers that are listed with the status.
const WORKERS_WITH_STATUS: usize = 256;

impl Asked {
    pub(super) fn new(query: Query) -> (Self, oneshot::Receiver<Found>) {
        let (answer, found) = oneshot::channel();
        (Self { query, answer }, found)
    }

    /// Answers from the scheduler's state.
    pub(crate) fn answer(self, scheduler: &Scheduler, active_since: Timestamp, now: Timestamp) {
        let found = match &self.query {
            Query::Nothing => Found::Nothing,
            Query::Status => {
                let first = WorkerFilter { limit: WORKERS_WITH_STATUS, ..WorkerFilter::default() };
                Found::Status(Box::new(Overview {
                    status: scheduler.status(now),
                    gauges: scheduler.gauges(now),
                    counts: scheduler.counts(),
                    shares: scheduler.shares(),
                    workers: scheduler.workers(&first, now),
                    active_since,
                }))
            }
            Query::Workers(filter) => Found::Workers(scheduler.workers(filter, now)),
            Query::Requests(filter) => Found::Requests(scheduler.requests(filter)),
            Query::Request(id) => {
                let explained = |view: RequestView| {
                    let why = scheduler.explain(&view, now);
                    (view, why)
                };
                Found::Request(scheduler.requests_with_id(*id).into_iter().map(explained).collect())
            }
            Query::Artifacts(filter) => {
                Found::Artifacts(scheduler.artifacts(filter), scheduler.gauges(now).artifact_bytes)
            }
        };
        // The one who asked may have gone.
        let _ = self.answer.send(found);
    }
}

/// Questions that are answered from several sources.
pub(super) struct Queries<'a>(pub(super) &'a Api);

impl Queries<'_> {
    /// A list of requests.
    pub(super) async fn requests(&self, params: Params) -> Result<Value, ApiError> {
        let (which, filter) = params.requests()?;
        let history = &self.0.history;
        let open = match which {
            Which::All | Which::Open => self.open(filter.clone()).await?,
            // A standby answers nothing.
            Which::Ended | Which::Failed | Which::Slow => self.open(RequestFilter::default()).await?,
        };
        let ended = match which {
            Which::Open => Vec::new(),
            Which::All | Which::Ended => history.last(),
            Which::Failed => history.failed(),
            Which::Slow => history.slowest(),
        };
        let matches = |ended: &&Arc<Ended>| {
            filter.kind.is_none_or(|kind| ended.work.kind() == Some(kind))
                && filter.code.is_none_or(|code| ended.code == code)
                && filter.user.as_ref().is_none_or(|user| ended.client.user == *user)
        };
        let ended: Vec<&Arc<Ended>> = ended.iter().filter(matches).take(filter.limit).collect();
        Ok(json::requests(&open, &ended, filter.limit))
    }

    async fn open(&self, filter: RequestFilter) -> Result<Page<RequestView>, ApiError> {
        match self.0.ask(Query::Requests(filter)).await? {
            Found::Requests(page) => Ok(page),
            _ => Err(ApiError::late()),
        }
    }

    /// One request, open or ended: the last one if several clients chose the same id.
    pub(super) async fn request(&self, params: Params) -> Result<Value, ApiError> {
        let id = params.id()?;
        let Found::Request(open) = self.0.ask(Query::Request(id)).await? else { return Err(ApiError::late()) };
        let history: &History = &self.0.history;
        if let Some((view, why)) = open.first() {
            let retries: Vec<Retry> = view.job.map(|job| history.retries(job)).unwrap_or_default();
            return Ok(json::open_request(view, why, &retries));
        }
        match history.with_id(id).first() {
            Some(ended) => Ok(json::ended_request_explained(ended)),
            None => Err(ApiError::not_found(format!(
                "request {id}: it is not open, and not among the last that ended with this coordinator"
            ))),
        }
    }
}
