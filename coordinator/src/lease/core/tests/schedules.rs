//! Generated schedules: several coordinators and a server, with messages that are late or lost and processes that stand
//! still.

use super::*;
use proptest::prelude::*;
use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
};

const NODES: usize = 3;
/// How long a node waits for an answer, milliseconds; as in the shell.
const LIMIT: u64 = 2400 / 3;
/// Faults until this time, milliseconds; none afterwards.
const FAULTS: u64 = 30_000;

/// A small generator of numbers, so that a seed is a schedule.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// What happens, with the node that it happens to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Timer(usize),
    /// It stands still for so long.
    Stop(usize, u64),
    Wake(usize),
    /// The server gets its operation of this number.
    Serve(usize, u64),
    /// It gets the answer.
    Answer(usize, u64),
    /// It waits no longer for the answer.
    GiveUp(usize, u64),
    /// It sees a renewal, or a release.
    Hint(usize, bool),
}

struct Node {
    lease: Lease,
    /// It may act until this time.
    tenure: u64,
    /// The number of the operation that is under way.
    under_way: Option<u64>,
    stopped: bool,
    /// What it will find when it goes on.
    missed: Vec<Step>,
    timer: Option<u64>,
}

struct World {
    now: u64,
    numbers: Numbers,
    /// Time, a number that makes the order certain, and what happens.
    queue: BinaryHeap<Reverse<(u64, u64, Step)>>,
    nodes: Vec<Node>,
    operations: HashMap<u64, Operation>,
    answers: HashMap<u64, Outcome>,
    /// The key: its owner, its revision, and when it was written.
    entry: Option<(usize, u64, u64)>,
    revision: u64,
    last: u64,
    terms: Vec<u64>,
}

fn millis(at: Timestamp) -> u64 {
    at.since(Timestamp::default()).as_nanos().div_ceil(1_000_000) as u64
}

impl World {
    fn new(seed: u64) -> Self {
        let node = |_| Node {
            lease: Lease::new(LEASE, at(0)),
            tenure: 0,
            under_way: None,
            stopped: false,
            missed: vec![],
            timer: None,
        };
        let mut world = Self {
            now: 0,
            numbers: Numbers(seed | 1),
            queue: BinaryHeap::new(),
            nodes: (0..NODES).map(node).collect(),
            operations: HashMap::new(),
            answers: HashMap::new(),
            entry: None,
            revision: 0,
            last: 0,
            terms: vec![],
        };
        for node in 0..NODES {
            world.push(0, Step::Timer(node));
            let mut from = 500 + world.numbers.below(9000);
            while from < FAULTS {
                let pause = 1 + world.numbers.below(4000);
                world.push(from, Step::Stop(node, pause));
                from += pause + 500 + world.numbers.below(9000);
            }
        }
        world
    }

    fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    fn push(&mut self, at: u64, step: Step) {
        let n = self.number();
        self.queue.push(Reverse((at, n, step)));
    }

    /// Sends something: it arrives soon, late, or not at all.
    fn send(&mut self, step: Step) {
        let faulty = self.now < FAULTS;
        if faulty && self.numbers.below(8) == 0 {
            return;
        }
        let slow = faulty && self.numbers.below(4) == 0;
        let at = self.now + self.numbers.below(if slow { 1500 } else { 20 });
        self.push(at, step);
    }

    fn run(&mut self, until: u64) {
        while self.queue.peek().is_some_and(|Reverse((at, ..))| *at <= until) {
            let Some(Reverse((now, _, step))) = self.queue.pop() else { break };
            self.now = now;
            self.step(step);
        }
        self.now = until;
    }

    fn step(&mut self, step: Step) {
        let (node, event) = match step {
            Step::Serve(node, n) => return self.serve(node, n),
            Step::Stop(node, pause) => {
                self.nodes[node].stopped = true;
                return self.push(self.now + pause, Step::Wake(node));
            }
            Step::Wake(node) => return self.wake(node),
            Step::Timer(node) | Step::Answer(node, _) | Step::GiveUp(node, _) | Step::Hint(node, _)
                if self.nodes[node].stopped =>
            {
                return self.nodes[node].missed.push(step);
            }
            Step::Timer(node) => {
                self.nodes[node].timer = None;
                (node, None)
            }
            Step::Hint(node, true) => (node, Some(Event::ReleaseSeen)),
            Step::Hint(node, false) => (node, Some(Event::RenewalSeen)),
            Step::Answer(node, n) | Step::GiveUp(node, n) if self.nodes[node].under_way == Some(n) => {
                self.nodes[node].under_way = None;
                let answer = self.answers.remove(&n).filter(|_| matches!(step, Step::Answer(..)));
                (node, Some(Event::Done(answer.unwrap_or(Outcome::Failed))))
            }
            Step::Answer(..) | Step::GiveUp(..) => return,
        };
        let lease = &mut self.nodes[node].lease;
        match event {
            Some(event) => lease.handle(event, at(self.now)),
            None => lease.handle_timeout(at(self.now)),
        }
        self.act(node);
    }

    /// A node goes on; it looks at what waits in any order.
    fn wake(&mut self, node: usize) {
        self.nodes[node].stopped = false;
        let mut missed = std::mem::take(&mut self.nodes[node].missed);
        while !missed.is_empty() {
            let next = self.numbers.below(missed.len() as u64) as usize;
            let step = missed.remove(next);
            self.step(step);
        }
    }

    /// The server gets an operation. Whether its sender still waits makes no difference.
    fn serve(&mut self, node: usize, n: u64) {
        self.entry = self.entry.filter(|(_, _, written)| self.now < written + 2400);
        let held = self.entry.map(|(_, revision, _)| revision);
        let outcome = match self.operations[&n] {
            Operation::Open => Outcome::Opened { duration: LEASE, taken: false },
            Operation::Claim if held.is_none() => self.write(node),
            Operation::Renew { revision } if held == Some(revision) => {
                self.tell(node, false);
                self.write(node)
            }
            Operation::Release { revision } if held == Some(revision) => {
                self.entry = None;
                self.tell(node, true);
                Outcome::Removed
            }
            Operation::Inspect => {
                let own = self.entry.filter(|(owner, ..)| *owner == node);
                Outcome::Read(own.map(|(_, revision, _)| revision))
            }
            Operation::Claim | Operation::Renew { .. } | Operation::Release { .. } => Outcome::Conflict,
        };
        self.answers.insert(n, outcome);
        self.send(Step::Answer(node, n));
    }

    fn write(&mut self, node: usize) -> Outcome {
        self.revision += 1;
        self.entry = Some((node, self.revision, self.now));
        Outcome::Written(self.revision)
    }

    fn tell(&mut self, by: usize, released: bool) {
        for node in (0..NODES).filter(|node| *node != by) {
            self.send(Step::Hint(node, released));
        }
    }

    /// Carries out what a node decided.
    fn act(&mut self, node: usize) {
        while let Some(action) = self.nodes[node].lease.poll_action() {
            match action {
                Action::Start(operation) => {
                    assert!(self.nodes[node].under_way.is_none(), "one operation at a time");
                    let n = self.number();
                    self.operations.insert(n, operation);
                    self.nodes[node].under_way = Some(n);
                    self.push(self.now + LIMIT, Step::GiveUp(node, n));
                    self.send(Step::Serve(node, n));
                }
                Action::Acquired { revision, until } => {
                    assert!(self.terms.last().is_none_or(|last| *last < revision), "tokens grow");
                    self.terms.push(revision);
                    self.grant(node, until);
                }
                Action::Extended { until } => self.grant(node, until),
                Action::Lost(_) => self.nodes[node].tenure = 0,
            }
        }
        let Some(due) = self.nodes[node].lease.poll_timeout().map(millis) else { return };
        if self.nodes[node].timer.is_none_or(|timer| due < timer) {
            self.nodes[node].timer = Some(due);
            self.push(due.max(self.now), Step::Timer(node));
        }
    }

    /// A node may act: no other one may.
    fn grant(&mut self, node: usize, until: Timestamp) {
        for (other, held) in self.nodes.iter().enumerate() {
            assert!(other == node || held.tenure <= self.now, "{other} until {}, and {node}", held.tenure);
        }
        self.nodes[node].tenure = millis(until);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]
    #[test]
    fn one_acts_at_a_time_and_one_does_once_the_faults_are_over(seed in any::<u64>()) {
        let mut world = World::new(seed);
        // A process stands still for at most 4 s; then another lease has to run out.
        world.run(FAULTS + 4000 + 6000);
        let holders = world.nodes.iter().filter(|node| node.tenure > world.now).count();
        prop_assert_eq!(holders, 1);
        prop_assert!(!world.terms.is_empty());
    }
}
