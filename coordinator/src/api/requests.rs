//! Questions about requests: the open ones are the scheduler's, the ended ones are remembered.

use super::{
    Api, ApiError, json,
    params::{Params, Which},
};
use crate::history::Ended;
use pvf_scheduler::Page;
use serde_json::Value;
use std::{sync::Arc, time::Duration};

/// A request that arrives so soon after its coordinator became active may have been submitted to an earlier one before.
const RESUBMITTED: Duration = Duration::from_secs(60);

/// A sentence about a request that arrived so long after its coordinator became active.
fn resubmitted(after: Duration) -> Option<String> {
    (after < RESUBMITTED).then(|| {
        let seconds = after.as_secs();
        format!(
            "It arrived {seconds} s after this coordinator became active: an earlier one may have had it, whose attempts \
             are not known here."
        )
    })
}

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
            why.extend(resubmitted(view.arrived.since(moment.active_since)));
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
            "request {id}: it is not open, and not among the last that ended with this coordinator, which has been \
             active for {active} s"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_an_earlier_coordinator_may_have_had_says_so() {
        let sentence = |seconds| resubmitted(Duration::from_secs(seconds));
        assert!(sentence(59).is_some_and(|said| said.starts_with("It arrived 59 s after")));
        assert_eq!(sentence(60), None);
    }
}
