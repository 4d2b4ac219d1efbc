//! The task that owns a template process: it makes and reaps forks, one request at a time.
//!
//! Only the template can reap a fork, which is its child. A [`ForkProcess`] that is dropped at any point is killed and
//! reaped here.

use super::control::{Control, ForkParts, template_gone};
use crate::{
    exit_status::ExitStatus,
    supervise::{pipes::ReadSocket, process::Process, process_handle::ProcessHandle, stderr_capture::StderrCapture},
};
use std::{io::Result, sync::Arc};
use tokio::sync::{mpsc, oneshot};

/// Receives a spare fork.
pub(in crate::supervise) type SpareSink = Box<dyn FnOnce(NewFork) + Send>;

/// A request to the task. Each carries the sender's handle, so that the task itself holds none and ends when all other
/// handles are gone.
enum TemplateRequest {
    Fork {
        requester: TemplateHandle,
        answer: oneshot::Sender<Result<NewFork>>,
    },
    /// Reaps a fork that has exited or was killed. Then makes another one if there is a sink for it.
    Reap {
        requester: TemplateHandle,
        fork: Arc<ProcessHandle>,
        answer: Option<oneshot::Sender<Result<ExitStatus>>>,
        next: Option<SpareSink>,
    },
}

/// Sends requests to a template's task. The template ends when the last handle is dropped.
#[derive(Clone)]
pub(super) struct TemplateHandle(mpsc::UnboundedSender<TemplateRequest>);

/// The process of a fork: killed and reaped when dropped.
pub(in crate::supervise) struct ForkProcess {
    handle: Arc<ProcessHandle>,
    template: TemplateHandle,
    reap_requested: bool,
}

/// A fork that has no job yet.
pub(in crate::supervise) struct NewFork {
    pub(in crate::supervise) process: ForkProcess,
    pub(in crate::supervise) socket: ReadSocket,
    pub(in crate::supervise) stderr: StderrCapture,
}

impl TemplateHandle {
    /// Starts the task of a template that is ready.
    pub(super) fn serve(process: Process, control: Control) -> Self {
        let (requests, received) = mpsc::unbounded_channel();
        tokio::spawn(serve(process, control, received));
        Self(requests)
    }

    /// Makes a fork.
    pub(super) async fn fork(&self) -> Result<NewFork> {
        let (answer, answered) = oneshot::channel();
        self.send(TemplateRequest::Fork { requester: self.clone(), answer })?;
        answered.await.map_err(|_| template_gone())?
    }

    /// Whether the task still serves requests.
    pub(super) fn is_served(&self) -> bool {
        !self.0.is_closed()
    }

    fn send(&self, request: TemplateRequest) -> Result<()> {
        self.0.send(request).map_err(|_| template_gone())
    }
}

impl ForkProcess {
    /// The process itself.
    pub(in crate::supervise) fn handle(&self) -> &ProcessHandle {
        &self.handle
    }

    /// Reaps the fork, which has exited, and has the template make another one if there is a sink for it.
    pub(in crate::supervise) async fn reap(mut self, next: Option<SpareSink>) -> Result<ExitStatus> {
        let (answer, answered) = oneshot::channel();
        self.request_reap(Some(answer), next)?;
        answered.await.map_err(|_| template_gone())?
    }

    fn request_reap(
        &mut self,
        answer: Option<oneshot::Sender<Result<ExitStatus>>>,
        next: Option<SpareSink>,
    ) -> Result<()> {
        self.reap_requested = true;
        let (requester, fork) = (self.template.clone(), self.handle.clone());
        self.template.send(TemplateRequest::Reap { requester, fork, answer, next })
    }
}

impl Drop for ForkProcess {
    fn drop(&mut self) {
        if !self.reap_requested {
            self.handle.kill();
            // Fails if the template has exited, and then its forks die with it.
            let _ = self.request_reap(None, None);
        }
    }
}

impl NewFork {
    fn new(ForkParts { handle, socket, stderr }: ForkParts, template: TemplateHandle) -> Self {
        let process = ForkProcess { handle: Arc::new(handle), template, reap_requested: false };
        Self { process, socket, stderr }
    }
}

/// Serves requests until no handle is left, or until the template fails.
async fn serve(process: Process, control: Control, mut requests: mpsc::UnboundedReceiver<TemplateRequest>) {
    while let Some(request) = requests.recv().await {
        let result = match request {
            TemplateRequest::Fork { answer, .. } if answer.is_closed() => Ok(()),
            TemplateRequest::Fork { requester, answer } => {
                make_fork(&control, process.handle.pid(), requester).await.map(|fork| {
                    // If the requester has stopped waiting, dropping the fork kills it.
                    let _ = answer.send(fork);
                })
            }
            TemplateRequest::Reap { requester, fork, answer, next } => {
                let reaped = Reaped { fork: &fork, answer, next: next.map(|next| (next, requester)) };
                reap(&control, process.handle.pid(), reaped).await
            }
        };
        if let Err(error) = result {
            // The forks die with the template.
            tracing::warn!(%error, pid = process.handle.pid(), "template process exited or is unresponsive");
            break;
        }
    }
}

/// The outer error is the template's, as in [`Control`].
async fn make_fork(control: &Control, pid: i32, template: TemplateHandle) -> Result<Result<NewFork>> {
    match control.begin_fork()? {
        Ok(ends) => Ok(control.finish_fork(ends, pid).await?.map(|parts| NewFork::new(parts, template))),
        Err(error) => Ok(Err(error)),
    }
}

/// A fork to be reaped, who waits for its exit status, and where the next one goes.
struct Reaped<'a> {
    fork: &'a ProcessHandle,
    answer: Option<oneshot::Sender<Result<ExitStatus>>>,
    next: Option<(SpareSink, TemplateHandle)>,
}

/// Reaps a fork and makes the next one. Both commands are sent together, so the template wakes once.
async fn reap(control: &Control, pid: i32, Reaped { fork, answer, next }: Reaped<'_>) -> Result<()> {
    control.begin_reap(fork).await?;
    let next = match next {
        Some(next) => control.begin_fork()?.ok().map(|ends| (ends, next)),
        None => None,
    };
    let status = control.finish_reap().await?;
    let _ = answer.map(|answer| answer.send(status));
    if let Some((ends, (sink, template))) = next {
        match control.finish_fork(ends, pid).await? {
            Ok(parts) => sink(NewFork::new(parts, template)),
            // The next job requests a fork itself, and reports the error if there is none.
            Err(error) => tracing::debug!(%error, "no spare fork"),
        }
    }
    Ok(())
}
