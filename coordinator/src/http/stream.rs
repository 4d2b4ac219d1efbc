//! Events as a stream, for the page: the events of the coordinator as they happen, and its state once a second.

use crate::{
    api::{Api, Params},
    events::LoggedEvent,
};
use axum::{
    extract::{RawQuery, State},
    http::{HeaderMap, header},
    response::{
        IntoResponse as _, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures::{Stream, StreamExt as _, stream};
use std::{convert::Infallible, time::Duration};
use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    time::{Interval, MissedTickBehavior},
};

/// How often the state is sent.
const OVERVIEW: Duration = Duration::from_secs(1);
/// How often something is sent at least, so that a proxy keeps the connection.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// `GET /api/events[?overview=1]`: a stream, or the last events for those who accept JSON only. A listener that was here before says the number of its last event in
/// `Last-Event-ID`.
pub(super) async fn events(State(api): State<Api>, RawQuery(query): RawQuery, headers: HeaderMap) -> Response {
    let accepts = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if accepts.starts_with("application/json") {
        return super::answer(api.answer("events", Params::of_url(query.as_deref())).await);
    }
    stream(api, query.as_deref(), &headers).into_response()
}

fn stream(
    api: Api,
    query: Option<&str>,
    headers: &HeaderMap,
) -> Sse<impl Stream<Item = Result<Event, Infallible>> + use<>> {
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok()?.parse().ok());
    let (missed, listener) = api.events.listen(last);
    let overview = query.is_some_and(|query| query.split('&').any(|part| part == "overview=1"));
    let missed = stream::iter(missed).map(|event| shown(&event));
    let to_come = stream::unfold((api, listener, ticks(overview)), next);
    Sse::new(missed.chain(to_come).map(Ok)).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}

fn ticks(overview: bool) -> Option<Interval> {
    overview.then(|| {
        let mut interval = tokio::time::interval(OVERVIEW);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        interval
    })
}

type Listening = (Api, Receiver<LoggedEvent>, Option<Interval>);

async fn next((api, mut listener, mut ticks): Listening) -> Option<(Event, Listening)> {
    let tick = async {
        match &mut ticks {
            Some(interval) => drop(interval.tick().await),
            None => std::future::pending().await,
        }
    };
    let event = tokio::select! {
        event = listener.recv() => match event {
            Ok(event) => shown(&event),
            // It reads more slowly than events happen.
            Err(RecvError::Lagged(missed)) => Event::default().event("missed").data(format!("{{\"missed\":{missed}}}")),
            Err(RecvError::Closed) => return None,
        },
        () = tick => Event::default().event("overview").data(overview(&api).await),
    };
    Some((event, (api, listener, ticks)))
}

fn shown(event: &LoggedEvent) -> Event {
    let body = String::from_utf8_lossy(&event.body);
    Event::default().id(event.number.to_string()).event(event.kind).data(body)
}

/// The state without its long lists, or why there is none.
async fn overview(api: &Api) -> String {
    match api.answer("status", Params::default()).await {
        Ok(mut status) => {
            if let Some(fields) = status.as_object_mut() {
                fields.remove("workers");
                fields.remove("counts");
            }
            status.to_string()
        }
        Err(error) => error.json().to_string(),
    }
}
