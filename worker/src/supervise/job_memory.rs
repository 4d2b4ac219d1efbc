//! The memory cgroup of a job: entered when the job has run for a moment, and asked at its end whether the kernel
//! killed the job for lack of memory, and whose memory that was.
//!
//! A job that ends within the moment costs nothing here: no call, no allocation. It cannot take much memory either, and
//! what it takes is charged to the worker's cgroup.

use super::process_handle::ProcessHandle;
use crate::{
    machine::{CgroupKill, JobCgroups, Membership, oom_killed_lately},
    sandbox::{execution_memory, preparation_memory},
};
use pvf_shared::{params::ExecutorParams, units::MAX_ARTIFACT};
use std::{fs, path::Path, sync::Arc, time::Duration};

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
    /// `None` once it is decided that the job has no cgroup.
    cgroups: Option<&'a Arc<JobCgroups>>,
    usage: MemoryUse<'a>,
    own: Option<Membership>,
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
        Self { cgroups, usage, own: None }
    }

    /// When its job is to be moved, after it has run for so long.
    pub(super) fn due_in(&self, ran: Duration) -> Option<Duration> {
        self.cgroups.map(|_| self.usage.moment().saturating_sub(ran))
    }

    /// Moves the job, whose process has not been reaped, if that is due.
    pub(super) fn enter_if_due(&mut self, process: &ProcessHandle, ran: Duration) {
        if self.due_in(ran) == Some(Duration::ZERO)
            && let Some(cgroups) = self.cgroups.take()
        {
            self.own = cgroups.enter(process.pid(), self.usage.limit());
        }
    }

    /// Its process was reaped. `killed` says whether by SIGKILL that the worker did not send.
    pub(super) fn ended(self, killed: bool) -> MemoryKill {
        let counted = match &self.own {
            Some(own) if killed => own.kill(),
            Some(_) | None => CgroupKill::NotCounted,
        };
        if let Some(own) = self.own {
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
