//! What the benches share: preconditions, argument parsers, quantiles, and the bare wasmtime calls that they compare
//! with.

pub mod jobs;

use pvf_shared::{
    Bytes,
    candidate::{ValidationParams, encode_params},
    params::ExecutorParams,
};
use pvf_testkit::{nats, processes};
use pvf_worker::wasm::{self, Compiled, CpuBaseline, Runtime};
use std::time::{Duration, Instant};

/// What a bench cannot run without.
#[derive(Debug, Clone, Copy)]
pub enum Need {
    /// A `nats-server`, on the PATH or in `PVF_NATS_SERVER`.
    NatsServer,
    /// An executable of this workspace.
    Binary(&'static str),
}

/// What a fleet of processes needs.
pub const FLEET: [Need; 4] = [
    Need::NatsServer,
    Need::Binary("pvf-coordinator"),
    Need::Binary("pvf-prepare-worker"),
    Need::Binary("pvf-execute-worker"),
];

/// Prints an error for each need that is not met; then the program must end with exit code [`UNUSABLE`]. A bench calls
/// this first, so that it does not fail after minutes of measuring.
#[must_use]
pub fn has_all(needs: impl IntoIterator<Item = Need>) -> bool {
    let missing = needs.into_iter().filter_map(|need| {
        let found = match need {
            Need::NatsServer => nats::server_path(),
            Need::Binary(name) => processes::find_binary(name),
        };
        found.err()
    });
    missing.inspect(|why| eprintln!("error: {why}")).count() == 0
}

/// Exit code of a program that was started with wrong arguments, or cannot run here.
pub const UNUSABLE: u8 = 2;

/// Parses a count of at least 1, such as `1_000_000`.
pub fn positive(text: &str) -> Result<u64, String> {
    let count = text.replace('_', "").parse().ok().filter(|count| *count > 0);
    count.ok_or_else(|| "a whole number of at least 1 is required".into())
}

/// The value that this many of a thousand do not exceed. Sorts the values.
pub fn quantile(values: &mut [f64], permille: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    values[(values.len() * permille / 1000).min(values.len() - 1)]
}

/// The median. Sorts the values.
pub fn median(values: &mut [f64]) -> f64 {
    quantile(values, 500)
}

/// Runs a closure on a thread whose stack is larger than what the guest may use.
pub fn on_deep_stack<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> std::thread::JoinHandle<T> {
    std::thread::Builder::new().stack_size(512 << 20).spawn(run).expect("a thread")
}

/// Compiles this code by the bare wasmtime calls.
pub fn compiled(code: &[u8]) -> Vec<u8> {
    let module = wasm::prevalidate(code, 1).expect("valid code");
    let compiled = wasm::prepare(module, &ExecutorParams::default(), CpuBaseline::of_this_machine(), 1);
    compiled.expect("code that compiles").code.to_vec()
}

/// The encoded parameters of a bare call.
pub fn empty_input() -> Vec<u8> {
    let params = ValidationParams {
        parent_head: vec![],
        block_data: vec![],
        relay_parent_number: 1,
        relay_parent_storage_root: [0; 32],
    };
    encode_params(&params, None)
}

/// Links an artifact that this process compiled.
pub fn linked(artifact: &[u8]) -> Runtime {
    // The guests of benches have no start function.
    let compiled = Compiled { code: Bytes::copy_from_slice(artifact), has_start: false };
    // SAFETY: the artifact was compiled by this process.
    let runtime =
        unsafe { Runtime::from_bytes::<()>(&compiled, &ExecutorParams::default(), CpuBaseline::of_this_machine()) };
    runtime.expect("an artifact that links")
}

/// Time of `n` bare calls, each in a fresh instance.
pub fn bare(artifact: &[u8], n: u64) -> Duration {
    let (runtime, input) = (linked(artifact), empty_input());
    let start = Instant::now();
    for _ in 0..n {
        runtime.validate_block(&input).expect("valid");
    }
    start.elapsed()
}

/// Rounds of the guest [`pvf_guests::corpus::busy`] that take this long on an idle machine, by the shortest of several
/// attempts.
pub fn calibrate(ms: u64) -> u64 {
    let probe = 2_000_000;
    let artifact = compiled(&pvf_guests::corpus::busy(probe));
    let shortest = move || (0..20).map(|_| bare(&artifact, 1)).min().unwrap_or_default();
    let took = on_deep_stack(shortest).join().expect("a time");
    (probe as f64 * ms as f64 / 1000.0 / took.as_secs_f64()) as u64
}

/// Time of this many bare calls on two cores, half of them on each.
pub fn bare_on_two_cores(artifact: &[u8], n: u64) -> Duration {
    let threads = [n / 2, n - n / 2].map(|n| {
        let artifact = artifact.to_vec();
        on_deep_stack(move || bare(&artifact, n))
    });
    threads.map(|t| t.join().expect("a time")).into_iter().max().unwrap_or_default()
}
