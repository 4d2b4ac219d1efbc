//! The tokio runtime of the fleet's executables.

use std::io::Result;
use tokio::runtime::{Builder, Runtime};

/// Cores per thread of the runtime; the jobs use the other cores. With fewer cores a second thread costs more, by
/// wake-ups between the threads, than it gains.
const CORES_PER_THREAD: usize = 4;

/// A runtime with one thread for every four cores, which leaves the cores to the jobs.
pub fn runtime() -> Result<Runtime> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    match cores.div_ceil(CORES_PER_THREAD) {
        1 => Builder::new_current_thread().enable_all().build(),
        threads => Builder::new_multi_thread().worker_threads(threads).enable_all().build(),
    }
}
