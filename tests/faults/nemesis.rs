//! Does the faults of a schedule, and ends them.

use super::{
    checker::Checker,
    members::{Members, Role, State},
    network::{Link, Switch},
    schedule::{Fault, Step, Target},
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
        let lasting = |active: &Active| active.fault.target().map(|target| target.member);
        if let Some(target) = fault.target() {
            let member = &world.members.all[target.member];
            if member.state != State::Up || self.active.iter().any(|active| lasting(active) == Some(target.member)) {
                return false;
            }
            // Of several servers of the bus one at a time has a fault: the others are a majority.
            if member.role == Role::Nats && self.bus_has_a_fault(world) {
                return false;
            }
        }
        if matches!(fault, Fault::KillLeader { .. }) && self.bus_has_a_fault(world) {
            return false;
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

    fn bus_has_a_fault(&self, world: &World<'_>) -> bool {
        let is_server = |target: &Target| world.members.all[target.member].role == Role::Nats;
        self.active.iter().filter_map(|active| active.fault.target()).any(is_server)
            || world.members.all.iter().any(|member| member.role == Role::Nats && member.state != State::Up)
    }

    fn begin(&mut self, world: &mut World<'_>, fault: &Fault) -> bool {
        let mut job = None;
        let done = match fault {
            Fault::LoseArtifact { which } => in_time(world.witness, async || world.store.lose(*which).await),
            Fault::FlipBit { which, bit } => in_time(world.witness, async || world.store.flip(*which, *bit).await),
            Fault::StoreFull { .. } => world.store.fill(),
            Fault::KillLeader { down } => kill_leader(world, Duration::from_millis(*down)),
            Fault::Starve { target, percent, .. } => self.starve(world, target.member, *percent),
            _ => begin_at_member(world, fault, &mut job),
        };
        if !done {
            return false;
        }
        if let Some(lasts) = fault.lasts() {
            let until = Instant::now() + Duration::from_millis(lasts);
            self.active.push(Active { until, fault: fault.clone(), job });
        } else if ends_jobs(world.members, fault) {
            world.checker.jobs_may_have_ended();
        }
        true
    }

    /// Moves a process, and those of its jobs, where there is little CPU time.
    fn starve(&mut self, world: &World<'_>, index: usize, percent: u64) -> bool {
        let member = &world.members.all[index];
        let Some(pid) = member.pid() else { return false };
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
        match &fault {
            Fault::Stop { target, .. } => {
                let member = &mut world.members.all[target.member];
                member.signal(libc::SIGCONT);
                if member.state == State::Stopped {
                    member.state = State::Up;
                }
            }
            Fault::Cut { target, .. } | Fault::Slow { target, .. } => {
                set_links(world, target.member, Link::default(), Link::default());
            }
            Fault::Starve { target, .. } => {
                if let Some(group) = self.cpu.get(&target.member) {
                    group.limit_cpu(UNLIMITED);
                }
            }
            Fault::StopJob { .. } => {
                if let Some(pid) = job {
                    signal_one(pid, libc::SIGCONT);
                }
            }
            Fault::ClockJump { target, .. } => {
                let _ = fs::remove_file(world.members.setting.clock_of(&world.members.all[target.member]));
            }
            Fault::Broken { target, .. } => {
                let member = &mut world.members.all[target.member];
                member.broken = false;
                member.terminate();
            }
            Fault::StoreFull { .. } => world.store.empty(),
            _ => {}
        }
        if ends_jobs(world.members, &fault) {
            world.checker.jobs_may_have_ended();
        }
    }
}

/// Kills the server of the bus that leads the lease's stream. Whether there is one.
fn kill_leader(world: &mut World<'_>, down: Duration) -> bool {
    let Some(name) = world.witness.leader() else { return false };
    let leader = world.members.all.iter_mut().find(|member| member.name() == name && member.state == State::Up);
    leader.map(|member| member.kill(down)).is_some()
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

/// Begins a fault of one member. Whether it was possible.
fn begin_at_member(world: &mut World<'_>, fault: &Fault, job: &mut Option<i32>) -> bool {
    let Some(index) = fault.target().map(|target| target.member) else { return false };
    let setting = &world.members.setting;
    let member = &mut world.members.all[index];
    match fault {
        Fault::Kill { down, .. } => {
            member.kill(Duration::from_millis(*down));
            if member.role == Role::Client {
                world.checker.client_killed(member.number);
            }
        }
        Fault::Terminate { .. } => member.terminate(),
        Fault::Stop { .. } => {
            member.signal(libc::SIGSTOP);
            member.state = State::Stopped;
        }
        Fault::Cut { inward, outward, .. } => {
            let cut = |cut| Link { cut, ..Link::default() };
            set_links(world, index, cut(*inward), cut(*outward));
        }
        Fault::Slow { delay, loss_permille, .. } => {
            let delay = Duration::from_millis(*delay);
            let link = Link { cut: false, loss: f64::from(*loss_permille) / 1e3, delay };
            set_links(world, index, link, link);
        }
        Fault::KillJob { .. } => return member.jobs().first().is_some_and(|pid| signal_one(*pid, libc::SIGKILL)),
        Fault::StopJob { .. } => {
            *job = member.jobs().first().copied();
            return job.is_some_and(|pid| signal_one(pid, libc::SIGSTOP));
        }
        Fault::KillTemplate { .. } => {
            return member.templates().first().is_some_and(|pid| signal_one(*pid, libc::SIGKILL));
        }
        Fault::SweepTemporary { .. } => sweep(&setting.temporary(member)),
        Fault::ClockJump { seconds, .. } => {
            fs::write(setting.clock_of(member), seconds.to_string()).expect("the run's folder can be written");
        }
        Fault::Broken { .. } => {
            member.broken = true;
            member.terminate();
        }
        Fault::KillLeader { .. }
        | Fault::Starve { .. }
        | Fault::LoseArtifact { .. }
        | Fault::FlipBit { .. }
        | Fault::StoreFull { .. } => {
            return false;
        }
    }
    true
}

/// Changes the links of a member's host to all others, inward and outward.
fn set_links(world: &World<'_>, member: usize, inward: Link, outward: Link) {
    let host = world.members.all[member].host;
    for other in (0..world.members.hosts.len()).filter(|other| *other != host) {
        world.switch.set(other, host, inward);
        world.switch.set(host, other, outward);
    }
}

/// Signals a process of a member, unless it has ended meanwhile.
fn signal_one(pid: i32, number: i32) -> bool {
    let there = lives(pid);
    if there {
        signal(pid, number);
    }
    there
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
