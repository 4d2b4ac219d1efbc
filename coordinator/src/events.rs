//! The last events, for those who listen over HTTP: each is numbered, so that a listener who comes back gets what it has
//! missed.

use pvf_shared::Bytes;
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::broadcast;

/// Verdicts that are kept, and as many events of other kinds: in a busy fleet verdicts would push those out at once.
const KEPT: usize = 1000;
/// Events that a slow listener may be behind.
const BEHIND: usize = 1024;

/// The kind of the events of verdicts.
pub(crate) const VERDICT: &str = "verdict";

/// An event.
#[derive(Debug, Clone)]
pub(crate) struct LoggedEvent {
    /// Numbers grow by one with each event of this process.
    pub(crate) number: u64,
    pub(crate) kind: &'static str,
    /// JSON.
    pub(crate) body: Bytes,
}

/// The last events. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct EventLog(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    last: u64,
    verdicts: VecDeque<LoggedEvent>,
    others: VecDeque<LoggedEvent>,
    listeners: broadcast::Sender<LoggedEvent>,
}

impl State {
    /// The kept events after this number, by number.
    fn after(&self, number: u64) -> Vec<LoggedEvent> {
        let kept = self.verdicts.iter().chain(&self.others);
        let mut events: Vec<_> = kept.filter(|event| event.number > number).cloned().collect();
        events.sort_unstable_by_key(|event| event.number);
        events
    }
}

impl Default for EventLog {
    fn default() -> Self {
        let (listeners, _) = broadcast::channel(BEHIND);
        Self(Arc::new(Mutex::new(State { last: 0, verdicts: VecDeque::new(), others: VecDeque::new(), listeners })))
    }
}

impl EventLog {
    /// An event happened.
    pub(crate) fn push(&self, kind: &'static str, body: Bytes) {
        let mut state = self.state();
        state.last += 1;
        let event = LoggedEvent { number: state.last, kind, body };
        let kept = if kind == VERDICT { &mut state.verdicts } else { &mut state.others };
        kept.push_back(event.clone());
        if kept.len() > KEPT {
            kept.pop_front();
        }
        // There may be no listener.
        let _ = state.listeners.send(event);
    }

    /// The kept events after this number, and those to come.
    pub(crate) fn listen(&self, after: Option<u64>) -> (Vec<LoggedEvent>, broadcast::Receiver<LoggedEvent>) {
        let state = self.state();
        let after = after.unwrap_or(state.last);
        let missed = state.after(after);
        (missed, state.listeners.subscribe())
    }

    /// The last events, the last one first.
    pub(crate) fn last(&self, most: usize) -> Vec<LoggedEvent> {
        let mut events = self.state().after(0);
        events.reverse();
        events.truncate(most);
        events
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_listener_that_comes_back_gets_what_it_has_missed() {
        let log = EventLog::default();
        let body = |n: u64| Bytes::from(n.to_string());
        (1..=KEPT as u64 + 5).for_each(|n| log.push("verdict", body(n)));
        let (missed, mut listener) = log.listen(None);
        assert!(missed.is_empty());
        let (missed, _) = log.listen(Some(KEPT as u64 + 3));
        assert_eq!(missed.iter().map(|event| event.number).collect::<Vec<_>>(), [KEPT as u64 + 4, KEPT as u64 + 5]);
        assert_eq!(log.listen(Some(0)).0.len(), KEPT);
        log.push("worker-lost", body(7));
        let next = listener.recv().await.unwrap();
        assert_eq!((next.number, next.kind, next.body), (KEPT as u64 + 6, "worker-lost", body(7)));
        (1..=KEPT as u64).for_each(|n| log.push(VERDICT, body(n)));
        let numbers: Vec<u64> = log.last(KEPT + 1).iter().map(|event| event.number).collect();
        assert_eq!((numbers[0], numbers[KEPT]), (2 * KEPT as u64 + 6, KEPT as u64 + 6), "the loss is still there");
    }
}
