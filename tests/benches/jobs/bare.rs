//! The floor: what fork and a wasmtime call cost without any of us, in a process of its own that has linked the same
//! artifact and has one thread that does anything.

use pvf_tests::bench::{deep, empty_input, linked, median, quantile};
use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::Instant,
};

/// First argument of the process.
const ARGUMENT: &str = "--bare";

/// What it found out, microseconds.
#[derive(Debug, Clone, Copy)]
pub struct Bare {
    /// A call in a fresh instance, median.
    pub call: f64,
    /// A fork that makes such a call and ends, from fork to wait, median.
    pub fork: f64,
    /// The same, what 99 of 100 do not exceed.
    pub fork_p99: f64,
    /// CPU time of one, parent and child together, mean.
    pub fork_cpu: f64,
}

/// Runs one, or several at the same time, of so many calls each.
pub fn measure(artifact: &Path, calls: u64, at_once: usize) -> Vec<Bare> {
    let us = std::env::current_exe().expect("a path");
    let start = |_| -> Child {
        let mut command = Command::new(&us);
        command.arg(ARGUMENT).arg(artifact).arg(calls.to_string()).stdout(Stdio::piped());
        command.spawn().expect("a process")
    };
    let children: Vec<_> = (0..at_once).map(start).collect();
    let read = |child: Child| {
        let output = child.wait_with_output().expect("its figures");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let figures: Vec<f64> = text.split_whitespace().map(|figure| figure.parse().expect("a figure")).collect();
        let [call, fork, fork_p99, fork_cpu] = figures[..] else { panic!("it said {text:?}") };
        Bare { call, fork, fork_p99, fork_cpu }
    };
    children.into_iter().map(read).collect()
}

/// Whether this process is one, and then all that it does.
pub fn run_if_asked() -> bool {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [first, artifact, calls] = &args[..] else { return false };
    if first != ARGUMENT {
        return false;
    }
    let artifact = std::fs::read(artifact).expect("an artifact");
    let calls = calls.parse().expect("a number");
    let Bare { call, fork, fork_p99, fork_cpu } = deep(move || floor(&artifact, calls)).join().expect("figures");
    println!("{call} {fork} {fork_p99} {fork_cpu}");
    true
}

fn floor(artifact: &[u8], calls: u64) -> Bare {
    let (runtime, input) = (linked(artifact), empty_input());
    let call = || runtime.validate_block(&input).is_ok();
    let forked = || {
        // SAFETY: the other thread of this process waits for this one and holds no lock that a call needs.
        unsafe {
            match libc::fork() {
                0 => libc::_exit(i32::from(!call())),
                child => {
                    let mut status = 0;
                    assert_eq!((libc::waitpid(child, &raw mut status, 0), status), (child, 0), "a call failed");
                }
            }
        }
    };
    let times = |what: &dyn Fn()| -> Vec<f64> {
        let one = || {
            let start = Instant::now();
            what();
            start.elapsed().as_secs_f64() * 1e6
        };
        (0..calls).map(|_| one()).collect()
    };
    // Once for the pages that each touches first.
    assert!(call());
    forked();
    let mut calls_us = times(&|| assert!(call()));
    let before = cpu_us();
    let mut forks_us = times(&forked);
    let fork_cpu = (cpu_us() - before) / calls as f64;
    let fork_p99 = quantile(&mut forks_us, 990);
    Bare { call: median(&mut calls_us), fork: median(&mut forks_us), fork_p99, fork_cpu }
}

/// CPU time of this process and of its children that have ended, microseconds.
fn cpu_us() -> f64 {
    [libc::RUSAGE_SELF, libc::RUSAGE_CHILDREN]
        .map(|who| {
            // SAFETY: all zeroes is a value, and the call only writes to it.
            let usage = unsafe {
                let mut usage = std::mem::zeroed::<libc::rusage>();
                libc::getrusage(who, &raw mut usage);
                usage
            };
            let us = |time: libc::timeval| time.tv_sec as f64 * 1e6 + time.tv_usec as f64;
            us(usage.ru_utime) + us(usage.ru_stime)
        })
        .iter()
        .sum()
}
