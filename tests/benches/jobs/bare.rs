//! The floor: what a fork and a wasmtime call cost without the product's code, in a process that has linked the same
//! artifact and has one working thread.

use pvf_tests::bench::{empty_input, linked, median, on_deep_stack, quantile};
use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::Instant,
};

/// Figures of one process, microseconds.
#[derive(Debug, Clone, Copy)]
pub struct Bare {
    /// A call in a fresh instance, median.
    pub call: f64,
    /// A fork that makes such a call and ends, from fork to wait, median.
    pub fork: f64,
    /// The same, 99th percentile.
    pub fork_p99: f64,
    /// CPU time of such a fork, parent and child together, mean.
    pub fork_cpu: f64,
}

/// Runs `at_once` processes at the same time, which make this many calls each.
pub fn measure(artifact: &Path, calls: u64, at_once: usize) -> Vec<Bare> {
    let this = std::env::current_exe().expect("the path of this executable");
    let start = |_| -> Child {
        let mut command = Command::new(&this);
        command.arg("--bare").arg(artifact).arg(calls.to_string()).stdout(Stdio::piped());
        command.spawn().expect("the process starts")
    };
    let children: Vec<_> = (0..at_once).map(start).collect();
    let read = |child: Child| {
        let output = child.wait_with_output().expect("the process ends");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let figures: Vec<f64> = text.split_whitespace().map(|figure| figure.parse().expect("a figure")).collect();
        let [call, fork, fork_p99, fork_cpu] = figures[..] else { panic!("the process printed {text:?}") };
        Bare { call, fork, fork_p99, fork_cpu }
    };
    children.into_iter().map(read).collect()
}

/// What such a process does.
pub fn run(artifact: &Path, calls: &str) {
    let artifact = std::fs::read(artifact).expect("the artifact");
    let calls = calls.parse().expect("a number of calls");
    let figures = on_deep_stack(move || floor(&artifact, calls)).join().expect("figures");
    let Bare { call, fork, fork_p99, fork_cpu } = figures;
    println!("{call} {fork} {fork_p99} {fork_cpu}");
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
    // The first of each touches pages that the others find mapped.
    assert!(call());
    forked();
    let mut calls_us = times(&|| assert!(call()));
    let before = cpu_us();
    let mut forks_us = times(&forked);
    let fork_cpu = (cpu_us() - before) / calls as f64;
    let fork_p99 = quantile(&mut forks_us, 990);
    Bare { call: median(&mut calls_us), fork: median(&mut forks_us), fork_p99, fork_cpu }
}

/// CPU time of this process and of its ended children, microseconds.
fn cpu_us() -> f64 {
    [libc::RUSAGE_SELF, libc::RUSAGE_CHILDREN]
        .map(|who| {
            // SAFETY: all zeroes is a valid value, and the call only writes to it.
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
