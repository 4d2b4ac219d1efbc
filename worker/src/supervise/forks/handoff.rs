//! Gives a job to a fork, and decides when the job has started.
//!
//! A job with a slot is assigned to a fork and has started at once. A staged job is assigned to a fork while its
//! predecessor runs: the kernel starts it when the predecessor's process exits, or the worker does on the start signal.
//! A fork that exits before that has done nothing, and the job gets another one.

use super::{
    fork::{Fork, JobLimits},
    pool::{Footprint, ForkPool, ForkSource},
    spares::Spares,
};
use crate::{
    job::protocol::ExecuteRequest,
    supervise::{
        ArtifactFile,
        core_pins::{CorePin, Cores},
        finished::FinishedProcess,
        job_memory::JobMemory,
        slot_grant::{SlotGrant, SlotHolder},
        template::{ForkError, SpareSink},
        watch::Limits,
    },
};
use pvf_shared::params::ExecutorParams;
use std::{
    io,
    os::fd::{AsFd as _, BorrowedFd},
    path::Path,
    sync::Arc,
    time::Duration,
};
use tokio::time::Instant;

/// How often a job is assigned to forks that have exited, and how often its fork may exit while it is staged. A spare
/// or its template may have exited unnoticed.
const ATTEMPTS: u32 = 3;

/// How often a job waits for what the machine refuses, after a template was given up: 1.4 s in total.
const PAUSES: u32 = 10;
/// The first of these pauses; each one is longer by as much.
const PAUSE: Duration = Duration::from_millis(25);

/// What a job needs to start.
pub(in crate::supervise) struct JobInput<'a> {
    pub(in crate::supervise) artifact: &'a ArtifactFile,
    pub(in crate::supervise) params: &'a ExecutorParams,
    pub(in crate::supervise) request: ExecuteRequest<'a>,
    /// The memory file with the block data, if it is not in the request.
    pub(in crate::supervise) block_data: Option<BorrowedFd<'a>>,
}

/// Starts jobs in forks of templates.
#[derive(Debug)]
pub(in crate::supervise) struct JobStarter {
    pool: ForkPool,
    cores: Arc<Cores>,
}

/// A fork that has a job. It is killed and reaped when dropped.
pub(in crate::supervise) struct RunningFork {
    /// Before `fork`: it must be dropped before the process is reaped.
    pin: Option<CorePin>,
    fork: Fork,
    spares: Arc<Spares>,
    started: Instant,
}

impl JobStarter {
    /// Jobs run on forks of `pool`, in so many slots.
    pub(in crate::supervise) fn new(pool: ForkPool, slots: usize) -> Self {
        Self { pool, cores: Cores::for_slots(slots) }
    }

    /// What the templates take up.
    pub(in crate::supervise) fn footprint(&self) -> Footprint {
        self.pool.footprint()
    }

    /// Whether there is a template of this artifact for these parameters.
    pub(in crate::supervise) fn is_warm(&self, artifact: &Path, params: &ExecutorParams) -> bool {
        self.pool.has(artifact, params)
    }

    /// Gives up the templates of this artifact.
    pub(in crate::supervise) fn give_up(&self, artifact: &Path) {
        self.pool.give_up(artifact);
    }

    /// Waits until the job has a slot, and starts it.
    pub(in crate::supervise) async fn start(
        &self,
        job: &JobInput<'_>,
        grant: &mut SlotGrant,
    ) -> Result<RunningFork, ForkError> {
        let mut exited_while_staged = 0;
        loop {
            if exited_while_staged == ATTEMPTS {
                // It gets a process once it has a slot.
                grant.granted().await;
            }
            let predecessor = grant.predecessor().await;
            let started = Instant::now();
            let mut fork = self.assign(job, predecessor.as_deref(), started).await?;
            if let Some(predecessor) = predecessor {
                if !self.await_start(&mut fork, grant, &predecessor).await? {
                    exited_while_staged += 1;
                    continue;
                }
                fork.started = Instant::now();
            }
            grant.started(fork.slot_holder());
            return Ok(fork);
        }
    }

    /// Assigns the job to a spare, or to a new fork if there is none.
    async fn assign(
        &self,
        job: &JobInput<'_>,
        predecessor: Option<&SlotHolder>,
        started: Instant,
    ) -> Result<RunningFork, ForkError> {
        let source = self.pool.source(job.artifact.path(), job.params);
        let core = predecessor.map_or_else(|| self.cores.reserve(), SlotHolder::pin_core);
        let (mut failures, mut pauses) = (0, 0);
        loop {
            let fork = match source.spares.take() {
                Some(fork) => Ok(fork),
                None => match self.pool.template(&source, job.artifact).await {
                    Ok(template) => template.fork().await.map(Fork::from),
                    Err(error @ ForkError::Exhausted(_)) if pauses < PAUSES => {
                        pauses += 1;
                        self.make_room(&source, &error, pauses).await;
                        continue;
                    }
                    Err(error) => return Err(error),
                },
            };
            let assigned = fork.and_then(|fork| {
                let pin = core.as_ref().map(|core| core.place(fork.process().pid(), fork.process().pidfd()));
                fork.assign(&job.request, job.block_data, predecessor.map(SlotHolder::as_fd))?;
                pin.iter().for_each(CorePin::woken);
                Ok((fork, pin))
            });
            match assigned.map_err(ForkError::from) {
                Ok((fork, pin)) => {
                    source.refill();
                    return Ok(RunningFork { pin, fork, spares: source.spares.clone(), started });
                }
                Err(error @ ForkError::Exhausted(_)) if pauses < PAUSES => {
                    pauses += 1;
                    self.make_room(&source, &error, pauses).await;
                }
                Err(error) => {
                    failures += 1;
                    if failures == ATTEMPTS {
                        return Err(error);
                    }
                }
            }
        }
    }

    /// Gives up another template with its spares and waits until its processes are gone.
    async fn make_room(&self, source: &ForkSource, error: &ForkError, pauses: u32) {
        tracing::warn!(%error, "the machine refuses a process: giving up a template and trying again");
        self.pool.evict_other_than(source);
        tokio::time::sleep(PAUSE * pauses).await;
    }

    /// Waits until a staged job starts; false if its process exited before that. The process may have exited since.
    async fn await_start(
        &self,
        running: &mut RunningFork,
        grant: &mut SlotGrant,
        predecessor: &SlotHolder,
    ) -> io::Result<bool> {
        let process = running.fork.process();
        let by_signal = tokio::select! {
            biased;
            by_signal = grant.granted() => by_signal,
            () = process.gone() => {
                if !predecessor.has_exited() {
                    return Ok(false);
                }
                grant.granted().await
            }
        };
        if !by_signal {
            // The predecessor may have been dropped, and be about to exit.
            predecessor.exited().await?;
            return Ok(true);
        }
        // The slot is not the predecessor's, so neither is the core.
        if running.pin.take().is_some() {
            self.cores.unpin(process.pid());
        }
        running.pin = self.cores.reserve().map(|core| core.place(process.pid(), process.pidfd()));
        let sent = running.fork.start();
        running.pin.iter().for_each(CorePin::woken);
        Ok(sent.is_ok() || predecessor.has_exited())
    }
}

impl RunningFork {
    /// What a job staged behind this one has to know.
    fn slot_holder(&self) -> SlotHolder {
        let process = self.fork.process();
        let core = self.pin.as_ref().map(|pin| pin.core().clone());
        SlotHolder { pid: process.pid(), pidfd: process.pidfd().clone(), core }
    }

    /// When the job started.
    pub(in crate::supervise) fn started(&self) -> Instant {
        self.started
    }

    /// Watches the job until its process has exited, then calls `on_exit` and reaps the process. A spare is made in its
    /// place, if there are too few.
    pub(in crate::supervise) async fn finish(
        self,
        time: Limits,
        max_reply: usize,
        memory: JobMemory<'_>,
        on_exit: impl FnOnce(),
    ) -> io::Result<FinishedProcess> {
        let Self { pin, fork, spares, started } = self;
        let on_exit = || {
            drop(pin);
            on_exit();
        };
        let next = move || {
            spares
                .reserve()
                .map(|reservation| -> SpareSink { Box::new(move |fork| reservation.fill(Fork::from(fork))) })
        };
        fork.finish(JobLimits { time, max_reply, memory, started }, on_exit, next).await
    }
}
