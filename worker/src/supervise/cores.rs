//! On which core a job runs. The kernel puts a process that wakes up on a core that is idle at that moment; with as
//! many jobs as cores two often come to lie on one, and for milliseconds another has nothing to do. So a worker that
//! has a slot for every core chooses: the core that is free the longest among its own. From there on the kernel may
//! move the job as it likes, as long as a core has no job. When there are jobs behind those that run, each job stays on
//! its core, and whoever comes behind it begins there.

use rustix::{
    process::Pid,
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
};
use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The cores of this worker.
#[derive(Debug, Default)]
pub(super) struct Cores {
    all: CpuSet,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Cores that no job has.
    free: VecDeque<usize>,
    /// Processes that have a core, and whether they are held on it. None of them has been reaped.
    held: HashMap<i32, bool>,
}

/// A core that belongs to one job, and to the one behind it.
#[derive(Debug)]
pub(super) struct Core {
    number: usize,
    of: Arc<Cores>,
}

/// A process on a core of its own, until it has ended.
#[derive(Debug)]
pub(super) struct Seat {
    core: Arc<Core>,
    pid: i32,
}

fn allow(pid: i32, cores: &CpuSet) {
    // A wish: one that is not granted costs time only.
    let _ = sched_setaffinity(Pid::from_raw(pid), cores);
}

impl Cores {
    /// Those that this process may use, for so many jobs; none, if there are more cores than jobs: then the kernel
    /// knows better which of them others use.
    pub(super) fn for_jobs(slots: usize) -> Arc<Self> {
        let all = sched_getaffinity(None).unwrap_or_default();
        let free: VecDeque<_> = (0..CpuSet::MAX_CPU).filter(|n| all.is_set(*n)).collect();
        let free = if free.len() <= slots { free } else { VecDeque::new() };
        Arc::new(Self { all, state: Mutex::new(State { free, held: HashMap::new() }) })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has a process run on any of them that has no seat any more, and has not been reaped.
    pub(super) fn loosen(&self, pid: i32) {
        allow(pid, &self.all);
    }

    /// A core that no other job has, if there is one.
    pub(super) fn take(self: &Arc<Self>) -> Option<Arc<Core>> {
        let number = self.lock().free.pop_front()?;
        Some(Arc::new(Core { number, of: self.clone() }))
    }
}

impl Drop for Core {
    /// There is a core without a job: whoever is held on another one may go there.
    fn drop(&mut self) {
        let mut state = self.of.lock();
        state.free.push_back(self.number);
        for (pid, held) in state.held.iter_mut().filter(|(_, held)| **held) {
            *held = false;
            allow(*pid, &self.of.all);
        }
    }
}

impl Core {
    /// Has a process begin here that sleeps now, and has not been reaped; and stay here, if it is `held`.
    pub(super) fn seat(self: &Arc<Self>, pid: i32, held: bool) -> Seat {
        let mut here = CpuSet::new();
        here.set(self.number);
        let mut state = self.of.lock();
        state.held.insert(pid, held);
        allow(pid, &here);
        drop(state);
        Seat { core: self.clone(), pid }
    }

    /// Has a process stay here, if it has a seat still, until there is a core without a job.
    pub(super) fn hold(&self, pid: i32) {
        let mut here = CpuSet::new();
        here.set(self.number);
        let mut state = self.of.lock();
        if let Some(held) = state.held.get_mut(&pid)
            && !*held
        {
            *held = true;
            allow(pid, &here);
        }
    }
}

impl Seat {
    pub(super) fn core(&self) -> &Arc<Core> {
        &self.core
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.core.of.lock().held.remove(&self.pid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command, Stdio};

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

    /// A process that waits for its stdin.
    struct Waits(Child);

    impl Waits {
        fn new() -> Self {
            Self(Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap())
        }

        fn pid(&self) -> i32 {
            self.0.id() as i32
        }

        /// Where it may run, by the kernel's account.
        fn cores(&self) -> Vec<usize> {
            let set = sched_getaffinity(Pid::from_raw(self.pid())).unwrap();
            (0..CpuSet::MAX_CPU).filter(|n| set.is_set(*n)).collect()
        }
    }

    impl Drop for Waits {
        fn drop(&mut self) {
            drop(self.0.stdin.take());
            self.0.wait().unwrap();
        }
    }

    #[test]
    fn jobs_stay_on_their_cores_until_there_is_one_without_a_job() {
        let cores = Cores::for_jobs(usize::MAX);
        let (first, second, gone) = (Waits::new(), Waits::new(), Waits::new());
        let all = first.cores();
        let core = cores.take().unwrap();
        let here = vec![core.number];
        let seat = core.seat(first.pid(), false);
        assert_eq!(first.cores(), here);
        // What the job does when it has begun.
        allow(first.pid(), &cores.all);
        assert_eq!(first.cores(), all);
        core.hold(first.pid());
        let next = core.seat(second.pid(), true);
        assert_eq!((first.cores(), second.cores()), (here.clone(), here.clone()));
        // The core is the second one's when the first one has ended.
        drop((core, seat));
        assert_eq!(second.cores(), here);
        next.core().hold(first.pid());
        drop(next.core().seat(gone.pid(), false));
        next.core().hold(gone.pid());
        // There is another one, as when its job ends and nobody is behind it.
        Core { number: here[0], of: cores.clone() };
        assert_eq!(second.cores(), all);
        drop(next);
        assert_eq!(first.cores(), here, "it has no seat: its number may be another one's");
        assert_eq!(gone.cores(), here);
    }
}
