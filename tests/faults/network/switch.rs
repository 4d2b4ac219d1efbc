//! The switch between hosts.

use super::{
    host_of,
    namespace::{MTU, Namespace},
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// Where the destination is in the header of an IPv4 packet.
const DESTINATION: std::ops::Range<usize> = 16..20;
/// Packets that are taken from one device before the others have their turn.
const BURST: usize = 64;
/// The switch looks this often whether it shall end.
const TICK: Duration = Duration::from_millis(200);

/// What becomes of packets from one host to another.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Link {
    /// None arrives.
    pub cut: bool,
    /// This part of them does not arrive, 0 to 1.
    pub loss: f64,
    /// Those that arrive arrive so much later, in their order.
    pub delay: Duration,
}

struct Shared {
    hosts: usize,
    /// From each host to each.
    links: Mutex<Vec<Link>>,
    carried: AtomicU64,
    dropped: AtomicU64,
    ends: AtomicBool,
}

/// A switch. It ends when it is dropped.
pub struct Switch {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Switch {
    /// Between these hosts, each with its number.
    pub fn start(namespaces: &[Namespace]) -> Self {
        let devices: Vec<_> =
            namespaces.iter().map(|one| one.device.try_clone().expect("a descriptor is free")).collect();
        let hosts = devices.len();
        let shared = Arc::new(Shared {
            hosts,
            links: Mutex::new(vec![Link::default(); hosts * hosts]),
            carried: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            ends: AtomicBool::new(false),
        });
        let forwarder = Forwarder { devices, shared: shared.clone(), later: BinaryHeap::new(), number: 0 };
        let thread = thread::Builder::new().name("switch".into()).spawn(|| forwarder.run()).expect("a thread");
        Self { shared, thread: Some(thread) }
    }

    /// Changes what becomes of packets from one host to another.
    pub fn set(&self, from: usize, to: usize, link: Link) {
        let mut links = self.shared.links.lock().unwrap_or_else(PoisonError::into_inner);
        links[from * self.shared.hosts + to] = link;
    }

    /// Packets that were carried, and dropped because of a link's state or a full device.
    pub fn counts(&self) -> (u64, u64) {
        (self.shared.carried.load(Ordering::Relaxed), self.shared.dropped.load(Ordering::Relaxed))
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        self.shared.ends.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// A delayed packet: when it arrives, a number that keeps the order, where, and its bytes.
type Delayed = (Instant, u64, usize, Vec<u8>);

struct Forwarder {
    devices: Vec<OwnedFd>,
    shared: Arc<Shared>,
    later: BinaryHeap<Reverse<Delayed>>,
    number: u64,
}

impl Forwarder {
    fn run(mut self) {
        let mut buffer = vec![0; MTU];
        while !self.shared.ends.load(Ordering::Relaxed) {
            self.wait();
            for from in 0..self.devices.len() {
                for _ in 0..BURST {
                    let Ok(len) = rustix::io::read(&self.devices[from], &mut buffer) else { break };
                    self.forward(from, &buffer[..len]);
                }
            }
            self.deliver_delayed();
        }
    }

    /// Waits for a packet, or until a delayed one is due.
    fn wait(&self) {
        let due = self.later.peek().map(|Reverse((at, ..))| at.saturating_duration_since(Instant::now()));
        let timeout = Timespec::try_from(due.map_or(TICK, |due| due.min(TICK))).expect("a short time");
        let mut polled: Vec<_> = self.devices.iter().map(|device| PollFd::new(device, PollFlags::IN)).collect();
        // An error is a signal; the caller looks at every device anyway.
        let _ = poll(&mut polled, Some(&timeout));
    }

    fn forward(&mut self, from: usize, packet: &[u8]) {
        let is_v4 = packet.first().is_some_and(|byte| byte >> 4 == 4);
        let destination = packet.get(DESTINATION).filter(|_| is_v4).and_then(|it| it.try_into().ok());
        let Some(to) = destination.and_then(host_of).filter(|to| *to < self.devices.len()) else { return };
        let links = self.shared.links.lock().unwrap_or_else(PoisonError::into_inner);
        let link = links[from * self.shared.hosts + to];
        drop(links);
        if link.cut || (link.loss > 0.0 && fastrand::f64() < link.loss) {
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
        } else if link.delay.is_zero() {
            self.deliver(to, packet);
        } else {
            self.number += 1;
            self.later.push(Reverse((Instant::now() + link.delay, self.number, to, packet.to_vec())));
        }
    }

    fn deliver_delayed(&mut self) {
        while let Some(Reverse((at, ..))) = self.later.peek()
            && *at <= Instant::now()
        {
            let Some(Reverse((_, _, to, packet))) = self.later.pop() else { break };
            self.deliver(to, &packet);
        }
    }

    fn deliver(&self, to: usize, packet: &[u8]) {
        let counter = match rustix::io::write(&self.devices[to], packet) {
            Ok(_) => &self.shared.carried,
            Err(_) => &self.shared.dropped,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}
