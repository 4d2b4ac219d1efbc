//! Whose turn it is. A job may be given to its process while another job has the slot; it begins when that one's
//! process ends. The kernel tells its process so, and not the worker, which may itself be waiting for a core that the
//! guests leave to it, while another has nothing to do.

use super::{
    cores::Core,
    watch::{Handle, has_ended},
};
use std::{
    future::pending,
    io::Result,
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

    /// Waits until it has ended. Most have when somebody asks.
    pub(super) async fn ended(&self) -> Result<()> {
        if self.has_ended() {
            return Ok(());
        }
        Handle::new(self.pid, self.pidfd.try_clone()?)?.ended().await
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
    /// It has not begun.
    Coming,
    Runs(Arc<Occupant>),
    /// Its process has ended or is being ended, or it does not get one.
    Over,
}

/// A job's turn, for whoever runs it. When it is dropped the job is over.
pub struct Turn {
    stage: watch::Sender<Stage>,
    waits: Option<Waits>,
    /// Called when its process has ended.
    end: Option<Box<dyn FnOnce() + Send>>,
}

/// What a job waits for.
#[derive(Debug)]
struct Waits {
    before: watch::Receiver<Stage>,
    go: Option<oneshot::Receiver<()>>,
}

/// How far a job has come, for whoever gives turns: another job's turn may come behind it.
#[derive(Debug)]
pub struct Progress(watch::Receiver<Stage>);

/// Lets a job begin although the one before it has not ended. Dropped, it means nothing.
#[derive(Debug)]
pub struct Go(oneshot::Sender<()>);

impl Go {
    /// There is another slot for it.
    pub fn go(self) {
        // If it is gone nothing is to begin.
        let _ = self.0.send(());
    }
}

impl Progress {
    /// The turn of a job that begins when this one has ended, or was given up.
    pub fn behind(&self) -> (Turn, Progress, Go) {
        let (go, told) = oneshot::channel();
        let (turn, progress) = Turn::new(Some(Waits { before: self.0.clone(), go: Some(told) }));
        (turn, progress, Go(go))
    }

    /// Whether its process has ended, or it does not get one.
    pub fn is_over(&self) -> bool {
        matches!(*self.0.borrow(), Stage::Over)
    }

    /// Whether it is known to have begun.
    pub fn has_begun(&self) -> bool {
        !matches!(*self.0.borrow(), Stage::Coming)
    }
}

/// Waits until it is told to go. If nobody can say so any more, it waits for ever.
async fn told(go: &mut Option<oneshot::Receiver<()>>) {
    if let Some(receiver) = go {
        let said = receiver.await;
        *go = None;
        if said.is_ok() {
            return;
        }
    }
    pending().await
}

impl Turn {
    fn new(waits: Option<Waits>) -> (Self, Progress) {
        let (stage, seen) = watch::channel(Stage::Coming);
        (Self { stage, waits, end: None }, Progress(seen))
    }

    /// The turn of a job that has a slot.
    pub fn now() -> (Self, Progress) {
        Self::new(None)
    }

    /// The same; this is called as soon as the job's process is gone, before all is known of it.
    pub fn until(mut self, end: impl FnOnce() + Send + 'static) -> Self {
        self.end = Some(Box::new(end));
        self
    }

    /// Who has the slot still: nobody, if it is this job's.
    pub(super) async fn before(&mut self) -> Option<Arc<Occupant>> {
        let Waits { before, go } = self.waits.as_mut()?;
        let occupant = tokio::select! {
            biased;
            stage = before.wait_for(|stage| !matches!(stage, Stage::Coming)) => match stage.as_deref() {
                Ok(Stage::Runs(occupant)) => Some(occupant.clone()),
                Ok(Stage::Coming | Stage::Over) | Err(_) => None,
            },
            () = told(go) => None,
        };
        if occupant.is_none() {
            self.waits = None;
        }
        occupant
    }

    /// Waits until it is this job's turn; whether that is because it was told to go.
    pub(super) async fn comes(&mut self) -> bool {
        let Some(Waits { before, go }) = self.waits.as_mut() else { return false };
        let told = tokio::select! {
            biased;
            _ = before.wait_for(|stage| matches!(stage, Stage::Over)) => false,
            () = told(go) => true,
        };
        self.waits = None;
        told
    }

    /// The job has begun, in this process.
    pub(super) fn runs(&self, occupant: Occupant) {
        self.stage.send_replace(Stage::Runs(Arc::new(occupant)));
    }

    /// The job's process has ended.
    pub(super) fn over(mut self) {
        let end = self.end.take();
        drop(self);
        if let Some(end) = end {
            end();
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // Nothing of what it had is kept by those who look.
        self.stage.send_replace(Stage::Over);
    }
}

#[cfg(test)]
mod tests {
    use super::{super::cores::Cores, *};
    use futures::FutureExt as _;

    #[tokio::test]
    async fn a_job_that_is_over_keeps_nothing_of_what_it_had() {
        let cores = Cores::for_jobs(usize::MAX);
        let taken: Vec<_> = std::iter::from_fn(|| cores.take()).collect();
        let pidfd = Arc::new(std::fs::File::open("/dev/null").unwrap().into());
        let (turn, progress) = Turn::now();
        assert!(!progress.has_begun());
        turn.runs(Occupant { pid: 0, pidfd: Arc::clone(&pidfd), core: taken.first().cloned() });
        drop(taken);
        let _others: Vec<_> = std::iter::from_fn(|| cores.take()).collect();
        let (mut behind, _, _go) = progress.behind();
        assert!(cores.take().is_none() && behind.before().await.is_some());
        turn.over();
        assert!(cores.take().is_some() && Arc::strong_count(&pidfd) == 1 && progress.has_begun());
        assert!(!behind.comes().await && behind.before().await.is_none());
    }

    #[tokio::test]
    async fn nobody_to_say_go_is_not_go() {
        let (_turn, progress) = Turn::now();
        let (mut behind, _, go) = progress.behind();
        drop(go);
        for _ in 0..2 {
            assert!(behind.before().now_or_never().is_none() && behind.comes().now_or_never().is_none());
        }
        let (mut behind, _, go) = progress.behind();
        go.go();
        assert!(behind.before().await.is_none());
    }
}
