//! A run from its beginning to its end.

use super::{
    checker::{Checker, Tally},
    client::Line,
    members::{Members, NextClient, Role, Sizes, State},
    nemesis::{Done, Nemesis, World},
    network::Switch,
    samples::{Samples, Trend},
    schedule::{Choice, Step, Target, steps},
    store::{Store, StoreKind},
    witness::Witness,
};
use pvf_shared::wire::WorkerKind;
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{BufRead as _, BufReader},
    net::TcpStream,
    path::{Path, PathBuf},
    process::ChildStdout,
    sync::mpsc::{Receiver, Sender, channel},
    thread,
    time::{Duration, Instant},
};

/// Pause between two looks at everything.
const TICK: Duration = Duration::from_millis(10);
const SAMPLE_EVERY: Duration = Duration::from_secs(2);
const PROGRESS_EVERY: Duration = Duration::from_secs(10);
/// How long the fleet may take to be ready, and to have answered everything after the last fault.
const PATIENCE: Duration = Duration::from_secs(120);

/// One of so many requests may end as internal.
const MOST_INTERNAL: u64 = 200;

/// What a run is.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Seed of requests and faults.
    pub seed: u64,
    /// How many requests.
    pub requests: u64,
    /// Requests in flight at each client.
    pub in_flight: usize,
    /// Members.
    pub sizes: Sizes,
    /// Kind of the store.
    pub store: StoreKind,
    /// Kinds of faults.
    pub kinds: Vec<String>,
    /// Mean time between the beginnings of two faults.
    pub every: Duration,
    /// A schedule instead of that of the seed.
    pub schedule: Option<Vec<Step>>,
    /// The longest time that requests begin.
    pub lasts: Option<Duration>,
    /// Where everything is written.
    pub folder: PathBuf,
}

/// What came of it.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// Requests.
    pub tally: Tally,
    /// Verdicts of one request that contradict each other.
    pub contradictions: Vec<String>,
    /// Verdicts on the bus.
    pub verdicts: u64,
    /// Faults by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// Faults that could not be done when their time came.
    pub left_out: u64,
    /// Packets that hosts exchanged, and those that were lost.
    pub packets: (u64, u64),
    /// Members that ended by themselves.
    pub ended: Vec<(String, String)>,
    /// Inconsistencies that coordinators found in their own state.
    pub inconsistencies: u64,
    /// Lines of all logs that tell of a panic.
    pub panics: Vec<String>,
    /// Requests that the coordinator still has at the end.
    pub left_at_coordinator: u64,
    /// How processes changed that lived for more than half of the run.
    pub trends: Vec<Trend>,
    /// How long it took, seconds.
    pub seconds: f64,
    /// What was done, to be done again with `--schedule`.
    pub schedule: Vec<Done>,
}

impl Report {
    /// Whether nothing went wrong.
    pub fn is_good(&self) -> bool {
        let tally = &self.tally;
        let bad = tally.lost + tally.doubled + tally.wrong + tally.false_blame + self.inconsistencies;
        let clean = self.contradictions.is_empty() && self.panics.is_empty() && self.left_at_coordinator == 0;
        // A request that meets several faults may end so, but not many do.
        bad == 0 && clean && tally.internal * MOST_INTERNAL <= tally.requests
    }
}

/// What a client says, by its number; nothing when it has ended.
type Said = (usize, Option<Line>);

/// The network, the processes and what watches them.
struct Course {
    plan: Plan,
    members: Members,
    switch: Switch,
    store: Store,
    checker: Checker,
    /// The number that each client continues with.
    next: Vec<u64>,
    /// What clients say; nothing when one has ended.
    lines: (Sender<Said>, Receiver<Said>),
    /// Clients whose end was not read yet.
    reading: BTreeSet<usize>,
    samples: Samples,
    sampled: Instant,
    /// The store's server has started and has no bucket yet.
    bucket_missing: bool,
}

/// Does the run. The process must be isolated.
///
/// # Errors
/// It cannot be done on this machine.
pub fn run(plan: Plan) -> Result<(Report, Samples), String> {
    let mut course = Course::new(plan)?;
    let witness = course.start()?;
    let start = Instant::now();
    let mut nemesis = Nemesis::new(course.schedule());
    let mut shown = Instant::now();
    while !course.is_done() {
        course.look_after();
        let over = course.plan.lasts.is_some_and(|lasts| start.elapsed() > lasts);
        if over {
            course.end_clients();
        }
        let Course { members, switch, store, checker, .. } = &mut course;
        nemesis.tick(&mut World { members, switch, store, witness: &witness, checker });
        if shown.elapsed() > PROGRESS_EVERY {
            shown = Instant::now();
            let (done, waiting, oldest) = (course.checker.done(), course.checker.waiting(), course.checker.oldest());
            eprintln!(
                "{:>8.1} s  {done} of {} answered, {waiting} wait, the oldest for {:.1} s",
                start.elapsed().as_secs_f64(),
                course.plan.requests,
                oldest.as_secs_f64()
            );
        }
        thread::park_timeout(TICK);
    }
    let Course { members, switch, store, checker, .. } = &mut course;
    nemesis.heal(&mut World { members, switch, store, witness: &witness, checker });
    let seconds = start.elapsed().as_secs_f64();
    let (counted, left) = course.settle(&witness).unwrap_or((0, u64::MAX));
    let (verdicts, contradictions) = witness.found();
    let report = Report {
        seed: course.plan.seed,
        tally: course.checker.tally(),
        contradictions,
        verdicts,
        faults: std::mem::take(&mut nemesis.counts),
        left_out: nemesis.left_out,
        packets: course.switch.counts(),
        ended: course.members.ended.clone(),
        inconsistencies: counted.max(in_logs(&course.plan.folder, "scheduler inconsistency").len() as u64),
        panics: in_logs(&course.plan.folder, "panicked at"),
        left_at_coordinator: left,
        trends: course.samples.trends(seconds / 2.0),
        seconds,
        schedule: std::mem::take(&mut nemesis.done),
    };
    let Course { members, samples, .. } = course;
    // Cgroups can be removed when the processes in them have ended.
    drop(members);
    drop(nemesis);
    Ok((report, samples))
}

impl Course {
    fn new(plan: Plan) -> Result<Self, String> {
        let members = Members::new(&plan.folder, plan.sizes, plan.store)?;
        let switch = Switch::start(&members.hosts);
        let store = Store::new(&members.setting)?;
        let next = (0..plan.sizes.clients as u64).collect();
        check_schedule(plan.schedule.as_deref().unwrap_or_default(), &members)?;
        let (checker, samples) = (Checker::default(), Samples::default());
        let bucket_missing = plan.store == StoreKind::S3;
        let sampled = Instant::now();
        let (lines, reading) = (channel(), BTreeSet::new());
        Ok(Self { plan, members, switch, store, checker, next, lines, reading, samples, sampled, bucket_missing })
    }

    /// Starts the bus and the store, then the fleet.
    fn start(&mut self) -> Result<Witness, String> {
        let later = |role| matches!(role, Role::Client);
        let fleet = |role| matches!(role, Role::Coordinator | Role::Prepare | Role::Execute);
        self.hold(|role| later(role) || fleet(role));
        let nats: Vec<_> = self.members.of(Role::Nats).map(|member| super::network::address(member.host)).collect();
        self.until("the bus and the store listen", |this| {
            !this.bucket_missing && nats.iter().all(|host| TcpStream::connect((*host, 4222)).is_ok())
        })?;
        let witness = Witness::start(&self.members.setting.urls());
        self.hold(later);
        self.release(fleet);
        let Sizes { prepare, execute, .. } = self.plan.sizes;
        self.until("the fleet is complete", |_| {
            let Ok(status) = witness.wait(async |host| host.status().await) else { return false };
            let count = |kind| status.workers.iter().filter(|worker| worker.kind == kind).count();
            count(WorkerKind::Prepare) == prepare && count(WorkerKind::Execute) == execute
        })?;
        self.release(later);
        Ok(witness)
    }

    /// Members of these roles are not started yet.
    fn hold(&mut self, which: impl Fn(Role) -> bool) {
        let never = Instant::now() + Duration::from_secs(3600);
        let down = self.members.all.iter_mut().filter(|one| which(one.role) && one.pid().is_none());
        down.for_each(|one| one.state = State::Down(never));
    }

    fn release(&mut self, which: impl Fn(Role) -> bool) {
        let held = self.members.all.iter_mut().filter(|one| which(one.role) && one.pid().is_none());
        held.for_each(|one| one.state = State::Down(Instant::now()));
    }

    fn until(&mut self, what: &str, mut condition: impl FnMut(&Self) -> bool) -> Result<(), String> {
        let give_up = Instant::now() + PATIENCE;
        while !condition(self) {
            if Instant::now() > give_up {
                return Err(format!("this did not happen in {PATIENCE:?}: {what}; {:?}", self.members.ended));
            }
            self.look_after();
            thread::park_timeout(TICK);
        }
        Ok(())
    }

    /// The faults, on every member but those that have none of their own.
    fn schedule(&self) -> Box<dyn Iterator<Item = Step>> {
        if let Some(steps) = self.plan.schedule.clone() {
            return Box::new(steps.into_iter());
        }
        if self.plan.kinds.is_empty() {
            return Box::new(std::iter::empty());
        }
        let choice = Choice {
            members: self.members.all.iter().map(|member| (member.role, member.name())).collect(),
            kinds: self.plan.kinds.clone(),
            store: self.plan.store,
            every: self.plan.every.as_millis() as u64,
        };
        Box::new(steps(self.plan.seed, choice))
    }

    /// Starts what is due, reads what clients say, looks at memory.
    fn look_after(&mut self) {
        let (plan, next, reading, urls) = (&self.plan, &self.next, &self.reading, self.members.setting.urls());
        let client = |number: usize| {
            let (first, below) = (next[number], plan.requests);
            let text = [
                ("--nats", urls.clone()),
                ("--seed", plan.seed.to_string()),
                ("--first", first.to_string()),
                ("--step", plan.sizes.clients.to_string()),
                ("--below", below.to_string()),
                ("--in-flight", plan.in_flight.to_string()),
            ];
            match first < below {
                _ if reading.contains(&number) => NextClient::Later,
                true => NextClient::With(text.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect()),
                false => NextClient::Done,
            }
        };
        for index in self.members.look_after(client) {
            let member = &mut self.members.all[index];
            if member.role == Role::Client {
                let output = member.output().expect("a client's output is a pipe");
                let (number, lines) = (member.number, self.lines.0.clone());
                self.reading.insert(number);
                thread::spawn(move || read(output, number, &lines));
            }
            if member.role == Role::Store {
                self.bucket_missing = true;
            }
        }
        if self.bucket_missing && Store::make_bucket(self.members.setting.store_server()) {
            self.bucket_missing = false;
        }
        while let Ok((client, line)) = self.lines.1.try_recv() {
            let Some(line) = line else {
                self.reading.remove(&client);
                self.checker.client_ended(client);
                continue;
            };
            if let Line::Begins(n) = line {
                self.next[client] = self.next[client].max(n + self.plan.sizes.clients as u64);
            }
            self.checker.take(client, line);
        }
        if self.sampled.elapsed() > SAMPLE_EVERY {
            self.sampled = Instant::now();
            self.samples.take(&self.members.all);
        }
    }

    fn is_done(&mut self) -> bool {
        let done = self.members.of(Role::Client).all(|client| client.state == State::Done) && self.reading.is_empty();
        // A client that stands still says later that a request has expired.
        done || self.checker.oldest() > super::truth::ANSWER_WITHIN * 2
    }

    /// Has clients begin no more requests.
    fn end_clients(&mut self) {
        if self.next.iter().all(|next| *next >= self.plan.requests) {
            return;
        }
        self.next.iter_mut().for_each(|next| *next = u64::MAX);
        self.members.of(Role::Client).for_each(super::members::Member::terminate);
    }

    /// Waits until the coordinator has nothing to do: inconsistencies that the last one counted, and requests that it has.
    fn settle(&mut self, witness: &Witness) -> Option<(u64, u64)> {
        let give_up = Instant::now() + PATIENCE;
        let mut last = None;
        while Instant::now() < give_up {
            self.look_after();
            if let Ok(status) = witness.wait(async |host| host.status().await) {
                last = Some((status.inconsistencies, status.requests));
                if status.requests == 0 {
                    break;
                }
            }
            thread::park_timeout(TICK);
        }
        last
    }
}

/// The members that an earlier run's schedule names must be those of this run.
fn check_schedule(schedule: &[Step], members: &Members) -> Result<(), String> {
    let is_here = |target: &Target| members.all.get(target.member).is_some_and(|member| member.name() == target.name);
    match schedule.iter().filter_map(|step| step.fault.target()).find(|target| !is_here(target)) {
        None => Ok(()),
        Some(target) => Err(format!(
            "--schedule: member {} is not {}; give the --nats and --store of the report's run",
            target.member, target.name
        )),
    }
}

/// Lines with this text in the logs of all members.
fn in_logs(folder: &Path, text: &str) -> Vec<String> {
    let files = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let logs = files.filter(|path| path.extension().is_some_and(|extension| extension == "log"));
    let all: Vec<_> = logs.filter_map(|path| fs::read(path).ok()).collect();
    let lines = all.iter().flat_map(|log| log.split(|byte| *byte == b'\n')).map(String::from_utf8_lossy);
    lines.filter(|line| line.contains(text)).map(Into::into).collect()
}

/// Reads what a client says until it ends.
fn read(output: ChildStdout, client: usize, lines: &Sender<Said>) {
    for text in BufReader::new(output).lines().map_while(Result::ok) {
        // The last line of a client that is killed may be cut off.
        if let Ok(line) = serde_json::from_str(&text) {
            let _ = lines.send((client, Some(line)));
        }
    }
    // The run has ended if it does not read any more.
    let _ = lines.send((client, None));
}
