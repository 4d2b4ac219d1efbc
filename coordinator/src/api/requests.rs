//! Questions about requests: the open ones are the scheduler's, the ended ones are remembered.

use super::{
    Api, ApiError, json,
    params::{Params, Which},
};
use crate::history::Ended;
use pvf_scheduler::Page;
use serde_json::Value;
use std::{sync::Arc, time::Duration};

/// A coordinator that is active for less than this says so where it is asked about a request: it does not know what
/// happened to it before.
const SHORT_MEMORY: Duration = Duration::from_secs(600);

impl Api {
    /// A list of requests.
    pub(super) async fn requests(&self, params: Params) -> Result<Value, ApiError> {
        let (which, filter) = params.requests()?;
        let open = match which {
            Which::All | Which::Open => {
                let filter = filter.clone();
                self.ask(move |scheduler, _| scheduler.requests(&filter)).await?
            }
            Which::Ended | Which::Failed | Which::Slow => {
                self.ask_whether_active().await?;
                Page::empty()
            }
        };
        let ended = match which {
            Which::Open => Vec::new(),
            Which::All | Which::Ended => self.history.last(),
            Which::Failed => self.history.failed(),
            Which::Slow => self.history.slowest(),
        };
        let matches = |ended: &&Arc<Ended>| {
            filter.kind.is_none_or(|kind| ended.work.kind() == Some(kind))
                && filter.code.is_none_or(|code| ended.code == code)
                && filter.user.as_ref().is_none_or(|user| ended.client.user == *user)
        };
        Ok(json::requests(&open, ended.iter().filter(matches), filter.limit))
    }

    /// One request, open or ended: the last one if several clients chose the same id.
    pub(super) async fn request(&self, params: Params) -> Result<Value, ApiError> {
        let id = params.id()?;
        let open = self.ask(move |scheduler, moment| {
            let view = scheduler.requests_with_id(id).into_iter().next()?;
            let mut why = scheduler.explain(&view, moment.now);
            let active = moment.now.since(moment.active_since);
            if active < SHORT_MEMORY {
                let seconds = active.as_secs();
                why.push(format!("This coordinator is active for {seconds} s and does not know of attempts before."));
            }
            Some((view, why))
        });
        if let Some((view, why)) = open.await? {
            let jobs = [view.preparation, view.job].into_iter().flatten();
            let retries: Vec<_> = jobs.flat_map(|job| self.history.retries(job)).collect();
            return Ok(json::open_request(&view, &why, &retries));
        }
        if let Some(ended) = self.history.with_id(id) {
            return Ok(json::ended_request_explained(&ended));
        }
        let active = self.ask(|_, moment| moment.now.since(moment.active_since)).await?.as_secs();
        Err(ApiError::not_found(format!(
            "request {id}: it is not open, and not among the last that ended with this coordinator, which is active \
             for {active} s"
        )))
    }
}
