//! Memory cgroups of jobs: one for each job that runs for more than a moment, below the worker's own cgroup.
//!
//! The kernel counts in each cgroup whom it killed there, and whether the cgroup's own limit was reached. So a job that
//! was killed because the machine (or a cgroup above) ran out of memory is told from one that used more than its own
//! limits allow. The limit is above all that a job within its limits can use: only a job that escaped from them meets
//! it.
//!
//! * `place` decides where cgroups may be made, and `own` moves a fleet's worker so that they can be.
//! * `cgroup` is one cgroup and its files, in both versions of cgroups.
//!
//! Cgroups are kept and used again: to move a process into one that exists is all that a job costs. The kernel may take
//! milliseconds for that, so a thread of its own does it, made when the worker starts. Where there is no place for
//! them, `oom_score_adj` and the kernel's global counter remain (`oom`).

mod cgroup;
mod own;
mod place;

pub use place::{Caller, MemoryIsolation};

pub(crate) use own::leave_own_cgroup;

use cgroup::{Cgroup, Counts, Version};
use place::Place;
use std::{
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};
use tokio::sync::oneshot;

/// The beginning of the names of processes' folders; their process id follows.
const PREFIX: &str = "pvf-";
/// How often a new folder may be removed by another worker before it is locked.
const ATTEMPTS: u32 = 8;
/// Memory that may be left in a cgroup that is used again, bytes: it counts against the limit of the next job.
const LEFT_OVER: u64 = 4 << 20;
/// Errors that say nothing about the next process: this one has exited, or the machine or the cgroup lacks something at
/// the moment.
const PASSING: [i32; 7] =
    [libc::ESRCH, libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::EBUSY, libc::EINTR, libc::ENOSPC];
/// How often, and with which pause, a folder is tried to be removed whose processes are being killed.
const REMOVALS: u32 = 200;
const REMOVAL_PAUSE: Duration = Duration::from_millis(10);

/// How the kernel ended a process of a cgroup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CgroupKill {
    /// Not for lack of memory, as far as the cgroup knows.
    NotCounted,
    /// The cgroup's own limit was reached.
    AtItsLimit,
    /// The machine or a cgroup above ran out of memory.
    FromAbove,
}

/// The memory cgroups of this process's jobs. Removed when dropped.
#[derive(Debug)]
pub(crate) struct JobCgroups {
    version: Version,
    folder: PathBuf,
    /// Open as long as the folder is used: it holds the lock that tells other workers so.
    _lock: File,
    /// Those that no job is in.
    free: Mutex<Vec<Free>>,
    made: AtomicU64,
    /// Whether processes can be moved. Jobs do not fail where they cannot.
    usable: AtomicBool,
    /// To the thread that moves processes.
    moves: OnceLock<mpsc::Sender<Move>>,
}

/// A process that is to be moved into a cgroup of its own with this limit of memory, bytes.
#[derive(Debug)]
struct Move {
    pid: i32,
    limit: u64,
    answer: oneshot::Sender<Option<Membership>>,
}

#[derive(Debug)]
struct Free {
    cgroup: Cgroup,
    /// The job that was in it may not have exited yet.
    maybe_occupied: bool,
}

/// A process in a cgroup of its own.
#[derive(Debug)]
pub(crate) struct Membership {
    cgroups: Arc<JobCgroups>,
    /// `None` once it was given back.
    cgroup: Option<Cgroup>,
    /// What had been counted when the process entered.
    before: Counts,
}

/// The cgroups of this process, made if there are none; `None` if it may make none. All runners of a process share
/// them.
pub(crate) fn job_cgroups() -> Option<Arc<JobCgroups>> {
    static CURRENT: Mutex<Weak<JobCgroups>> = Mutex::new(Weak::new());
    let mut current = CURRENT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(cgroups) = current.upgrade() {
        return Some(cgroups);
    }
    match JobCgroups::new().map(Arc::new).and_then(|cgroups| cgroups.start_moving().map(|()| cgroups)) {
        Ok(cgroups) => {
            tracing::info!(folder = %cgroups.folder.display(), "jobs get memory cgroups of their own");
            *current = Arc::downgrade(&cgroups);
            Some(cgroups)
        }
        Err(why) => {
            tracing::info!(%why, "jobs get no memory cgroups of their own; the kernel kills them first");
            None
        }
    }
}

impl JobCgroups {
    fn new() -> Result<Self, String> {
        // A worker of a fleet has left its own cgroup by now, if it may and must.
        let place = place::of_this_process(Caller::Embedded)?;
        sweep(&place.folder);
        // The sweep of another worker may take the lock of a new folder first, and remove it.
        let mut made = Self::at(&place);
        for _ in 1..ATTEMPTS {
            made = made.or_else(|_| Self::at(&place));
        }
        made.map_err(|error| format!("{}: {error}", place.folder.display()))
    }

    /// In a new folder.
    fn at(place: &Place) -> io::Result<Self> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = place.folder.join(format!("{PREFIX}{}-{number}", std::process::id()));
        DirBuilder::new().mode(0o755).create(&folder)?;
        let made = Self::in_folder(place.version, folder.clone());
        if made.is_err() {
            remove(&folder);
        }
        made
    }

    /// In a folder that was just made. Proves that a cgroup with a limit can be made there.
    fn in_folder(version: Version, folder: PathBuf) -> io::Result<Self> {
        let lock = File::open(&folder)?;
        lock.try_lock()?;
        version.enable_memory(&folder)?;
        let (made, usable, moves) = (AtomicU64::new(0), AtomicBool::new(true), OnceLock::new());
        let cgroups = Self { version, folder, _lock: lock, free: Mutex::default(), made, usable, moves };
        let mut first = cgroups.make()?;
        first.set_limit(1 << 40)?;
        first.counts()?;
        cgroups.put(first, false);
        Ok(cgroups)
    }

    fn free(&self) -> MutexGuard<'_, Vec<Free>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, cgroup: Cgroup, maybe_occupied: bool) {
        self.free().push(Free { cgroup, maybe_occupied });
    }

    fn make(&self) -> io::Result<Cgroup> {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        Cgroup::make(self.version, self.folder.join(format!("job-{number}")))
    }

    /// A cgroup that no process is in.
    fn take(&self) -> io::Result<Cgroup> {
        let mut free = self.free();
        let empty = |free: &Free| !free.maybe_occupied || (free.cgroup.is_empty() && is_almost_unused(&free.cgroup));
        match free.iter().position(empty) {
            Some(at) => Ok(free.swap_remove(at).cgroup),
            None => {
                drop(free);
                self.make()
            }
        }
    }

    /// Starts the thread that moves processes; it ends when the cgroups are dropped.
    fn start_moving(self: &Arc<Self>) -> Result<(), String> {
        let (moves, received) = mpsc::channel::<Move>();
        let cgroups = Arc::downgrade(self);
        let work = move || {
            for Move { pid, limit, answer } in received {
                let Some(cgroups) = cgroups.upgrade() else { return };
                // If nobody waits any more, the process may have been reaped.
                if !answer.is_closed() {
                    let _ = answer.send(cgroups.enter(pid, limit));
                }
            }
        };
        let started = thread::Builder::new().name("pvf-cgroups".into()).spawn(work);
        started.map_err(|error| format!("thread: {error}"))?;
        let _ = self.moves.set(moves);
        Ok(())
    }

    /// Has a process moved, as by [`JobCgroups::enter`], by the thread that does that. It must not be reaped before the
    /// answer is there.
    pub(crate) fn begin_move(&self, pid: i32, limit: u64) -> oneshot::Receiver<Option<Membership>> {
        let (answer, answered) = oneshot::channel();
        // Without the thread the answer is dropped, which means that the process stays where it is.
        let _ = self.moves.get().map(|moves| moves.send(Move { pid, limit, answer }));
        answered
    }

    /// Moves a process, which has not been reaped, into a cgroup of its own with this limit of memory, bytes. What it
    /// has used before does not count. `None` if that is not possible; then the process stays where it is.
    pub(crate) fn enter(self: &Arc<Self>, pid: i32, limit: u64) -> Option<Membership> {
        if !self.usable.load(Ordering::Relaxed) {
            return None;
        }
        let entered = self.take().and_then(|mut cgroup| {
            cgroup.set_limit(limit)?;
            let before = cgroup.counts()?;
            let moved = cgroup.add(pid);
            let member = Membership { cgroups: self.clone(), cgroup: Some(cgroup), before };
            moved.map(|()| member)
        });
        match entered {
            Ok(member) => Some(member),
            Err(error) if error.raw_os_error().is_some_and(|code| PASSING.contains(&code)) => {
                tracing::debug!(%error, pid, "a job is not moved into a memory cgroup");
                None
            }
            Err(error) => {
                self.usable.store(false, Ordering::Relaxed);
                tracing::info!(%error, folder = %self.folder.display(), "no more memory cgroups for jobs");
                None
            }
        }
    }
}

impl Drop for JobCgroups {
    fn drop(&mut self) {
        if remove(&self.folder) {
            return;
        }
        // Its processes are being killed. If this process ends before, the next worker removes what is left.
        let folder = std::mem::take(&mut self.folder);
        #[expect(clippy::disallowed_methods, reason = "a thread of its own, and no runtime may be there any more")]
        let removing = move || {
            for _ in 0..REMOVALS {
                thread::sleep(REMOVAL_PAUSE);
                if remove(&folder) {
                    return;
                }
            }
        };
        drop(thread::Builder::new().name("pvf-cgroups".into()).spawn(removing));
    }
}

impl Membership {
    /// How the kernel ended the process, which was ended by SIGKILL and reaped.
    pub(crate) fn cause_of_kill(&self) -> CgroupKill {
        let Some(Ok(now)) = self.cgroup.as_ref().map(Cgroup::counts) else { return CgroupKill::NotCounted };
        let grown = |of: fn(&Counts) -> u64| of(&now) > of(&self.before);
        match (grown(|counts| counts.kills), grown(|counts| counts.at_limit)) {
            (false, _) => CgroupKill::NotCounted,
            (true, true) => CgroupKill::AtItsLimit,
            (true, false) => CgroupKill::FromAbove,
        }
    }

    /// Gives the cgroup back: the process was reaped.
    pub(crate) fn left(mut self) {
        if let Some(cgroup) = self.cgroup.take()
            && is_almost_unused(&cgroup)
        {
            self.cgroups.put(cgroup, false);
        }
        // Otherwise the cgroup is removed; what is left in it is charged to the cgroup above.
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        if let Some(cgroup) = self.cgroup.take() {
            self.cgroups.put(cgroup, true);
        }
    }
}

/// Whether so little memory is left in a cgroup without processes that another job can have it.
fn is_almost_unused(cgroup: &Cgroup) -> bool {
    cgroup.usage().is_ok_and(|bytes| bytes <= LEFT_OVER)
}

/// Removes a process's folder with its cgroups; whether it is gone. Cgroups with processes stay.
fn remove(folder: &Path) -> bool {
    for cgroup in fs::read_dir(folder).into_iter().flatten().flatten() {
        if cgroup.file_type().is_ok_and(|kind| kind.is_dir()) {
            let _ = fs::remove_dir(cgroup.path());
        }
    }
    match fs::remove_dir(folder) {
        Ok(()) => true,
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

/// Removes the folders of processes that have ended: the kernel has released their locks.
fn sweep(place: &Path) {
    for entry in fs::read_dir(place).into_iter().flatten().flatten() {
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_folder
            && entry.file_name().to_string_lossy().strip_prefix(PREFIX).is_some_and(is_of_process)
            && File::open(entry.path()).is_ok_and(|folder| folder.try_lock().is_ok())
        {
            remove(&entry.path());
        }
    }
}

/// Whether this is what follows the prefix in the name of a process's folder.
fn is_of_process(rest: &str) -> bool {
    rest.split_once('-').is_some_and(|(pid, number)| [pid, number].iter().all(|part| part.parse::<u64>().is_ok()))
}

#[cfg(test)]
mod tests;
