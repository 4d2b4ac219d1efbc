//! On which core a job begins. The kernel puts a process that wakes up on a core that is idle at that moment; with as
//! many jobs as cores two often come to lie on one, and for milliseconds another has nothing to do. So a worker that
//! has a slot for every core chooses: the core that is free the longest among its own. From there on the kernel may
//! move the job as it likes.

use rustix::{
    process::Pid,
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The cores that no job of this worker has.
#[derive(Debug, Default)]
pub(super) struct Cores(Mutex<VecDeque<usize>>);

/// A core for one job.
#[derive(Debug)]
pub(super) struct Core {
    number: usize,
    of: Arc<Cores>,
}

impl Cores {
    /// Those that this process may use, for so many jobs; none, if there are more cores than jobs: then the kernel
    /// knows better which of them others use.
    pub(super) fn for_jobs(slots: usize) -> Arc<Self> {
        let mine = sched_getaffinity(None).unwrap_or_default();
        let cores: VecDeque<_> = (0..CpuSet::MAX_CPU).filter(|n| mine.is_set(*n)).collect();
        Arc::new(Self(Mutex::new(if cores.len() <= slots { cores } else { VecDeque::new() })))
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A core that no other job has, if there is one.
    pub(super) fn take(self: &Arc<Self>) -> Option<Core> {
        let number = self.lock().pop_front()?;
        Some(Core { number, of: self.clone() })
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        self.of.lock().push_back(self.number);
    }
}

impl Core {
    /// Has a process begin here that sleeps now. A wish: one that is not granted costs time only.
    pub(super) fn begin(&self, pid: libc::pid_t) {
        let mut here = CpuSet::new();
        here.set(self.number);
        let _ = sched_setaffinity(Pid::from_raw(pid), &here);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_job_has_a_core_of_its_own_as_long_as_there_are_enough() {
        let cores = Cores::for_jobs(usize::MAX);
        let n = sched_getaffinity(None).unwrap().count() as usize;
        let mut taken: Vec<_> = std::iter::from_fn(|| cores.take()).collect();
        let mut numbers: Vec<_> = taken.iter().map(|core| core.number).collect();
        numbers.dedup();
        assert_eq!((numbers.len(), taken.len()), (n, n));
        let free = taken.swap_remove(0).number;
        assert_eq!(cores.take().unwrap().number, free);
        assert!(Cores::for_jobs(0).take().is_none(), "fewer jobs than cores: the kernel chooses");
    }
}
