//! Does the faults of a schedule, and ends them.

use super::{
    checker::Checker,
    members::{Member, Members, Role, State},
    network::{Link, Switch},
    schedule::{Fault, Step},
    store::Store,
    witness::Witness,
};
use crate::processes::{lives, processes_of, signal};
use pvf_testkit::cgroups::{Cgroup, Controller};
use std::{
    collections::BTreeMap,
    fs,
    time::{Duration, Instant},
};

/// How long a fault waits until it may be done; then it is left out.
const POSTPONED: Duration = Duration::from_secs(60);
/// What is done to an object may take this long.
const STORE_PATIENCE: Duration = Duration::from_secs(2);
/// Faults that wait at once; further ones are left out.
const MOST_WAITING: usize = 8;
/// A worker that stands still or is cut off for less than this is not lost.
const SHORT: u64 = 4_000;
/// A CPU limit that is none, milliseconds in each 100 ms.
const UNLIMITED: u64 = 100_000;

/// What faults are done to.
pub struct World<'a> {
    /// The processes.
    pub members: &'a mut Members,
    /// The network.
    pub switch: &'a Switch,
    /// The store.
    pub store: &'a Store,
    /// Runs what the store has to do.
    pub witness: &'a Witness,
    /// What becomes of requests.
    pub checker: &'a mut Checker,
}

/// A fault that lasts.
struct Active {
    until: Instant,
    fault: Fault,
    /// The process that is stopped, if it is a job.
    job: Option<i32>,
}

/// A fault that was done.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Done {
    /// When, milliseconds after the first request.
    pub at: u64,
    /// The fault.
    pub step: Step,
}

/// Does the faults.
pub struct Nemesis {
    steps: Box<dyn Iterator<Item = Step>>,
    start: Instant,
    next: Option<(Instant, Step)>,
    /// Faults whose time has come and that may not be done yet.
    waiting: Vec<(Instant, Step)>,
    active: Vec<Active>,
    cpu: BTreeMap<usize, Cgroup>,
    /// What was done.
    pub done: Vec<Done>,
    /// How many of each kind.
    pub counts: BTreeMap<&'static str, u64>,
    /// Those that could not be done when their time came.
    pub left_out: u64,
}

impl Nemesis {
    /// With these steps, the first of which begins its time now.
    pub fn new(steps: Box<dyn Iterator<Item = Step>>) -> Self {
        let start = Instant::now();
        let (counts, cpu) = (BTreeMap::new(), BTreeMap::new());
        let (next, waiting) = (None, Vec::new());
        let mut this = Self { steps, start, next, waiting, active: vec![], cpu, done: vec![], counts, left_out: 0 };
        this.take_next();
        this
    }

    fn take_next(&mut self) {
        let from = Instant::now();
        self.next = self.steps.next().map(|step| (from + Duration::from_millis(step.after), step));
    }

    /// Does what is due.
    pub fn tick(&mut self, world: &mut World<'_>) {
        let now = Instant::now();
        while let Some(over) = self.active.iter().position(|active| active.until <= now) {
            let active = self.active.swap_remove(over);
            self.end(world, active);
        }
        if let Some(due) = self.next.take_if(|(at, _)| *at <= now) {
            self.waiting.push(due);
            self.take_next();
        }
        for (at, step) in std::mem::take(&mut self.waiting) {
            if self.may_begin(world, &step.fault) {
                self.attempt(world, step);
            } else if now > at + POSTPONED || self.waiting.len() >= MOST_WAITING {
                self.left_out += 1;
            } else {
                self.waiting.push((at, step));
            }
        }
    }

    /// Does a fault, unless it is not possible now: a worker has no job to kill.
    fn attempt(&mut self, world: &mut World<'_>, step: Step) {
        if !self.begin(world, &step.fault) {
            self.left_out += 1;
            return;
        }
        *self.counts.entry(step.fault.kind()).or_default() += 1;
        let at = self.start.elapsed().as_millis() as u64;
        eprintln!("{:>8.1} s  {}", at as f64 / 1e3, step.fault);
        self.done.push(Done { at, step });
    }

    /// Ends all faults that last.
    pub fn heal(&mut self, world: &mut World<'_>) {
        for active in std::mem::take(&mut self.active) {
            self.end(world, active);
        }
        self.next = None;
        self.waiting.clear();
    }

    fn may_begin(&self, world: &World<'_>, fault: &Fault) -> bool {
        let role = |member: usize| world.members.all[member].role;
        let lasting = |active: &Active| active.fault.target().map(|target| target.member);
        if let Some(target) = fault.target() {
            let member = &world.members.all[target.member];
            if member.state != State::Up || self.active.iter().any(|active| lasting(active) == Some(target.member)) {
                return false;
            }
            // Of several servers of the bus one at a time has a fault: the others are a majority.
            let disturbed = |active: &Active| lasting(active).is_some_and(|other| role(other) == Role::Nats);
            let down = || world.members.all.iter().any(|m| m.role == Role::Nats && m.state != State::Up);
            if member.role == Role::Nats && (self.active.iter().any(disturbed) || down()) {
                return false;
            }
        }
        let is_full = |fault: &Fault| matches!(fault, Fault::StoreFull { .. });
        if is_full(fault) && self.active.iter().any(|active| is_full(&active.fault)) {
            return false;
        }
        if !ends_jobs(world.members, fault) {
            return true;
        }
        let others = self.active.iter().any(|active| ends_jobs(world.members, &active.fault));
        !others && world.checker.none_is_exposed()
    }

    fn begin(&mut self, world: &mut World<'_>, fault: &Fault) -> bool {
        let mut job = None;
        let index = fault.target().map(|target| target.member);
        let member = index.map(|index| &mut world.members.all[index]);
        let host = member.as_ref().map(|member| member.host);
        match (fault, member) {
            (Fault::Kill { down, .. }, Some(member)) => {
                member.kill(Duration::from_millis(*down));
                if member.role == Role::Client {
                    world.checker.client_ended(member.number);
                }
            }
            (Fault::Terminate { .. }, Some(member)) => member.terminate(),
            (Fault::Stop { .. }, Some(member)) => {
                member.signal(libc::SIGSTOP);
                member.state = State::Stopped;
            }
            (Fault::Cut { inward, outward, .. }, Some(member)) => {
                let cut = |cut| Link { cut, ..Link::default() };
                set_links(world.switch, world.members.hosts.len(), member.host, cut(*inward), cut(*outward));
            }
            (Fault::Slow { delay, loss_permille, .. }, Some(member)) => {
                let delay = Duration::from_millis(*delay);
                let link = Link { cut: false, loss: f64::from(*loss_permille) / 1e3, delay };
                set_links(world.switch, world.members.hosts.len(), member.host, link, link);
            }
            (Fault::Starve { percent, .. }, Some(member)) => return self.starve(index, member, *percent),
            (Fault::KillJob { .. }, Some(member)) => match member.jobs().first() {
                Some(pid) => kill_one(*pid),
                None => return false,
            },
            (Fault::StopJob { .. }, Some(member)) => match member.jobs().first() {
                Some(pid) if lives(*pid) => {
                    signal_one(*pid, libc::SIGSTOP);
                    job = Some(*pid);
                }
                _ => return false,
            },
            (Fault::KillTemplate { .. }, Some(member)) => match member.templates().first() {
                Some(pid) => kill_one(*pid),
                None => return false,
            },
            (Fault::SweepTemporary { .. }, Some(_)) => {
                let index = index.unwrap_or_default();
                sweep(&world.members.setting.temporary(&world.members.all[index]));
            }
            (Fault::ClockJump { seconds, .. }, Some(_)) => {
                let index = index.unwrap_or_default();
                let file = world.members.setting.clock_of(&world.members.all[index]);
                fs::write(file, seconds.to_string()).expect("the run's folder can be written");
            }
            (Fault::Broken { .. }, Some(member)) => {
                member.broken = true;
                member.terminate();
            }
            (Fault::LoseArtifact { which }, _) => {
                return in_time(world.witness, async || world.store.lose(*which).await);
            }
            (Fault::FlipBit { which, bit }, _) => {
                return in_time(world.witness, async || world.store.flip(*which, *bit).await);
            }
            (Fault::StoreFull { .. }, _) => {
                if !world.store.fill() {
                    return false;
                }
            }
            _ => return false,
        }
        debug_assert!(host.is_none_or(|host| host < world.members.hosts.len()));
        if let Some(lasts) = fault.lasts() {
            let until = Instant::now() + Duration::from_millis(lasts);
            self.active.push(Active { until, fault: fault.clone(), job });
        } else if ends_jobs(world.members, fault) {
            world.checker.jobs_may_have_ended();
        }
        true
    }

    /// Moves a process, and those of its jobs, where there is little CPU time.
    fn starve(&mut self, index: Option<usize>, member: &Member, percent: u64) -> bool {
        let (Some(index), Some(pid)) = (index, member.pid()) else { return false };
        let name = member.name();
        let group = self.cpu.entry(index).or_insert_with(|| Cgroup::new(Controller::Cpu, &name));
        group.limit_cpu(percent);
        for one in processes_of(pid).into_iter().chain([pid]).filter(|pid| lives(*pid)) {
            // It may end at this moment.
            let _ = fs::write(group.folder().join("cgroup.procs"), one.to_string());
        }
        true
    }

    fn end(&mut self, world: &mut World<'_>, Active { fault, job, .. }: Active) {
        let member = fault.target().map(|target| &mut world.members.all[target.member]);
        match (&fault, member) {
            (Fault::Stop { .. }, Some(member)) => {
                member.signal(libc::SIGCONT);
                if member.state == State::Stopped {
                    member.state = State::Up;
                }
            }
            (Fault::Cut { .. } | Fault::Slow { .. }, Some(member)) => {
                let link = Link::default();
                set_links(world.switch, world.members.hosts.len(), member.host, link, link);
            }
            (Fault::Starve { target, .. }, _) => {
                if let Some(group) = self.cpu.get(&target.member) {
                    group.limit_cpu(UNLIMITED);
                }
            }
            (Fault::StopJob { .. }, _) => {
                if let Some(pid) = job.filter(|pid| lives(*pid)) {
                    signal_one(pid, libc::SIGCONT);
                }
            }
            (Fault::ClockJump { .. }, Some(_)) => {
                let target = fault.target().map_or(0, |target| target.member);
                let _ = fs::remove_file(world.members.setting.clock_of(&world.members.all[target]));
            }
            (Fault::Broken { .. }, Some(member)) => {
                member.broken = false;
                member.terminate();
            }
            (Fault::StoreFull { .. }, _) => world.store.empty(),
            _ => {}
        }
        if ends_jobs(world.members, &fault) {
            world.checker.jobs_may_have_ended();
        }
    }
}

/// Does something with the store, which may hang. Whether it was done.
fn in_time(witness: &Witness, what: impl AsyncFnOnce() -> Result<bool, object_store::Error>) -> bool {
    let done = witness.wait(async |_| tokio::time::timeout(STORE_PATIENCE, what()).await);
    matches!(done, Ok(Ok(true)))
}

fn ends_jobs(members: &Members, fault: &Fault) -> bool {
    let is_short = matches!(fault, Fault::Stop { lasts, .. } | Fault::Cut { lasts, .. } if *lasts < SHORT);
    !is_short && fault.may_end_jobs(|member| members.all[member].role.is_worker())
}

fn set_links(switch: &Switch, hosts: usize, host: usize, inward: Link, outward: Link) {
    for other in (0..hosts).filter(|other| *other != host) {
        switch.set(other, host, inward);
        switch.set(host, other, outward);
    }
}

fn kill_one(pid: i32) {
    signal_one(pid, libc::SIGKILL);
}

/// Signals a job of a member, unless it has ended meanwhile.
fn signal_one(pid: i32, number: i32) {
    if lives(pid) {
        signal(pid, number);
    }
}

/// Deletes all files below a folder; the folders stay.
fn sweep(folder: &std::path::Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && !path.is_symlink() {
            sweep(&path);
        } else {
            let _ = fs::remove_file(path);
        }
    }
}
