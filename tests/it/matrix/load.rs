//! Jobs that run while a resource is taken away and given back: several valid candidates at the same time, of codes
//! that are warm and of codes that are prepared first.

use pvf::ValidationHost;
use pvf_guests::adder::{Block, Head};
use pvf_shared::verdict::Outcome;
use pvf_tests::{
    processes::until_within,
    requests::{backing, pvf_of},
};
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};
use tokio::task::JoinHandle;

/// How long a stream may have no valid candidate. The coordinator gives a worker at which jobs failed again and again
/// no jobs for up to two minutes; the worker may then fail a job that began before the resource was given back.
pub(super) const PATIENCE: Duration = Duration::from_secs(300);
/// Streams of requests; each has one under way. The last one has a new code each time.
const STREAMS: usize = 4;
/// Answers that are waited for while the resource is denied, unless the worker pauses or ends before that: of all
/// streams, and of codes that no worker has met before.
const ENOUGH: [usize; 2] = [8, 2];

/// When a request was submitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Before,
    Denied,
    GivenBack,
}

struct Answered {
    stream: usize,
    phase: Phase,
    outcome: Outcome,
}

struct Shared {
    host: ValidationHost,
    phase: Mutex<Phase>,
    answers: Mutex<Vec<Answered>>,
    next: AtomicU32,
    stop: AtomicBool,
}

/// The streams. Ends them when dropped.
pub(super) struct Load {
    shared: Arc<Shared>,
    streams: Vec<JoinHandle<()>>,
}

impl Shared {
    fn phase(&self) -> Phase {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn stream(&self, stream: usize) {
        while !self.stop.load(Ordering::Relaxed) {
            // No request is like another one, so that none gets the verdict of another.
            let n = self.next.fetch_add(1, Ordering::Relaxed);
            let code = if stream + 1 == STREAMS { 1_000_000 + n } else { stream as u32 };
            let block = Block { state: 0, increment: n.into() }.encode();
            let phase = self.phase();
            let request = backing(Head::genesis().encode(), block);
            let answer = self.host.execute_pvf(pvf_of(pvf_guests::distinct_adder(code)), request).await;
            let outcome = answer.expect("an answer").outcome;
            let answered = Answered { stream, phase, outcome };
            self.answers.lock().unwrap_or_else(PoisonError::into_inner).push(answered);
        }
    }
}

impl Load {
    /// Starts the streams, and waits until each has had a valid candidate.
    pub(super) async fn start(host: &ValidationHost) -> Self {
        // Other codes than those of loads before.
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let shared = Arc::new(Shared {
            host: host.clone(),
            phase: Mutex::new(Phase::Before),
            answers: Mutex::default(),
            next: AtomicU32::new(NEXT.fetch_add(100_000, Ordering::Relaxed)),
            stop: AtomicBool::new(false),
        });
        let streams = (0..STREAMS).map(|stream| {
            let shared = shared.clone();
            tokio::spawn(async move { shared.stream(stream).await })
        });
        let load = Self { streams: streams.collect(), shared };
        load.until_valid(Phase::Before).await;
        load
    }

    /// From now on requests count as submitted in this phase.
    pub(super) fn enter(&self, phase: Phase) {
        *self.shared.phase.lock().unwrap_or_else(PoisonError::into_inner) = phase;
    }

    fn count(&self, is: impl Fn(&Answered) -> bool) -> usize {
        self.shared.answers.lock().unwrap_or_else(PoisonError::into_inner).iter().filter(|one| is(one)).count()
    }

    /// Waits until each stream has had a valid candidate that was submitted in this phase.
    pub(super) async fn until_valid(&self, phase: Phase) {
        for stream in 0..STREAMS {
            until_within(PATIENCE, &format!("stream {stream} has a valid candidate ({phase:?})"), async || {
                let valid = |one: &Answered| {
                    (one.stream, one.phase) == (stream, phase) && matches!(one.outcome, Outcome::Valid(_))
                };
                (self.count(valid) > 0).then_some(())
            })
            .await;
        }
    }

    /// Whether enough requests that were submitted since the resource is denied have ended.
    pub(super) fn has_enough(&self) -> bool {
        let all = self.count(|one| one.phase == Phase::Denied);
        let cold = self.count(|one| one.phase == Phase::Denied && one.stream + 1 == STREAMS);
        all >= ENOUGH[0] && cold >= ENOUGH[1]
    }

    /// Ends the streams: how many candidates were valid and how many ended as `internal` in each phase.
    ///
    /// # Panics
    /// There was any other verdict.
    pub(super) async fn end(mut self, cell: &str) -> [(usize, usize); 3] {
        self.shared.stop.store(true, Ordering::Relaxed);
        for stream in std::mem::take(&mut self.streams) {
            stream.await.expect("a stream ends");
        }
        let answers = self.shared.answers.lock().unwrap_or_else(PoisonError::into_inner);
        for Answered { stream, phase, outcome } in answers.iter() {
            let ours = matches!(outcome, Outcome::Valid(_) | Outcome::Internal(_));
            assert!(ours, "{cell}: stream {stream}, {phase:?}: {outcome:?}");
        }
        drop(answers);
        [Phase::Before, Phase::Denied, Phase::GivenBack].map(|phase| {
            let valid = self.count(|one| one.phase == phase && matches!(one.outcome, Outcome::Valid(_)));
            (valid, self.count(|one| one.phase == phase) - valid)
        })
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.streams.iter().for_each(JoinHandle::abort);
    }
}
