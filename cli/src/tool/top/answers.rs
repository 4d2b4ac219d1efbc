//! What the coordinator answers, asked for again and again.

use super::{
    filter::Filter,
    model::{Sample, Status},
};
use crate::tool::{
    api::{
        Api,
        model::{Request, Worker},
        part,
    },
    failure::Failure,
    text::escaped,
};
use serde::Serialize;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{mpsc, watch},
    task::AbortHandle,
    time::MissedTickBehavior,
};

/// Most workers and requests that are listed.
const WORKERS: u32 = 1000;
const REQUESTS: u32 = 200;

/// All that the pages show.
#[derive(Debug, Clone, Default)]
pub(super) struct Answers {
    pub(super) status: Status,
    pub(super) workers: Vec<Worker>,
    pub(super) workers_total: u64,
    pub(super) requests: Vec<Request>,
    pub(super) samples: Vec<Sample>,
    pub(super) sample_ms: f64,
}

/// The same as it was answered.
#[derive(Debug, Serialize)]
pub(super) struct Raw {
    status: Value,
    workers: Value,
    requests: Value,
    history: Value,
}

impl Answers {
    pub(super) async fn ask(api: &Api, filter: Filter) -> Result<(Raw, Self), Failure> {
        let (status, workers, requests, history) = tokio::try_join!(
            api.ask("status", Value::Null),
            api.ask("workers", json!({ "limit": WORKERS })),
            api.ask("requests", json!({ "limit": REQUESTS, "state": filter.name() })),
            api.ask("history", Value::Null),
        )?;
        let answers = Self {
            status: part(&status)?,
            workers: part(&workers["workers"])?,
            workers_total: workers["total"].as_u64().unwrap_or_default(),
            requests: part(&requests["requests"])?,
            samples: part(&history["samples"])?,
            sample_ms: history["interval_ms"].as_f64().unwrap_or(5000.0),
        };
        Ok((Raw { status, workers, requests, history }, answers))
    }
}

/// What the task has heard.
pub(super) enum Heard {
    Answers(Box<Answers>),
    /// One request with why it is where it is.
    Request(Box<Request>),
    /// Why there are no newer answers.
    Failed(String),
    /// Why there is no answer for one request.
    RequestFailed {
        request: String,
        why: String,
    },
}

/// Asks in a task, which ends with this.
pub(super) struct Asker {
    filter: watch::Sender<Filter>,
    requests: mpsc::UnboundedSender<String>,
    heard: mpsc::Receiver<Heard>,
    tasks: [AbortHandle; 2],
}

impl Drop for Asker {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

impl Asker {
    pub(super) fn start(api: Arc<Api>, interval: Duration) -> Self {
        let (filter, wanted) = watch::channel(Filter::default());
        let (requests, ids) = mpsc::unbounded_channel();
        let (sender, heard) = mpsc::channel(1);
        let again = tokio::spawn(ask_again(api.clone(), interval, wanted, sender.clone()));
        let one = tokio::spawn(ask_for_requests(api, ids, sender));
        Self { filter, requests, heard, tasks: [again.abort_handle(), one.abort_handle()] }
    }

    /// Lists these requests from now on.
    pub(super) fn filter(&self, filter: Filter) {
        self.filter.send_replace(filter);
    }

    /// Asks for one request.
    pub(super) fn request(&self, id: String) {
        // The task ends with this.
        let _ = self.requests.send(id);
    }

    pub(super) async fn next(&mut self) -> Heard {
        match self.heard.recv().await {
            Some(heard) => heard,
            None => std::future::pending().await,
        }
    }
}

async fn ask_again(api: Arc<Api>, interval: Duration, mut filter: watch::Receiver<Filter>, heard: mpsc::Sender<Heard>) {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            Ok(()) = filter.changed() => {}
        }
        let filter = *filter.borrow_and_update();
        let answer = match Answers::ask(&api, filter).await {
            Ok((_, answers)) => Heard::Answers(Box::new(answers)),
            Err(failure) => Heard::Failed(escaped(&failure.to_string())),
        };
        if heard.send(answer).await.is_err() {
            return;
        }
    }
}

async fn ask_for_requests(api: Arc<Api>, mut ids: mpsc::UnboundedReceiver<String>, heard: mpsc::Sender<Heard>) {
    while let Some(id) = ids.recv().await {
        let answer = api.ask("request", json!({ "id": id })).await.and_then(|answer| part::<Request>(&answer));
        let answer = match answer {
            Ok(request) => Heard::Request(Box::new(request)),
            Err(failure) => Heard::RequestFailed { request: id, why: escaped(&failure.to_string()) },
        };
        if heard.send(answer).await.is_err() {
            return;
        }
    }
}
