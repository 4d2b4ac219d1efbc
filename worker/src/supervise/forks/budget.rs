//! How many templates and spare forks fit into the open files and processes that the machine allows.
//!
//! Without a budget a worker meets `EMFILE` or `EAGAIN` at some number of warm artifacts, and then for every job.

use crate::machine::{LimitedResource, applied_limit, limit};
use pvf_shared::machine::CgroupLimits;

/// Templates that are kept at most.
const MAX_TEMPLATES: u64 = 64;
/// Descriptors of a template, and as many again of each of its forks: pidfd, control or reply socket, stderr.
const DESCRIPTORS: u64 = 3;
/// Descriptors and processes (threads) that a worker needs for other things: bus, store, runtime, files.
const OTHERS: u64 = 64;
/// Descriptors of a running job: those of a fork, and its request, its successor's, and the files that are being
/// fetched.
const DESCRIPTORS_OF_JOB: u64 = 8;
/// Processes of a running job: its own, and a staged one behind it.
const PROCESSES_OF_JOB: u64 = 2;

/// What the machine allows; `None` for no limit.
#[derive(Debug, Clone, Copy)]
pub(in crate::supervise) struct Budget {
    open_files: Option<u64>,
    processes: Option<u64>,
}

/// Templates and spare forks that a worker keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::supervise) struct Kept {
    /// Number of templates.
    pub(in crate::supervise) templates: usize,
    /// Spare forks of each.
    pub(in crate::supervise) spares: usize,
}

impl Budget {
    pub(in crate::supervise) fn of_this_machine() -> Self {
        let own = applied_limit(LimitedResource::Processes).soft;
        let cgroup = CgroupLimits::of_this_process().and_then(|limits| limits.processes);
        let processes = [own, cgroup].into_iter().flatten().min();
        Self { open_files: limit(LimitedResource::OpenFiles).soft, processes }
    }

    /// What a worker with so many slots keeps, if it wants so many spares of each template. At least one template is
    /// kept.
    pub(in crate::supervise) fn keep(&self, slots: usize, spares: usize) -> Kept {
        let slots = slots as u64;
        let left = |limit: Option<u64>, of_job: u64, of_fork: u64| {
            limit.map_or(u64::MAX, |limit| {
                limit.saturating_sub(OTHERS.saturating_add(slots.saturating_mul(of_job))) / of_fork
            })
        };
        let forks =
            left(self.open_files, DESCRIPTORS_OF_JOB, DESCRIPTORS).min(left(self.processes, PROCESSES_OF_JOB, 1));
        // A template counts as much as a fork.
        let spares = (spares as u64).min(forks.saturating_sub(1));
        let templates = (forks / (1 + spares)).clamp(1, MAX_TEMPLATES);
        Kept { templates: templates as usize, spares: spares as usize }
    }

    /// Warns if the limits leave room for fewer templates than a worker keeps otherwise.
    pub(in crate::supervise) fn warn_of_few(&self, kept: Kept) {
        if (kept.templates as u64) < MAX_TEMPLATES {
            let Self { open_files, processes } = self;
            tracing::warn!(
                open_files,
                processes,
                templates = kept.templates,
                otherwise = MAX_TEMPLATES,
                "few open files or processes: the worker keeps fewer templates, and executions of other codes take longer"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_and_spares_fit_into_the_limits() {
        let keep = |open_files, processes, slots, spares| {
            let Kept { templates, spares } = Budget { open_files, processes }.keep(slots, spares);
            (templates, spares)
        };
        assert_eq!(keep(None, None, 8, 8), (64, 8));
        assert_eq!(keep(Some(4096), Some(4096), 8, 8), (64, 8));
        // (1024 - 64 - 8 x 8) / 3 = 298 forks, 9 for each template.
        assert_eq!(keep(Some(1024), None, 8, 8), (33, 8));
        assert_eq!(keep(None, Some(128), 8, 8), (5, 8));
        assert_eq!(keep(Some(100), None, 1, 8), (1, 8));
        assert_eq!(keep(Some(80), None, 1, 8), (1, 1));
        assert_eq!(keep(Some(10), Some(10), 8, 8), (1, 0));
        assert_eq!(keep(Some(1024), None, 1, 0), (64, 0));
    }
}
