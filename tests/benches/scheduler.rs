//! `pvf-bench-scheduler`: the scheduler alone, on one core, with very long queues. Prints events a second, the
//! slowest operation, memory a queued request, and how the cost of an event grows with the length of the queue.

mod account;

use account::{Account, Long};
use pvf_coordinator::scheduler::{
    Answer, Command, Delivery, Effect, Event, Limit, Moment, Policy, READ_AHEAD, Scheduler, SchedulerConfig,
};
use pvf_shared::{
    Bytes,
    config::Timing,
    ids::{BlobHash, CodeHash, EngineId, FencingToken, NodeId, RequestId, ValidationKey, WorkerId},
    job::{ArtifactInfo, BlobRef, ExecuteOutcome, JobOutcome, JobUsage},
    params::ExecutorParams,
    priority::ExecuteKind,
    store::{Found, seal::Mac},
    wire::{
        CodeRef, Dispatch, ExecuteSubmission, Heartbeat, JobReport, RunningJob, SecurityStatus, Submission,
        SubmitReply, ToWorker, Work, WorkerHello, WorkerKind,
    },
};
use pvf_tests::ask::context;
use std::{
    alloc::{GlobalAlloc, Layout, System},
    collections::VecDeque,
    process::ExitCode,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};
use uuid::Uuid;

const USAGE: &str =
    "usage: pvf-bench-scheduler [--queued N] [--workers N] [--artifacts N] [--events N] [--only] [--json]
Measures with 1000, 10000, 100000 and --queued requests in the queue; with --only just the last.";

/// An operation that took so long is looked at: was it the scheduler, or was the thread not running?
const LONG: Duration = Duration::from_millis(1);
/// So many of those that were busy so long are shown.
const SHOWN: usize = 10;
/// Memory that is reserved for each queued request, bytes.
const RESERVE: usize = 1280;
/// How often the thread's account is read; a long operation is charged with all since it was read last.
const ACCOUNT_EVERY: usize = 32;

/// Counts what is allocated.
struct Counting;

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);

// SAFETY: hands everything on to the system's allocator and only counts.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[derive(Clone, Copy)]
struct Size {
    queued: u64,
    workers: u64,
    artifacts: u64,
    events: u64,
}

struct Bench {
    scheduler: Scheduler,
    now: Moment,
    /// What the scheduler is told next.
    inbox: VecDeque<Event>,
    effects: VecDeque<Effect>,
    running: VecDeque<(WorkerId, RunningJob)>,
    size: Size,
    next: u64,
    /// Time spent in the scheduler, events it handled, and the slowest of them.
    spent: Duration,
    handled: u64,
    slow: Vec<Duration>,
    account: Account,
    long: Vec<Long>,
}

fn request(n: u64) -> RequestId {
    // As version 7 has it: the time first, chance behind.
    RequestId(Uuid::from_u128((u128::from(n) << 80) | u128::from(n.wrapping_mul(0x9e37_79b9_7f4a_7c15))))
}

fn worker(n: u64) -> WorkerId {
    WorkerId(Uuid::from_u128(u128::from(n) << 64 | 7))
}

fn node(n: u64) -> NodeId {
    NodeId(Uuid::from_u128(u128::from(n) << 64 | 9))
}

fn hello(n: u64, kind: WorkerKind) -> WorkerHello {
    WorkerHello {
        worker: worker(n),
        kind,
        slots: 2,
        engine: EngineId::parse("wt36.0.20-x86_64-v3-0011223344556677").expect("an engine"),
        host: format!("host{}", n / 4),
        version: "bench".into(),
        cpu_baseline: "v3".into(),
        security: SecurityStatus::default(),
        holds: vec![],
        running: vec![],
    }
}

impl Bench {
    fn new(size: Size) -> Self {
        let large = Limit { requests: u64::MAX, bytes: u64::MAX };
        let policy = Policy {
            per_kind: large,
            per_client: large,
            client_silence: Duration::from_secs(1_000_000),
            ..Policy::default()
        };
        let now = Moment::at(Duration::from_secs(1_700_000_000));
        let config = SchedulerConfig {
            token: FencingToken(1),
            timing: Timing { worker_silence: Duration::from_secs(1_000_000), ..Timing::default() },
            policy,
            version: "bench".into(),
        };
        Self {
            scheduler: Scheduler::new(config, now),
            now,
            inbox: VecDeque::new(),
            effects: VecDeque::new(),
            running: VecDeque::new(),
            size,
            next: 0,
            spent: Duration::ZERO,
            handled: 0,
            slow: Vec::new(),
            account: Account::read(),
            long: Vec::new(),
        }
    }

    /// Tells the scheduler all that there is to tell, as many at a time as the driver takes out of its channel.
    fn tell(&mut self, least: usize) {
        while self.inbox.len() >= least {
            let batch: Vec<Event> = self.inbox.drain(..self.inbox.len().min(READ_AHEAD)).collect();
            self.operation(|scheduler| scheduler.read_ahead(&batch));
            for event in batch {
                self.now = self.now.after(Duration::from_micros(1));
                let now = self.now;
                self.operation(|scheduler| scheduler.handle(event, now));
                self.handled += 1;
                while self.scheduler.poll_timeout().is_some_and(|due| due <= now) {
                    self.operation(|scheduler| scheduler.handle_timeout(now));
                }
            }
            self.answer();
        }
    }

    fn operation(&mut self, operation: impl FnOnce(&mut Scheduler)) {
        if self.slow.len().is_multiple_of(ACCOUNT_EVERY) {
            self.account = Account::read();
        }
        let started = Instant::now();
        operation(&mut self.scheduler);
        while let Some(effect) = self.scheduler.poll_effect() {
            self.effects.push_back(effect);
        }
        let took = started.elapsed();
        self.spent += took;
        self.slow.push(took);
        if took > LONG {
            self.long.push(Long::since(self.account, took));
        }
    }

    /// Answers what the scheduler wants, but for jobs, which stay at their workers until told to end.
    fn answer(&mut self) {
        while let Some(effect) = self.effects.pop_front() {
            match effect {
                Effect::LookUp { artifact } => {
                    let found = Ok(Some(Found::Prepared(ArtifactInfo { bytes: 1000, mac: Mac([1; 32]) })));
                    self.inbox.push_back(Event::LookedUp { artifact, found });
                }
                Effect::ToWorker { worker, message: ToWorker::Dispatch(dispatch) } => {
                    let Dispatch { token, job, attempt, .. } = *dispatch;
                    self.running.push_back((worker, RunningJob { token, job, attempt }));
                    let delivery = Delivery::Taken;
                    let command = Command::Dispatch;
                    self.inbox.push_back(Event::Delivered { worker, job, attempt, command, delivery });
                }
                Effect::ToWorker { worker, message: ToWorker::Recall { job, attempt, .. } } => {
                    let delivery = Delivery::Refused("it has begun".into());
                    let command = Command::Recall;
                    self.inbox.push_back(Event::Delivered { worker, job, attempt, command, delivery });
                }
                Effect::Reply { answer: Answer::Submit(SubmitReply::Refused(why)), .. } => panic!("refused: {why}"),
                _ => {}
            }
        }
    }

    /// The submission of request `n`; made outside of the time that is measured.
    fn submission(&self, n: u64) -> (Box<Submission>, Option<ValidationKey>) {
        let code = n.wrapping_mul(0x9e37_79b9) % self.size.artifacts;
        let mut hash = [0; 32];
        hash[..8].copy_from_slice(&code.to_le_bytes());
        let mut block = [0; 32];
        block[..8].copy_from_slice(&n.to_le_bytes());
        let work = ExecuteSubmission {
            kind: ExecuteKind::ALL[(n % 4) as usize],
            context: context(&b"parent head"[..]),
            // Each is another one: none joins an execution that is under way.
            block_data: BlobRef::Stored { hash: BlobHash(block), len: n },
            pov_bomb_limit: 1000,
            exec_timeout: None,
            relay_leaf: (n % 4 > 1).then_some([(n % 13) as u8; 32]),
            fresh: false,
        };
        let submission = Submission {
            id: request(n),
            node: node(n % 300),
            code: CodeRef { hash: CodeHash(hash), blob: BlobRef::Stored { hash: BlobHash(hash), len: 5 } },
            code_bomb_limit: 1000,
            executor_params: ExecutorParams::default(),
            prepare_timeout: None,
            answer_within: Duration::from_millis(10_000_000 + n.wrapping_mul(7919) % 1_000_000),
            work: Work::Execute(Box::new(work)),
        };
        let identity = submission.validation_key();
        (Box::new(submission), identity)
    }

    fn submit(&mut self) {
        self.next += 1;
        let (submission, identity) = self.submission(self.next);
        self.inbox.push_back(Event::Submit { submission, identity, reply: None });
    }

    fn finish_one(&mut self) {
        let Some((worker, RunningJob { token, job, attempt })) = self.running.pop_front() else { return };
        let result = ExecuteOutcome::Valid(BlobRef::Inline(Bytes::from_static(b"result")));
        let report = Box::new(JobReport {
            worker,
            token,
            job,
            attempt,
            outcome: JobOutcome::Execute(result),
            usage: JobUsage::default(),
        });
        self.inbox.push_back(Event::Report { report, reply: None });
    }

    /// Submits so many requests.
    fn submit_all(&mut self, requests: u64) {
        for n in 1..=requests {
            self.submit();
            self.tell(if n == requests { 1 } else { READ_AHEAD });
            // The measurements are not the scheduler's.
            self.slow.clear();
        }
    }

    /// Fills the fleet and the queue; gives memory a queued request, bytes.
    fn fill(&mut self) -> f64 {
        for n in 0..self.size.workers {
            let kind = if n % 10 == 0 { WorkerKind::Prepare } else { WorkerKind::Execute };
            self.inbox.push_back(Event::Hello { hello: hello(n, kind), reply: None });
            self.tell(1);
        }
        // Every worker is busy, and every artifact known, before memory is counted.
        let slots = (self.size.workers - self.size.workers.div_ceil(10)) * 3;
        self.submit_all(slots.max(self.size.artifacts));
        self.slow = Vec::new();
        self.effects.shrink_to_fit();
        let before = ALLOCATED.load(Ordering::Relaxed);
        self.submit_all(self.size.queued);
        self.slow.shrink_to(0);
        let after = ALLOCATED.load(Ordering::Relaxed);
        (after - before) as f64 / self.size.queued as f64
    }

    /// The steady state: a job ends, another request comes, and now and then a worker says that it is alive, a node
    /// asks or takes something back.
    fn run(&mut self) {
        (self.spent, self.handled) = (Duration::ZERO, 0);
        self.slow = Vec::with_capacity(self.size.events as usize * 2);
        self.long = Vec::new();
        let mut n = 0;
        while self.handled < self.size.events {
            n += 1;
            self.submit();
            self.finish_one();
            if n % 2 == 0 {
                let heartbeat = Heartbeat {
                    worker: worker(n % self.size.workers),
                    running: vec![],
                    draining: false,
                    holdings: vec![],
                };
                self.inbox.push_back(Event::Heartbeat { heartbeat, reply: None });
            }
            if n % 20 == 0 {
                let of = self.next - n % self.size.queued.max(1);
                self.inbox.push_back(Event::Ask { node: node(of % 300), requests: vec![request(of)], reply: None });
                self.inbox.push_back(Event::Cancel { request: request(of), node: node(of % 300), reply: None });
                // The queue stays as long as it is.
                self.submit();
            }
            self.tell(READ_AHEAD);
        }
    }
}

struct Figures {
    queued: u64,
    per_second: f64,
    slowest_us: f64,
    p999_us: f64,
    over_1ms: usize,
    long: Vec<Long>,
    bytes: f64,
}

impl Figures {
    /// Operations over 1 ms that kept the processor so long, the kernel's work for them counted or not.
    fn busy(&self) -> (usize, usize) {
        let over = |time: &dyn Fn(&Long) -> Duration| self.long.iter().filter(|long| time(long) > LONG).count();
        (over(&|long| long.cpu), over(&|long| long.user.min(long.cpu)))
    }
}

fn measure(size: Size) -> Figures {
    let mut bench = Bench::new(size);
    let bytes = bench.fill();
    bench.run();
    bench.slow.sort_unstable();
    let us = |d: Duration| d.as_secs_f64() * 1e6;
    Figures {
        queued: size.queued,
        per_second: bench.handled as f64 / bench.spent.as_secs_f64(),
        slowest_us: bench.slow.last().copied().map_or(0.0, us),
        p999_us: us(bench.slow[bench.slow.len() * 999 / 1000]),
        over_1ms: bench.long.len(),
        long: bench.long,
        bytes,
    }
}

/// Starts again with the allocator's setting that `compose/compose.yaml` gives the coordinator, unless one is given.
fn as_in_compose() {
    use std::os::unix::process::CommandExt as _;
    let (name, value) = ("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1:glibc.malloc.tcache_count=2000");
    if std::env::var_os(name).is_none()
        && let Ok(program) = std::env::current_exe()
    {
        let error = std::process::Command::new(program).args(std::env::args_os().skip(1)).env(name, value).exec();
        eprintln!("warning: cannot start again with {name}={value}: {error}");
    }
}

fn main() -> ExitCode {
    as_in_compose();
    let mut size = Size { queued: 1_000_000, workers: 10_000, artifacts: 5_000, events: 2_000_000 };
    let (mut json, mut only) = (false, false);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut number = || args.next().and_then(|n| n.replace('_', "").parse().ok()).filter(|n| *n > 0);
        let target = match arg.as_str() {
            "--json" => {
                json = true;
                continue;
            }
            "--only" => {
                only = true;
                continue;
            }
            "--queued" => &mut size.queued,
            "--workers" => &mut size.workers,
            "--artifacts" => &mut size.artifacts,
            "--events" => &mut size.events,
            _ => {
                eprintln!("error: {arg}: unknown\n{USAGE}");
                return ExitCode::from(2);
            }
        };
        let Some(value) = number() else {
            eprintln!("error: {arg}: a number of at least 1 is needed\n{USAGE}");
            return ExitCode::from(2);
        };
        *target = value;
    }
    // As a coordinator does whose queues may become so long.
    pvf_coordinator::memory::reserve(size.queued as usize * RESERVE);
    let mut sizes: Vec<u64> = [1_000, 10_000, 100_000].into_iter().filter(|n| *n < size.queued && !only).collect();
    sizes.push(size.queued);
    let mut lines = Vec::new();
    let mut first = 0.0;
    for queued in sizes {
        let f = measure(Size { queued, ..size });
        if first == 0.0 {
            first = f.per_second;
        }
        let (busy, busy_user) = f.busy();
        if json {
            lines.push(format!(
                "{{\"queued\":{},\"workers\":{},\"artifacts\":{},\"events_per_second\":{:.0},\"slowest_us\":{:.1},\"p999_us\":{:.1},\"over_1ms\":{},\"over_1ms_of_processor_time\":{},\"over_1ms_of_user_time\":{},\"bytes_per_queued_request\":{:.0}}}",
                f.queued, size.workers, size.artifacts, f.per_second, f.slowest_us, f.p999_us, f.over_1ms, busy, busy_user, f.bytes
            ));
        } else {
            println!(
                "{:>9} queued, {} workers, {} artifacts: {:>9.0} events/s ({:.2} x the cost at the shortest), slowest {:.0} us, 99.9 % under {:.1} us, {} over 1 ms ({busy} of them by processor time, {busy_user} without the kernel's), {:.0} bytes a queued request",
                f.queued,
                size.workers,
                size.artifacts,
                f.per_second,
                first / f.per_second,
                f.slowest_us,
                f.p999_us,
                f.over_1ms,
                f.bytes
            );
            for long in f.long.iter().filter(|long| long.cpu > LONG).take(SHOWN) {
                println!(
                    "          over 1 ms: {:.0} us by the clock; with up to {ACCOUNT_EVERY} others before it {:.0} us of processor time ({:.0} us outside of the kernel), {} page faults, {} switches to others",
                    long.wall.as_secs_f64() * 1e6,
                    long.cpu.as_secs_f64() * 1e6,
                    long.user.as_secs_f64() * 1e6,
                    long.faults,
                    long.switches
                );
            }
        }
    }
    if json {
        println!("[{}]", lines.join(","));
    }
    ExitCode::SUCCESS
}
