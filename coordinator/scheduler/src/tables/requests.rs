//! Requests without a verdict, with their deadlines.

use crate::{
    collections::{Deadlines, Position, ShardedMap},
    effect::WorkKind,
    keys::{ArtifactKey, RequestKey},
    tables::{artifacts::Made, specs::PvfSpec},
    time::{CompactDuration, Timestamp},
};
use pvf_proto::{
    ids::{JobId, RelayHash},
    priority::ExecuteKind,
    wire::Timings,
};
use std::{sync::Arc, time::Duration};

/// A request without a verdict. Its client is part of its [key](RequestKey).
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) arrived: Timestamp,
    pub(crate) deadline: Timestamp,
    /// Relay-chain leaf that the request belongs to; only backing work has one.
    pub(crate) leaf: Option<RelayHash>,
    pub(crate) target: RequestTarget,
}

/// What a request waits for.
#[derive(Debug)]
pub(crate) enum RequestTarget {
    /// An execution, possibly together with other requests. `kind` is the kind under which this one was admitted.
    Execution { job: JobId, kind: ExecuteKind },
    /// The preparation of an artifact.
    Preparation(Box<JobContext>),
}

impl RequestTarget {
    /// The kind of execution under which the request counts for the limits; `None` for preparations.
    pub(crate) fn kind(&self) -> Option<ExecuteKind> {
        match self {
            Self::Execution { kind, .. } => Some(*kind),
            Self::Preparation(_) => None,
        }
    }

    /// What was asked for.
    pub(crate) fn work(&self) -> WorkKind {
        match self {
            Self::Execution { kind, .. } => WorkKind::Execute(*kind),
            Self::Preparation(context) if context.heads_up.is_some() => WorkKind::HeadsUp,
            Self::Preparation(_) => WorkKind::Precheck,
        }
    }

    /// The execution that the request waits for.
    pub(crate) fn job(&self) -> Option<JobId> {
        match self {
            Self::Execution { job, .. } => Some(*job),
            Self::Preparation(_) => None,
        }
    }
}

/// What a heads-up waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeadsUp {
    /// A worker that has the code.
    Taken,
    /// The artifact.
    Prepared,
}

/// What an execution or a precheck needs to get its artifact, and what was measured on the way.
#[derive(Debug, Clone)]
pub(crate) struct JobContext {
    pub(crate) spec: Arc<PvfSpec>,
    /// Set once an engine was chosen.
    pub(crate) artifact: Option<ArtifactKey>,
    /// It is for a heads-up.
    pub(crate) heads_up: Option<HeadsUp>,
    /// The artifact was there each time it was needed.
    pub(crate) cached: bool,
    pub(crate) timings: StageTimings,
    /// Start of the stage that it is in.
    pub(crate) since: Timestamp,
}

/// Time spent in each stage so far.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct StageTimings {
    pub(crate) queued: CompactDuration,
    pub(crate) prepare: CompactDuration,
    pub(crate) execute: CompactDuration,
}

impl From<StageTimings> for Timings {
    fn from(timings: StageTimings) -> Self {
        Self {
            queued: timings.queued.into(),
            prepare: timings.prepare.into(),
            execute: timings.execute.into(),
            total: Duration::ZERO,
        }
    }
}

impl JobContext {
    pub(crate) fn new(spec: Arc<PvfSpec>, now: Timestamp) -> Self {
        Self { spec, artifact: None, heads_up: None, cached: true, timings: StageTimings::default(), since: now }
    }

    /// The artifact is there. `prepared`: its preparation, if that was waited for.
    pub(crate) fn note_artifact_ready(&mut self, prepared: Option<&Made>, now: Timestamp) {
        if let Some(made) = prepared {
            self.cached = false;
            self.timings.queued += made.dispatched.since(self.since);
            self.timings.prepare += made.ended.since(made.dispatched.max(self.since));
        }
        self.since = now;
    }

    /// The time in a queue is over.
    pub(crate) fn note_queued(&mut self, now: Timestamp) {
        self.timings.queued += now.since(self.since);
        self.since = now;
    }
}

/// A request, and the position of its deadline.
#[derive(Debug)]
struct Entry {
    request: Request,
    position: Position,
}

/// The requests, by key and by deadline.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    by_key: ShardedMap<RequestKey, Box<Entry>>,
    deadlines: Deadlines<RequestKey>,
}

impl Requests {
    pub(crate) fn get(&self, key: &RequestKey) -> Option<&Request> {
        self.by_key.get(key).map(|entry| &entry.request)
    }

    pub(crate) fn get_mut(&mut self, key: &RequestKey) -> Option<&mut Request> {
        self.by_key.get_mut(key).map(|entry| &mut entry.request)
    }

    /// The context of a request for a preparation.
    pub(crate) fn preparation(&self, key: &RequestKey) -> Option<&JobContext> {
        match &self.get(key)?.target {
            RequestTarget::Preparation(context) => Some(context),
            RequestTarget::Execution { .. } => None,
        }
    }

    /// The same, to change it.
    pub(crate) fn preparation_mut(&mut self, key: &RequestKey) -> Option<&mut JobContext> {
        match &mut self.get_mut(key)?.target {
            RequestTarget::Preparation(context) => Some(context),
            RequestTarget::Execution { .. } => None,
        }
    }

    pub(crate) fn contains(&self, key: &RequestKey) -> bool {
        self.by_key.contains_key(key)
    }

    pub(crate) fn insert(&mut self, key: RequestKey, request: Request) {
        let position = self.deadlines.insert(request.deadline, key);
        self.by_key.insert(key, Box::new(Entry { request, position }));
    }

    pub(crate) fn remove(&mut self, key: &RequestKey) -> Option<Request> {
        let Entry { request, position } = *self.by_key.remove(key)?;
        self.deadlines.remove(request.deadline, *key, position);
        Some(request)
    }

    /// When [`Requests::pop_due`] is to be called next.
    pub(crate) fn next_deadline(&self) -> Option<Timestamp> {
        self.deadlines.next()
    }

    /// Takes a deadline that has passed. The request stays until it is answered.
    pub(crate) fn pop_due(&mut self, now: Timestamp) -> Option<RequestKey> {
        self.deadlines.pop_due(now)
    }

    pub(crate) fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Whether the deadline of a request is still ahead: for checks.
    pub(crate) fn has_deadline(&self, key: &RequestKey) -> bool {
        let entry = self.by_key.get(key);
        entry.is_some_and(|entry| self.deadlines.contains(entry.request.deadline, *key, entry.position))
    }

    /// How many deadlines are ahead: for checks.
    pub(crate) fn deadlines(&self) -> usize {
        self.deadlines.len()
    }

    /// Every request, in no particular order: for checks.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&RequestKey, &Request)> {
        self.by_key.iter().map(|(key, entry)| (key, &entry.request))
    }
}
