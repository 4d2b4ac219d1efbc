//! The read API: what people and tools ask about the state of the fleet, answered in JSON. The same questions are asked
//! over HTTP (`GET /api/<name>`) and on the bus (`<fleet>.v4.api.<name>`). `docs/integrate/api.md` describes it.
//!
//! The driver answers a question from the scheduler's state between two events. So that questions never hold up the
//! requests of clients, one is answered at a time, at most one every [`PAUSE`], and lists are bounded.

mod asked;
mod bus;
mod error;
mod json;
mod overview;
mod params;
mod requests;

pub(crate) use asked::{Asked, Moment};
pub(crate) use bus::{active, standby};
pub(crate) use error::ApiError;
pub(crate) use params::Params;

use crate::{events::EventLog, history::History, millis::now_ms};
use overview::Overview;
use pvf_scheduler::Scheduler;
use serde_json::{Value, json};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{sync::mpsc, time::Instant};

/// The least time between two questions to the scheduler.
const PAUSE: Duration = Duration::from_millis(20);
/// How old a status may be that is given again.
const STATUS_AGE: Duration = Duration::from_millis(250);
/// Questions that may wait for their turn; more are refused.
const WAITING: usize = 64;
/// How long a question may take, with the wait for its turn.
const LIMIT: Duration = Duration::from_secs(10);

/// The questions that there are.
pub(crate) const NAMES: [&str; 7] = ["status", "workers", "requests", "request", "artifacts", "history", "events"];

/// Answers questions. Clones share all state.
#[derive(Clone)]
pub struct Api {
    pub(crate) history: History,
    pub(crate) events: EventLog,
    /// Where the active coordinator takes questions; `None` in a standby.
    driver: Arc<Mutex<Option<mpsc::Sender<Asked>>>>,
    turn: Arc<tokio::sync::Mutex<()>>,
    places: Arc<tokio::sync::Semaphore>,
    /// The last status: many ask for it at once.
    status: Arc<tokio::sync::Mutex<Option<(Instant, Value)>>>,
}

impl Default for Api {
    fn default() -> Self {
        Self {
            history: History::default(),
            events: EventLog::default(),
            driver: Arc::default(),
            turn: Arc::default(),
            places: Arc::new(tokio::sync::Semaphore::new(WAITING)),
            status: Arc::default(),
        }
    }
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Api").finish_non_exhaustive()
    }
}

impl Api {
    /// The end that the driver reads, while this coordinator is the active one.
    pub(crate) fn open(&self) -> mpsc::Receiver<Asked> {
        let (sender, receiver) = mpsc::channel(1);
        *self.driver.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        receiver
    }

    /// Answers one question.
    pub(crate) async fn answer(&self, name: &str, params: Params) -> Result<Value, ApiError> {
        let mut answer = match name {
            "status" => {
                params.end()?;
                self.status().await?
            }
            "workers" => {
                let filter = params.workers()?;
                json::workers(&self.ask(move |scheduler, moment| scheduler.workers(&filter, moment.now)).await?)
            }
            "artifacts" => {
                let filter = params.artifacts()?;
                let list =
                    move |scheduler: &Scheduler, _: &_| (scheduler.artifacts(&filter), scheduler.artifact_bytes());
                let (page, bytes) = self.ask(list).await?;
                json::artifacts(&page, bytes)
            }
            "requests" => self.requests(params).await?,
            "request" => self.request(params).await?,
            "history" => {
                params.end()?;
                self.ask_whether_active().await?;
                json::history(&self.history.samples())
            }
            "events" => {
                let limit = params.events()?;
                self.ask_whether_active().await?;
                json::events(&self.events.last(limit))
            }
            other => return Err(ApiError::unknown(other)),
        };
        answer["at_ms"] = json!(now_ms());
        Ok(answer)
    }

    /// The status; one that is young enough is not asked for again.
    async fn status(&self) -> Result<Value, ApiError> {
        let mut last = self.status.lock().await;
        if let Some((at, status)) = &*last
            && at.elapsed() < STATUS_AGE
        {
            return Ok(status.clone());
        }
        *last = None;
        let status = json::status(&self.ask(Overview::of).await?);
        *last = Some((Instant::now(), status.clone()));
        Ok(status)
    }

    /// A standby answers nothing, also of what it remembers from the time when it was active.
    async fn ask_whether_active(&self) -> Result<(), ApiError> {
        self.ask(|_, _| ()).await
    }

    /// Asks the scheduler.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Scheduler, &Moment) -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        let _place = self.places.try_acquire().map_err(|_| ApiError::busy())?;
        let asking = async {
            let _turn = self.turn.lock().await;
            let driver = self.driver.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let driver = driver.ok_or_else(ApiError::standby)?;
            let (asked, answered) = Asked::new(question);
            driver.send(asked).await.map_err(|_| ApiError::standby())?;
            let answer = answered.await.map_err(|_| ApiError::standby());
            tokio::time::sleep(PAUSE).await;
            answer
        };
        tokio::time::timeout(LIMIT, asking).await.map_err(|_| ApiError::late())?
    }
}

#[cfg(test)]
mod tests;
