//! The tokio runtime of the fleet's executables.

use crate::telemetry;
use std::{io::Result, panic, sync::Mutex, thread, time::Duration};
use tokio::runtime::{Builder, Runtime};

/// Cores per thread of the runtime; the jobs use the other cores. With fewer cores a second thread costs more, by
/// wake-ups between the threads, than it gains.
const CORES_PER_THREAD: usize = 4;

/// A runtime with one thread for every four cores, which leaves the cores to the jobs.
///
/// # Errors
/// The machine refuses descriptors or threads.
pub fn runtime() -> Result<Runtime> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    match cores.div_ceil(CORES_PER_THREAD) {
        1 => Builder::new_current_thread().enable_all().build(),
        threads => of_threads(threads),
    }
}

/// A runtime with one thread for every core, for a process whose requests are short.
///
/// # Errors
/// The machine refuses descriptors or threads.
pub fn runtime_on_all_cores() -> Result<Runtime> {
    of_threads(thread::available_parallelism().map_or(1, usize::from))
}

/// Exit code of the fleet's executables when the machine refuses what they need.
const REFUSED: i32 = 3;

fn of_threads(threads: usize) -> Result<Runtime> {
    try_threads(threads)?;
    // Another process may take the last thread meanwhile. Then tokio panics, and its unwinding may hang, waiting for
    // the threads that it got: the process ends before that.
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|panic| {
        telemetry::to_stderr(format_args!("error: async runtime: {panic}"));
        #[expect(clippy::disallowed_methods, reason = "unwinding would hang; nothing is open yet")]
        std::process::exit(REFUSED)
    }));
    let built = Builder::new_multi_thread().worker_threads(threads).enable_all().build();
    panic::set_hook(hook);
    built
}

/// How long the kernel may take until it counts a thread no longer that has ended, in milliseconds.
const UNCOUNTED_WITHIN: u32 = 1000;

/// Whether so many more threads can exist at the same time. They have ended, and are counted no longer, when this
/// returns.
fn try_threads(threads: usize) -> Result<()> {
    let before = count_threads();
    let gate = Mutex::new(());
    thread::scope(|scope| {
        let closed = gate.lock();
        let start = || thread::Builder::new().spawn_scoped(scope, || drop(gate.lock())).map(drop);
        let started = (0..threads).try_for_each(|_| start());
        drop(closed);
        started
    })?;
    // A thread that was joined is counted for a moment longer.
    for _ in 0..UNCOUNTED_WITHIN {
        if count_threads() <= before {
            break;
        }
        thread::park_timeout(Duration::from_millis(1));
    }
    Ok(())
}

/// The threads of this process; none where `/proc` cannot be read.
fn count_threads() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_that_the_machine_gives_are_given_back() {
        for threads in [0, 1, 5] {
            try_threads(threads).unwrap();
        }
        runtime_on_all_cores().unwrap().block_on(async {});
    }
}
