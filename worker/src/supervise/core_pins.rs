//! Which core a job runs on.
//!
//! The kernel places a process that wakes up on a core that is idle at that moment. With as many jobs as cores, two
//! jobs often share a core for milliseconds while another core is idle. A worker that has a slot for every core
//! therefore chooses the core itself: the one that has been free the longest. While every core has a job, the jobs are
//! pinned, and a staged job starts on its predecessor's core. As soon as one core has no job the kernel may move all
//! of them.

use super::process_handle::has_exited;
use rustix::{
    process::Pid,
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
};
use std::{
    collections::{HashMap, VecDeque},
    os::fd::OwnedFd,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The cores of this worker and the processes placed on them.
#[derive(Debug, Default)]
pub(super) struct Cores {
    all: CpuSet,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Cores that no job has reserved.
    free: VecDeque<usize>,
    /// Processes placed on a core, by process id.
    placed: HashMap<i32, Placed>,
}

#[derive(Debug)]
struct Placed {
    pidfd: Arc<OwnedFd>,
    pinned: bool,
}

/// A core that is reserved for one job and the job staged behind it. Dropping it frees the core.
#[derive(Debug)]
pub(super) struct ReservedCore {
    number: usize,
    cores: Arc<Cores>,
}

/// The placement of a process on a reserved core. Must be dropped before the process is reaped.
#[derive(Debug)]
pub(super) struct CorePin {
    core: Arc<ReservedCore>,
    pid: i32,
}

/// Best effort: failure affects performance only.
fn set_affinity(pid: i32, cores: &CpuSet) {
    let _ = sched_setaffinity(Pid::from_raw(pid), cores);
}

impl Placed {
    /// Sets the affinity unless the process has exited: its id may then belong to another process, once its template
    /// has exited.
    fn set_affinity(&self, pid: i32, cores: &CpuSet) {
        if !has_exited(&*self.pidfd) {
            set_affinity(pid, cores);
        }
    }
}

impl Cores {
    /// The cores that this process may use, for this number of slots. None of them can be reserved if there are more
    /// cores than slots: the kernel knows better which of them other processes use.
    pub(super) fn for_slots(slots: usize) -> Arc<Self> {
        let all = sched_getaffinity(None).unwrap_or_default();
        let free: VecDeque<_> = (0..CpuSet::MAX_CPU).filter(|n| all.is_set(*n)).collect();
        let free = if free.len() <= slots { free } else { VecDeque::new() };
        Arc::new(Self { all, state: Mutex::new(State { free, placed: HashMap::new() }) })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a process run on any core. The process must have no [`CorePin`] any more and must not have been reaped.
    pub(super) fn unpin(&self, pid: i32) {
        set_affinity(pid, &self.all);
    }

    /// Reserves a core, if one is free.
    pub(super) fn reserve(self: &Arc<Self>) -> Option<Arc<ReservedCore>> {
        let number = self.lock().free.pop_front()?;
        Some(Arc::new(ReservedCore { number, cores: self.clone() }))
    }
}

impl Drop for ReservedCore {
    /// One core has no job now, so every pinned process may move there.
    fn drop(&mut self) {
        let mut state = self.cores.lock();
        state.free.push_back(self.number);
        for (pid, placed) in state.placed.iter_mut().filter(|(_, placed)| placed.pinned) {
            placed.pinned = false;
            placed.set_affinity(*pid, &self.cores.all);
        }
    }
}

impl ReservedCore {
    fn only(&self) -> CpuSet {
        let mut only = CpuSet::new();
        only.set(self.number);
        only
    }

    /// Makes a process wake up on this core. The process must be asleep and must not have been reaped.
    pub(super) fn place(self: &Arc<Self>, pid: i32, pidfd: &Arc<OwnedFd>) -> CorePin {
        let mut state = self.cores.lock();
        let pinned = state.free.is_empty();
        state.placed.insert(pid, Placed { pidfd: pidfd.clone(), pinned });
        set_affinity(pid, &self.only());
        drop(state);
        CorePin { core: self.clone(), pid }
    }

    /// Keeps a process that is placed here on this core until a core has no job.
    pub(super) fn pin(&self, pid: i32) {
        let mut state = self.cores.lock();
        if let Some(placed) = state.placed.get_mut(&pid).filter(|placed| !placed.pinned) {
            placed.pinned = true;
            placed.set_affinity(pid, &self.only());
        }
    }
}

impl CorePin {
    /// The reserved core.
    pub(super) fn core(&self) -> &Arc<ReservedCore> {
        &self.core
    }

    /// The process was woken on its core. The kernel may move it from now on, unless it is pinned.
    pub(super) fn woken(&self) {
        let state = self.core.cores.lock();
        if let Some(placed) = state.placed.get(&self.pid).filter(|placed| !placed.pinned) {
            placed.set_affinity(self.pid, &self.core.cores.all);
        }
    }
}

impl Drop for CorePin {
    fn drop(&mut self) {
        self.core.cores.lock().placed.remove(&self.pid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{PidfdFlags, pidfd_open};
    use std::process::{Child, Command, Stdio};

    #[test]
    fn each_job_gets_its_own_core_while_there_are_enough() {
        let cores = Cores::for_slots(usize::MAX);
        let n = sched_getaffinity(None).unwrap().count() as usize;
        let mut reserved: Vec<_> = std::iter::from_fn(|| cores.reserve()).collect();
        let mut numbers: Vec<_> = reserved.iter().map(|core| core.number).collect();
        numbers.dedup();
        assert_eq!((numbers.len(), reserved.len()), (n, n));
        let freed = reserved.swap_remove(0).number;
        assert_eq!(cores.reserve().unwrap().number, freed);
        assert!(Cores::for_slots(0).reserve().is_none(), "with fewer slots than cores the kernel chooses");
    }

    /// A process that waits for its stdin to be closed.
    struct Sleeper(Child);

    impl Sleeper {
        fn new() -> Self {
            Self(Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap())
        }

        fn pid(&self) -> i32 {
            self.0.id() as i32
        }

        fn pidfd(&self) -> Arc<OwnedFd> {
            Arc::new(pidfd_open(Pid::from_raw(self.pid()).unwrap(), PidfdFlags::empty()).unwrap())
        }

        fn place(&self, core: &Arc<ReservedCore>) -> CorePin {
            core.place(self.pid(), &self.pidfd())
        }

        /// The cores on which the kernel may run it.
        fn affinity(&self) -> Vec<usize> {
            let set = sched_getaffinity(Pid::from_raw(self.pid())).unwrap();
            (0..CpuSet::MAX_CPU).filter(|n| set.is_set(*n)).collect()
        }
    }

    impl Drop for Sleeper {
        fn drop(&mut self) {
            drop(self.0.stdin.take());
            self.0.wait().unwrap();
        }
    }

    #[test]
    fn jobs_stay_on_their_cores_until_a_core_has_no_job() {
        let cores = Cores::for_slots(usize::MAX);
        let (first, second, unplaced) = (Sleeper::new(), Sleeper::new(), Sleeper::new());
        let all = first.affinity();
        let core = cores.reserve().unwrap();
        let here = vec![core.number];
        let pin = first.place(&core);
        assert_eq!(first.affinity(), here, "it wakes up here");
        pin.woken();
        assert_eq!(first.affinity(), if all.len() > 1 { all.clone() } else { here.clone() });
        let others: Vec<_> = std::iter::from_fn(|| cores.reserve()).collect();
        // Every core has a job now: the staged job waits on this core, and the running one is pinned to it.
        core.pin(first.pid());
        let staged = second.place(&core);
        staged.woken();
        assert_eq!((first.affinity(), second.affinity()), (here.clone(), here.clone()));
        // The core belongs to the second job when the first one has ended.
        drop((core, pin));
        assert_eq!(second.affinity(), here);
        // A process without a pin keeps its affinity: its id may belong to another process.
        drop(unplaced.place(staged.core()));
        cores.unpin(unplaced.pid());
        staged.core().pin(unplaced.pid());
        assert_eq!(unplaced.affinity(), all);
        drop(others);
        if all.len() > 1 {
            assert_eq!(second.affinity(), all, "a core has no job");
        }
        drop(staged);
        assert_eq!(first.affinity(), here, "it has no pin");
    }

    #[test]
    fn the_affinity_of_an_exited_process_is_not_changed() {
        let cores = Cores::for_slots(usize::MAX);
        let reserved: Vec<_> = std::iter::from_fn(|| cores.reserve()).collect();
        // The id of a process that runs with the pidfd of one that has exited: as after the id was reused.
        let (runs, mut exited) = (Sleeper::new(), Sleeper::new());
        let all = runs.affinity();
        let pidfd = exited.pidfd();
        drop(exited.0.stdin.take());
        exited.0.wait().unwrap();
        let pin = reserved[0].place(runs.pid(), &pidfd);
        cores.unpin(runs.pid());
        pin.woken();
        cores.lock().placed.get_mut(&runs.pid()).unwrap().pinned = false;
        reserved[0].pin(runs.pid());
        assert_eq!(runs.affinity(), all);
    }
}
