//! What a coordinator remembers of the last minutes for people: requests that ended, and samples for plots. All of it
//! is bounded, and is gone with the process.

mod ended;
mod samples;

pub(crate) use ended::{Ended, Retry};
pub(crate) use samples::{SAMPLE_INTERVAL, Sample};

use crate::millis::now_ms;
use ended::EndedRequests;
use lru::LruCache;
use pvf_scheduler::{Answered, Gauges, Notice};
use pvf_shared::{
    identity::{ClientId, WorkerId},
    ids::{JobId, RequestId},
    wire::Verdict,
};
use samples::Samples;
use std::{
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Jobs whose retries are remembered.
const JOBS: NonZeroUsize = NonZeroUsize::new(4096).unwrap();
/// Retries that are remembered of one job.
const RETRIES: usize = 32;
/// Workers whose machines are remembered.
const WORKERS: NonZeroUsize = NonZeroUsize::new(16_384).unwrap();

/// The memory of one coordinator. Clones share it.
#[derive(Clone)]
pub(crate) struct History(Arc<Mutex<State>>);

struct State {
    requests: EndedRequests,
    retries: LruCache<JobId, Vec<Retry>>,
    hosts: LruCache<WorkerId, String>,
    samples: Samples,
}

impl Default for History {
    fn default() -> Self {
        let requests = EndedRequests::default();
        let (retries, hosts, samples) = (LruCache::new(JOBS), LruCache::new(WORKERS), Samples::default());
        Self(Arc::new(Mutex::new(State { requests, retries, hosts, samples })))
    }
}

impl History {
    /// A request has its verdict.
    pub(crate) fn ended(&self, client: ClientId, verdict: &Verdict, about: Answered) {
        let mut state = self.state();
        let state = &mut *state;
        let retries = about.job.and_then(|job| state.retries.get(&job)).cloned().unwrap_or_default();
        let host = verdict.worker.and_then(|worker| state.hosts.get(&worker)).cloned();
        let ended = Ended::new((client, verdict, about), retries, host, now_ms());
        state.samples.ended(&ended);
        state.requests.push(ended);
    }

    /// The scheduler noticed something.
    pub(crate) fn noticed(&self, notice: &Notice) {
        match notice {
            Notice::WorkerJoined { worker, hello } => {
                self.state().hosts.put(*worker, hello.host.clone());
            }
            Notice::JobRetried { job, attempt, worker, why, .. } => {
                let mut state = self.state();
                let state = &mut *state;
                let host = state.hosts.get(worker).cloned();
                let retry = Retry::new((*attempt, *worker), host, why, now_ms());
                let retries = state.retries.get_or_insert_mut(*job, Vec::new);
                if retries.len() < RETRIES {
                    retries.push(retry);
                }
            }
            Notice::JobReported { usage, .. } => self.state().samples.used(usage),
            _ => {}
        }
    }

    /// Takes a sample when the last one is old enough.
    pub(crate) fn observe(&self, gauges: &Gauges) {
        self.state().samples.observe(gauges, now_ms());
    }

    /// The samples, oldest first.
    pub(crate) fn samples(&self) -> Vec<Sample> {
        self.state().samples.list()
    }

    /// The requests that ended last, the last one first.
    pub(crate) fn last(&self) -> Vec<Arc<Ended>> {
        self.state().requests.last()
    }

    /// The requests that failed last, the last one first.
    pub(crate) fn failed(&self) -> Vec<Arc<Ended>> {
        self.state().requests.failed()
    }

    /// The slowest of the requests that ended lately, the slowest one first.
    pub(crate) fn slowest(&self) -> Vec<Arc<Ended>> {
        self.state().requests.slowest(now_ms())
    }

    /// The last request with this id, if it is remembered.
    pub(crate) fn with_id(&self, id: RequestId) -> Option<Arc<Ended>> {
        self.state().requests.with_id(id)
    }

    /// What was retried of a job that is not over.
    pub(crate) fn retries(&self, job: JobId) -> Vec<Retry> {
        self.state().retries.peek(&job).cloned().unwrap_or_default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
