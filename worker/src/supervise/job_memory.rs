//! The memory cgroup of a job: entered when the job has run for a moment, and asked at its end whether the kernel
//! killed the job for lack of memory, and whose memory that was.
//!
//! A job that ends within the moment costs nothing here: no call, no allocation. It cannot take much memory either, and
//! what it takes is charged to the worker's cgroup. The process is not reaped before it was moved, because its id could
//! be another's then. (A job that is given up meanwhile is reaped: within milliseconds no id is given again.)

use super::process_handle::ProcessHandle;
use crate::{
    machine::{CgroupKill, JobCgroups, Membership, oom_killed_lately},
    sandbox::{execution_memory, preparation_memory},
};
use pvf_shared::{params::ExecutorParams, units::MAX_ARTIFACT};
use std::{fs, path::Path, sync::Arc, time::Duration};
use tokio::sync::oneshot;

/// How long an execution runs before it is moved into a cgroup of its own: most have ended by then.
const MOMENT: Duration = Duration::from_millis(20);

/// Whether, and why, the kernel killed a job for lack of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MemoryKill {
    /// It did not.
    None,
    /// The job used more than it can within its limits: it got around them.
    BeyondItsLimits,
    /// The machine, or a cgroup with more than this job, had no more.
    Machine,
}

/// What decides about the memory that a job may use.
#[derive(Debug, Clone, Copy)]
pub(super) enum MemoryUse<'a> {
    /// An execution with these parameters, on an input of at most so many bytes.
    Execution { params: &'a ExecutorParams, input: u64, artifact: &'a Path },
    /// A preparation with these parameters, on so many threads.
    Preparation { params: &'a ExecutorParams, threads: u32 },
}

/// The memory cgroup of one job.
#[derive(Debug)]
pub(super) struct JobMemory<'a> {
    usage: MemoryUse<'a>,
    state: State<'a>,
}

#[derive(Debug)]
enum State<'a> {
    /// It gets one when it has run for a moment.
    Due(&'a Arc<JobCgroups>),
    /// It is being moved.
    Entering(oneshot::Receiver<Option<Membership>>),
    /// It has one, or there is none for it.
    Settled(Option<Membership>),
}

impl MemoryUse<'_> {
    /// The limit of its cgroup, bytes: more than it can use.
    fn limit(self) -> u64 {
        match self {
            Self::Execution { params, input, artifact } => {
                let artifact = fs::metadata(artifact).map_or(MAX_ARTIFACT as u64, |file| file.len());
                execution_memory(params, input, artifact)
            }
            Self::Preparation { params, threads } => preparation_memory(params, threads),
        }
    }

    /// How long it runs before it is moved. A preparation takes seconds.
    fn moment(self) -> Duration {
        match self {
            Self::Execution { .. } => MOMENT,
            Self::Preparation { .. } => Duration::ZERO,
        }
    }
}

impl<'a> JobMemory<'a> {
    /// Of a job that starts, without a cgroup yet.
    pub(super) fn new(cgroups: Option<&'a Arc<JobCgroups>>, usage: MemoryUse<'a>) -> Self {
        Self { usage, state: cgroups.map_or(State::Settled(None), State::Due) }
    }

    /// When its job is to be moved, after it has run for so long.
    pub(super) fn due_in(&self, ran: Duration) -> Option<Duration> {
        match self.state {
            State::Due(_) => Some(self.usage.moment().saturating_sub(ran)),
            State::Entering(_) | State::Settled(_) => None,
        }
    }

    /// Begins to move the job if that is due.
    pub(super) fn enter_if_due(&mut self, process: &ProcessHandle, ran: Duration) {
        if let State::Due(cgroups) = self.state
            && self.usage.moment() <= ran
        {
            self.state = State::Entering(cgroups.begin_move(process.pid(), self.usage.limit()));
        }
    }

    /// Waits until the job is not being moved any more. To be called before its process is reaped.
    pub(super) async fn settle(&mut self) {
        if let State::Entering(moving) = &mut self.state {
            let own = moving.await.unwrap_or_default();
            self.state = State::Settled(own);
        }
    }

    /// Its process was reaped. `killed` says whether by SIGKILL that the worker did not send.
    pub(super) fn ended(self, killed: bool) -> MemoryKill {
        let own = match self.state {
            State::Settled(own) => own,
            State::Due(_) | State::Entering(_) => None,
        };
        let counted = match &own {
            Some(own) if killed => own.cause_of_kill(),
            Some(_) | None => CgroupKill::NotCounted,
        };
        if let Some(own) = own {
            own.left();
        }
        match counted {
            CgroupKill::AtItsLimit => MemoryKill::BeyondItsLimits,
            CgroupKill::FromAbove => MemoryKill::Machine,
            // It may have been chosen before it was moved.
            CgroupKill::NotCounted if killed && oom_killed_lately() => MemoryKill::Machine,
            CgroupKill::NotCounted => MemoryKill::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_without_cgroups_is_never_due() {
        let params = ExecutorParams::default();
        let usage = MemoryUse::Preparation { params: &params, threads: 1 };
        let memory = JobMemory::new(None, usage);
        assert_eq!(memory.due_in(Duration::MAX), None);
        assert_eq!(memory.ended(false), MemoryKill::None);
    }

    #[test]
    fn an_artifact_that_cannot_be_looked_at_counts_as_the_largest() {
        let params = ExecutorParams::default();
        let limit =
            |artifact| MemoryUse::Execution { params: &params, input: 0, artifact: Path::new(artifact) }.limit();
        assert_eq!(limit("/nowhere") - limit("/dev/null"), MAX_ARTIFACT as u64);
    }
}
