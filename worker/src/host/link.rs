//! What a worker says to the coordinator.

use pvf_shared::{
    bus::{BusError, SharedBus},
    config::Timing,
    ids::{Attempt, FencingToken, FleetName, JobId, WorkerId},
    subjects,
    wire::{self, FromWorker, Heartbeat, JobReport, WorkerHello, WorkerReply},
};
use std::{sync::Arc, time::Duration};
use tokio::sync::mpsc::UnboundedSender;

/// What names an attempt.
pub(super) type Key = (FencingToken, JobId, Attempt);

/// One run of an attempt: it may begin again where it is, if it was displaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) key: Key,
    /// No other run at this worker has it.
    pub(super) number: u64,
}

/// What came of talking to the coordinator.
pub(super) enum Note {
    /// It knows us; nobody with a lower token is to be obeyed.
    Welcome(FencingToken),
    /// It does not know us.
    Unknown,
    /// The process of a job has ended: its slot is free, whatever else there is to do for it.
    SlotFree,
    /// A job is done: its slot is free, and this is to be reported.
    Ended(Run, Box<JobReport>),
    /// It heard us.
    Heard,
    /// Nobody answered.
    Silence,
    /// A report was acknowledged.
    Reported(Key),
}

/// The way to the coordinator.
pub(super) struct Link {
    pub(super) bus: SharedBus,
    pub(super) fleet: FleetName,
    pub(super) timing: Timing,
    pub(super) notes: UnboundedSender<Note>,
}

impl Link {
    async fn ask(&self, message: &FromWorker) -> Result<WorkerReply, String> {
        let to = subjects::from_worker(&self.fleet);
        let answer = self.bus.request(&to, wire::encode(message), self.timing.ack).await;
        let answer = answer.map_err(|e: BusError| e.to_string())?;
        wire::decode(&answer).map_err(|e| e.to_string())
    }

    fn talk(self: Arc<Self>, message: FromWorker) {
        tokio::spawn(async move {
            let note = match self.ask(&message).await {
                Ok(WorkerReply::Welcome { token }) => Note::Welcome(token),
                Ok(WorkerReply::Ack) => Note::Heard,
                Ok(WorkerReply::SayHello) => Note::Unknown,
                Ok(WorkerReply::Refused(why)) => {
                    tracing::error!(%why, "the coordinator refuses this worker");
                    Note::Silence
                }
                Err(error) => {
                    tracing::warn!(%error, "the coordinator does not answer");
                    Note::Silence
                }
            };
            let _ = self.notes.send(note);
        });
    }

    /// Presents the worker.
    pub(super) fn hello(self: Arc<Self>, hello: WorkerHello) {
        self.talk(FromWorker::Hello(hello));
    }

    /// Says that the worker is alive.
    pub(super) fn heartbeat(self: Arc<Self>, heartbeat: Heartbeat) {
        self.talk(FromWorker::Heartbeat(heartbeat));
    }

    /// Tells the worker that the process of a job has ended.
    pub(super) fn slot_free(&self) {
        let _ = self.notes.send(Note::SlotFree);
    }

    /// Tells the worker that a job is done.
    pub(super) fn ended(&self, run: Run, report: JobReport) {
        let _ = self.notes.send(Note::Ended(run, Box::new(report)));
    }

    /// Says goodbye; nobody has to hear it.
    pub(super) async fn goodbye(&self, worker: WorkerId) {
        if let Err(error) = self.ask(&FromWorker::Goodbye { worker }).await {
            tracing::debug!(%error, "nobody heard the goodbye");
        }
        let _ = self.bus.flush().await;
    }

    /// Reports until somebody has acknowledged it.
    pub(super) async fn report(self: Arc<Self>, report: Box<JobReport>) {
        let (token, job, attempt) = (report.token, report.job, report.attempt);
        let message = FromWorker::Report(report);
        let mut pause = Duration::from_millis(20);
        loop {
            match self.ask(&message).await {
                Ok(WorkerReply::Refused(why)) => {
                    tracing::error!(%job, attempt, %why, "the coordinator refuses a report");
                    break;
                }
                Ok(_) => break,
                Err(error) => tracing::warn!(%job, attempt, %error, "report not acknowledged, sending it again"),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(2));
        }
        let _ = self.notes.send(Note::Reported((token, job, attempt)));
    }
}
