//! On which core a job runs. The kernel puts a process that wakes up on a core that is idle at that moment; with as
//! many jobs as cores two often come to lie on one, and for milliseconds another has nothing to do. So a worker that
//! has a slot for every core chooses: the core that is free the longest among its own. As long as every core has a job
//! they stay there, and whoever comes behind a job begins where that is. As soon as a core has none the kernel may move
//! them as it likes.

use super::watch::has_ended;
use rustix::{
    process::Pid,
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
};
use std::{
    collections::{HashMap, VecDeque},
    os::fd::OwnedFd,
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
    /// Processes that have a core, by their numbers.
    seated: HashMap<i32, Seated>,
}

/// A process on a core.
#[derive(Debug)]
struct Seated {
    pidfd: Arc<OwnedFd>,
    /// It has to stay there.
    held: bool,
}

/// A core that belongs to one job, and to the one behind it.
#[derive(Debug)]
pub(super) struct Core {
    number: usize,
    of: Arc<Cores>,
}

/// A process has a core of its own, until it has ended.
#[derive(Debug)]
pub(super) struct Seat {
    core: Arc<Core>,
    pid: i32,
}

/// A wish: one that is not granted costs time only.
fn allow(pid: i32, cores: &CpuSet) {
    let _ = sched_setaffinity(Pid::from_raw(pid), cores);
}

impl Seated {
    /// As [`allow`], if the number is still its: it is not when its template is gone.
    fn allow(&self, pid: i32, cores: &CpuSet) {
        if !has_ended(&*self.pidfd) {
            allow(pid, cores);
        }
    }
}

impl Cores {
    /// Those that this process may use, for so many jobs; none, if there are more cores than jobs: then the kernel
    /// knows better which of them others use.
    pub(super) fn for_jobs(slots: usize) -> Arc<Self> {
        let all = sched_getaffinity(None).unwrap_or_default();
        let free: VecDeque<_> = (0..CpuSet::MAX_CPU).filter(|n| all.is_set(*n)).collect();
        let free = if free.len() <= slots { free } else { VecDeque::new() };
        Arc::new(Self { all, state: Mutex::new(State { free, seated: HashMap::new() }) })
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
        for (pid, seated) in state.seated.iter_mut().filter(|(_, seated)| seated.held) {
            seated.held = false;
            seated.allow(*pid, &self.of.all);
        }
    }
}

impl Core {
    fn only(&self) -> CpuSet {
        let mut only = CpuSet::new();
        only.set(self.number);
        only
    }

    /// Has a process begin here that sleeps now, and has not been reaped.
    pub(super) fn seat(self: &Arc<Self>, pid: i32, pidfd: &Arc<OwnedFd>) -> Seat {
        let mut state = self.of.lock();
        let held = state.free.is_empty();
        state.seated.insert(pid, Seated { pidfd: pidfd.clone(), held });
        allow(pid, &self.only());
        drop(state);
        Seat { core: self.clone(), pid }
    }

    /// Has a process that has a seat here stay here, until there is a core without a job.
    pub(super) fn hold(&self, pid: i32) {
        let mut state = self.of.lock();
        if let Some(seated) = state.seated.get_mut(&pid).filter(|seated| !seated.held) {
            seated.held = true;
            seated.allow(pid, &self.only());
        }
    }
}

impl Seat {
    pub(super) fn core(&self) -> &Arc<Core> {
        &self.core
    }

    /// The process was woken here. From now on the kernel may move it, unless every core has a job.
    pub(super) fn begun(&self) {
        let state = self.core.of.lock();
        if let Some(seated) = state.seated.get(&self.pid).filter(|seated| !seated.held) {
            seated.allow(self.pid, &self.core.of.all);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.core.of.lock().seated.remove(&self.pid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{PidfdFlags, pidfd_open};
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

        fn pidfd(&self) -> Arc<OwnedFd> {
            Arc::new(pidfd_open(Pid::from_raw(self.pid()).unwrap(), PidfdFlags::empty()).unwrap())
        }

        fn on(&self, core: &Arc<Core>) -> Seat {
            core.seat(self.pid(), &self.pidfd())
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
        let seat = first.on(&core);
        assert_eq!(first.cores(), here, "it begins here");
        seat.begun();
        assert_eq!(first.cores(), if all.len() > 1 { all.clone() } else { here.clone() });
        let others: Vec<_> = std::iter::from_fn(|| cores.take()).collect();
        // Every core has a job: who is behind it waits here, and it has to stay.
        core.hold(first.pid());
        let next = second.on(&core);
        next.begun();
        assert_eq!((first.cores(), second.cores()), (here.clone(), here.clone()));
        // The core is the second one's when the first one has ended.
        drop((core, seat));
        assert_eq!(second.cores(), here);
        // Who has no seat is left alone: its number may be another one's.
        drop(gone.on(next.core()));
        cores.loosen(gone.pid());
        next.core().hold(gone.pid());
        assert_eq!(gone.cores(), all);
        // There is one without a job.
        drop(others);
        if all.len() > 1 {
            assert_eq!(second.cores(), all);
        }
        drop(next);
        assert_eq!(first.cores(), here, "it has no seat");
    }

    #[test]
    fn a_process_that_ended_is_left_alone() {
        let cores = Cores::for_jobs(usize::MAX);
        let taken: Vec<_> = std::iter::from_fn(|| cores.take()).collect();
        // The number of one that runs, and the descriptor of one that does not: as when it has got another one's.
        let (runs, mut ended) = (Waits::new(), Waits::new());
        let all = runs.cores();
        let pidfd = ended.pidfd();
        drop(ended.0.stdin.take());
        ended.0.wait().unwrap();
        let seat = taken[0].seat(runs.pid(), &pidfd);
        cores.loosen(runs.pid());
        seat.begun();
        cores.lock().seated.get_mut(&runs.pid()).unwrap().held = false;
        taken[0].hold(runs.pid());
        assert_eq!(runs.cores(), all);
    }
}
