//! When a job may use a slot, and how the owner of the slots follows it.
//!
//! A job with a free slot starts at once. A *staged* job is given its process while another job, its predecessor, still
//! holds the slot; it starts when the predecessor's process exits. The kernel wakes the staged process: the worker may
//! itself be waiting for a core that the guests use, while another core is idle. The owner of the slots can also send a
//! [`StartSignal`], when another slot becomes free first.
//!
//! ```text
//! pending ──started──> running(holder) ──release──> ended
//!    └────────────────── release or drop ─────────────┘
//! ```
//!
//! [`SlotGrant`] belongs to the one that runs the job and is the only writer of that state; [`JobProgress`] reads it.

use super::{
    core_pins::ReservedCore,
    process_handle::{ProcessHandle, has_exited},
};
use std::{
    future::pending,
    io::Result,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
};
use tokio::sync::{oneshot, watch};

/// The process that holds a slot, as the staged job behind it sees it.
#[derive(Debug)]
pub(super) struct SlotHolder {
    pub(super) pid: i32,
    pub(super) pidfd: Arc<OwnedFd>,
    /// The core that it runs on, where the staged job starts as well.
    pub(super) core: Option<Arc<ReservedCore>>,
}

impl SlotHolder {
    /// Its core, to which it is pinned from now on.
    pub(super) fn pin_core(&self) -> Option<Arc<ReservedCore>> {
        self.core.as_ref().inspect(|core| core.pin(self.pid)).cloned()
    }

    /// Whether it has exited.
    pub(super) fn has_exited(&self) -> bool {
        has_exited(&*self.pidfd)
    }

    /// Waits until it has exited, which most have when this is called.
    pub(super) async fn exited(&self) -> Result<()> {
        if self.has_exited() {
            return Ok(());
        }
        ProcessHandle::new(self.pid, self.pidfd.try_clone()?)?.exited().await
    }
}

impl AsFd for SlotHolder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

#[derive(Debug)]
enum State {
    /// The job has not started.
    Pending,
    Running(Arc<SlotHolder>),
    /// The job's process has exited or is being killed, or there will be none.
    Ended,
}

/// A job's right to use a slot, now or after its predecessor. The job has ended when this is dropped.
pub struct SlotGrant {
    state: watch::Sender<State>,
    /// `None` once the job has a slot.
    wait: Option<Wait>,
    on_release: Option<Box<dyn FnOnce() + Send>>,
}

/// What a staged job waits for.
#[derive(Debug)]
struct Wait {
    predecessor: watch::Receiver<State>,
    /// `None` if it can no longer be sent.
    start_signal: Option<oneshot::Receiver<()>>,
}

/// Progress of a job, for the owner of the slots: other jobs can be staged behind it.
#[derive(Debug)]
pub struct JobProgress(watch::Receiver<State>);

/// Starts a staged job although its predecessor has not ended. Dropping it does not start the job.
#[derive(Debug)]
pub struct StartSignal(oneshot::Sender<()>);

impl StartSignal {
    /// Another slot is free for the job.
    pub fn send(self) {
        // The job may be gone already.
        let _ = self.0.send(());
    }
}

impl JobProgress {
    /// The grant of a job that is staged behind this one: it starts when this one has ended or was dropped, or on the
    /// start signal.
    pub fn stage_behind(&self) -> (SlotGrant, JobProgress, StartSignal) {
        let (start, start_signal) = oneshot::channel();
        let wait = Wait { predecessor: self.0.clone(), start_signal: Some(start_signal) };
        let (grant, progress) = SlotGrant::new(Some(wait));
        (grant, progress, StartSignal(start))
    }

    /// Whether the job's process has exited, or there will be none.
    pub fn has_ended(&self) -> bool {
        matches!(*self.0.borrow(), State::Ended)
    }

    /// Whether the job is known to have started; a staged job can have started without the worker knowing it yet.
    pub fn has_started(&self) -> bool {
        !matches!(*self.0.borrow(), State::Pending)
    }
}

/// Waits for the start signal; never returns if it can no longer be sent.
async fn received(start_signal: &mut Option<oneshot::Receiver<()>>) {
    if let Some(receiver) = start_signal {
        let result = receiver.await;
        *start_signal = None;
        if result.is_ok() {
            return;
        }
    }
    pending().await
}

impl SlotGrant {
    fn new(wait: Option<Wait>) -> (Self, JobProgress) {
        let (state, progress) = watch::channel(State::Pending);
        (Self { state, wait, on_release: None }, JobProgress(progress))
    }

    /// The grant of a job that has a slot.
    pub fn immediate() -> (Self, JobProgress) {
        Self::new(None)
    }

    /// Calls `callback` as soon as the job's process has exited, before its outcome is known.
    pub fn on_release(mut self, callback: impl FnOnce() + Send + 'static) -> Self {
        self.on_release = Some(Box::new(callback));
        self
    }

    /// Waits until it is known whether the slot is free; returns the process that still holds it, or `None` if this
    /// job has a slot.
    pub(super) async fn predecessor(&mut self) -> Option<Arc<SlotHolder>> {
        let Wait { predecessor, start_signal } = self.wait.as_mut()?;
        let holder = tokio::select! {
            biased;
            state = predecessor.wait_for(|state| !matches!(state, State::Pending)) => match state.as_deref() {
                Ok(State::Running(holder)) => Some(holder.clone()),
                Ok(State::Pending | State::Ended) | Err(_) => None,
            },
            () = received(start_signal) => None,
        };
        if holder.is_none() {
            self.wait = None;
        }
        holder
    }

    /// Waits until the job has a slot; returns whether that is due to the start signal.
    pub(super) async fn granted(&mut self) -> bool {
        let Some(Wait { predecessor, start_signal }) = self.wait.as_mut() else { return false };
        let by_signal = tokio::select! {
            biased;
            _ = predecessor.wait_for(|state| matches!(state, State::Ended)) => false,
            () = received(start_signal) => true,
        };
        self.wait = None;
        by_signal
    }

    /// The job has started, in this process.
    pub(super) fn started(&self, holder: SlotHolder) {
        self.state.send_replace(State::Running(Arc::new(holder)));
    }

    /// The job's process has exited: the slot is free.
    pub(super) fn release(mut self) {
        let callback = self.on_release.take();
        drop(self);
        if let Some(callback) = callback {
            callback();
        }
    }
}

impl Drop for SlotGrant {
    fn drop(&mut self) {
        // Replaces the holder, so that readers keep neither its descriptor nor its core.
        self.state.send_replace(State::Ended);
    }
}

#[cfg(test)]
mod tests {
    use super::{super::core_pins::Cores, *};
    use futures::FutureExt as _;

    #[tokio::test]
    async fn an_ended_job_keeps_neither_its_core_nor_its_descriptor() {
        let cores = Cores::for_slots(usize::MAX);
        let reserved: Vec<_> = std::iter::from_fn(|| cores.reserve()).collect();
        let pidfd = Arc::new(std::fs::File::open("/dev/null").unwrap().into());
        let (grant, progress) = SlotGrant::immediate();
        assert!(!progress.has_started());
        grant.started(SlotHolder { pid: 0, pidfd: Arc::clone(&pidfd), core: reserved.first().cloned() });
        drop(reserved);
        let _others: Vec<_> = std::iter::from_fn(|| cores.reserve()).collect();
        let (mut staged, _, _start) = progress.stage_behind();
        assert!(cores.reserve().is_none() && staged.predecessor().await.is_some());
        grant.release();
        assert!(cores.reserve().is_some() && Arc::strong_count(&pidfd) == 1 && progress.has_started());
        assert!(!staged.granted().await && staged.predecessor().await.is_none());
    }

    #[tokio::test]
    async fn dropping_the_start_signal_does_not_start_the_job() {
        let (_grant, progress) = SlotGrant::immediate();
        let (mut staged, _, start) = progress.stage_behind();
        drop(start);
        for _ in 0..2 {
            assert!(staged.predecessor().now_or_never().is_none() && staged.granted().now_or_never().is_none());
        }
        let (mut staged, _, start) = progress.stage_behind();
        start.send();
        assert!(staged.predecessor().await.is_none());
    }
}
