//! The tokio runtime of the fleet's executables.

use std::{io::Result, sync::Mutex, thread};
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

fn of_threads(threads: usize) -> Result<Runtime> {
    // The runtime panics when it gets no thread, and may then wait for ever for those that it got.
    try_threads(threads)?;
    Builder::new_multi_thread().worker_threads(threads).enable_all().build()
}

/// Whether so many more threads can exist at the same time.
fn try_threads(threads: usize) -> Result<()> {
    let gate = Mutex::new(());
    thread::scope(|scope| {
        let closed = gate.lock();
        let start = || thread::Builder::new().spawn_scoped(scope, || drop(gate.lock())).map(drop);
        let started = (0..threads).try_for_each(|_| start());
        drop(closed);
        started
    })
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
