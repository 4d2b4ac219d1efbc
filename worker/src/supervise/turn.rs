//! Whose turn it is. A job may be given to its process while another job has the slot; it begins when that one's
//! process ends. The kernel tells its process so, and not the worker, which may itself be waiting for a core that the
//! guests leave to it, while another has nothing to do.

use super::{cores::Core, watch::has_ended};
use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
};
use tokio::sync::{oneshot, watch};

/// A process that has a job, for the job behind it.
#[derive(Debug)]
pub(super) struct Occupant {
    pub(super) pid: i32,
    pub(super) pidfd: Arc<OwnedFd>,
    /// Where it is: whoever comes behind it begins there as well.
    pub(super) core: Option<Arc<Core>>,
}

impl Occupant {
    /// The core that it has, and stays on from now on.
    pub(super) fn held_core(&self) -> Option<Arc<Core>> {
        self.core.as_ref().inspect(|core| core.hold(self.pid)).cloned()
    }

    /// Whether it has ended, asked of the kernel.
    pub(super) fn has_ended(&self) -> bool {
        has_ended(&*self.pidfd)
    }
}

impl AsFd for Occupant {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

/// How far a job has come.
#[derive(Debug)]
enum Stage {
    /// It has no process yet.
    Coming,
    Runs(Arc<Occupant>),
}

/// A job's turn, for whoever runs it.
pub struct Turn {
    /// Closed when the job's process has ended, or the job is given up.
    stage: watch::Sender<Stage>,
    behind: Option<Behind>,
    /// Called when its process has ended.
    end: Option<Box<dyn FnOnce() + Send>>,
}

/// What a job waits for.
#[derive(Debug)]
struct Behind {
    before: watch::Receiver<Stage>,
    go: oneshot::Receiver<()>,
}

/// A job's place, for whoever gives turns: another job's turn may come behind it.
#[derive(Debug)]
pub struct Place(watch::Receiver<Stage>);

/// Lets a job begin although the one before it has not ended.
#[derive(Debug)]
pub struct Go(oneshot::Sender<()>);

impl Go {
    /// There is another slot for it.
    pub fn go(self) {
        // If it is gone nothing is to begin.
        let _ = self.0.send(());
    }
}

impl Place {
    /// The turn of a job that begins when the one in this place has ended, or was given up.
    pub fn behind(&self) -> (Turn, Place, Go) {
        let (go, told) = oneshot::channel();
        let (turn, place) = Turn::new(Some(Behind { before: self.0.clone(), go: told }));
        (turn, place, Go(go))
    }
}

impl Turn {
    fn new(behind: Option<Behind>) -> (Self, Place) {
        let (stage, seen) = watch::channel(Stage::Coming);
        (Self { stage, behind, end: None }, Place(seen))
    }

    /// The turn of a job that has a slot.
    pub fn now() -> (Self, Place) {
        Self::new(None)
    }

    /// Who has the slot still: nobody, if it is this job's.
    pub(super) async fn before(&mut self) -> Option<Arc<Occupant>> {
        let Behind { before, go } = self.behind.as_mut()?;
        let occupant = tokio::select! {
            biased;
            stage = before.wait_for(|stage| matches!(stage, Stage::Runs(_))) => match stage.as_deref() {
                Ok(Stage::Runs(occupant)) => Some(occupant.clone()),
                Ok(Stage::Coming) | Err(_) => None,
            },
            _ = go => None,
        };
        if occupant.is_none() {
            self.behind = None;
        }
        occupant
    }

    /// Waits until it is this job's turn; whether that is because it was told to go.
    pub(super) async fn comes(&mut self) -> bool {
        let Some(Behind { before, go }) = self.behind.as_mut() else { return false };
        let told = tokio::select! {
            biased;
            _ = before.wait_for(|_| false) => false,
            // If nobody can say so any more, the one before it is waited for.
            Ok(()) = go => true,
        };
        self.behind = None;
        told
    }

    /// The same; this is called as soon as the job's process is gone, before all is known of it.
    pub fn until(self, end: impl FnOnce() + Send + 'static) -> Self {
        Self { end: Some(Box::new(end)), ..self }
    }

    /// The job has begun, in this process.
    pub(super) fn runs(&self, occupant: Occupant) {
        self.stage.send_replace(Stage::Runs(Arc::new(occupant)));
    }

    /// The job's process has ended.
    pub(super) fn over(self) {
        let Self { stage, end, .. } = self;
        drop(stage);
        if let Some(end) = end {
            end();
        }
    }
}
