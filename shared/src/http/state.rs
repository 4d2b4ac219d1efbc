//! Whether a role makes progress and does its work: what `/livez` and `/readyz` show.

use std::{
    borrow::Cow,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// A main loop that has not ticked for this long stands still.
pub const STALL_LIMIT: Duration = Duration::from_secs(10);

/// The progress of a role's main loop. Clones share one state.
///
/// Before the first tick the role counts as live: start-up has time-outs of its own and may take longer than
/// [`STALL_LIMIT`].
#[derive(Debug, Clone, Default)]
pub struct Liveness(Arc<Mutex<Option<Instant>>>);

impl Liveness {
    /// Reports progress. The main loop calls this in every turn, at least every few seconds.
    pub fn tick(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// For how long the main loop has stood still, if that is [`STALL_LIMIT`] or longer.
    pub(super) fn stalled_for(&self) -> Option<Duration> {
        let last_tick = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last_tick.map(|at| at.elapsed()).filter(|silence| *silence >= STALL_LIMIT)
    }
}

/// Whether a role does its work. Clones share one state. A new one is not ready: "starting".
#[derive(Debug, Clone)]
pub struct Readiness(Arc<Mutex<State>>);

/// Why a role is not ready, and the conditions that were looked at.
#[derive(Debug)]
struct State {
    reason: Option<Cow<'static, str>>,
    conditions: Vec<Condition>,
}

/// One of the conditions for a role to be ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// What is looked at: "bus", "store", ….
    pub name: &'static str,
    /// Whether it is well.
    pub is_met: bool,
    /// How it is, in a few words.
    pub detail: String,
}

/// How the connection to the bus is, in words.
pub fn connection(is_connected: bool) -> &'static str {
    if is_connected { "connected" } else { "disconnected" }
}

impl Default for Readiness {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(State { reason: Some(Cow::Borrowed("starting")), conditions: Vec::new() })))
    }
}

impl Readiness {
    /// The role does its work.
    pub fn ready(&self) {
        self.state().reason = None;
    }

    /// The role cannot do its work; `why` is one line, e.g. "bus disconnected".
    pub fn not_ready(&self, why: impl Into<Cow<'static, str>>) {
        self.state().reason = Some(why.into());
    }

    /// What `/readyz?verbose` shows. It does not decide about the role.
    pub fn show(&self, conditions: Vec<Condition>) {
        self.state().conditions = conditions;
    }

    /// Why the role is not ready; `None` if it is.
    pub(super) fn reason(&self) -> Option<Cow<'static, str>> {
        self.state().reason.clone()
    }

    /// A line for each condition, `[+]` or `[-]` before it.
    pub(super) fn lines(&self) -> String {
        let line = |Condition { name, is_met, detail }: &Condition| {
            format!("[{}] {name}: {detail}\n", if *is_met { '+' } else { '-' })
        };
        self.state().conditions.iter().map(line).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
