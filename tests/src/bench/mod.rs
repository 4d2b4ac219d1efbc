//! What the benches share: arguments, medians, and the bare wasmtime calls that they compare with.

pub mod jobs;

use pvf_shared::{
    candidate::{ValidationParams, encode_params},
    params::ExecutorParams,
};
use pvf_worker::wasm::{self, CpuBaseline, Runtime};
use std::time::{Duration, Instant};

/// The number behind an argument.
pub fn argument(name: &str, default: u64) -> u64 {
    let mut args = std::env::args().skip_while(|a| a != name).skip(1);
    args.next().map_or(default, |v| v.parse().unwrap_or_else(|_| panic!("{name} takes a number")))
}

/// Whether an argument is there.
pub fn flag(name: &str) -> bool {
    std::env::args().any(|a| a == name)
}

/// The value that so many of a thousand do not exceed.
pub fn quantile(values: &mut [f64], permille: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    values[(values.len() * permille / 1000).min(values.len() - 1)]
}

/// The one in the middle.
pub fn median(values: &mut [f64]) -> f64 {
    quantile(values, 500)
}

/// On a thread whose stack is larger than what the guest may use.
pub fn deep<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> std::thread::JoinHandle<T> {
    std::thread::Builder::new().stack_size(512 << 20).spawn(run).expect("a thread")
}

/// This code, compiled.
pub fn compiled(code: &[u8]) -> Vec<u8> {
    let module = wasm::prevalidate(code, 1).expect("it parses");
    wasm::prepare(module, &ExecutorParams::default(), CpuBaseline::of_this_machine(), 1).expect("it compiles")
}

/// What a bare call is given.
pub fn empty_input() -> Vec<u8> {
    let params = ValidationParams {
        parent_head: vec![],
        block_data: vec![],
        relay_parent_number: 1,
        relay_parent_storage_root: [0; 32],
    };
    encode_params(&params, None)
}

/// An artifact of ours, linked.
pub fn linked(artifact: &[u8]) -> Runtime {
    // SAFETY: we compiled it ourselves just now.
    let runtime =
        unsafe { Runtime::from_bytes::<()>(artifact, &ExecutorParams::default(), CpuBaseline::of_this_machine()) };
    runtime.expect("it links")
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

/// So many rounds of the guest [`pvf_guests::corpus::busy`] take this long where nothing else runs: the shortest of
/// several tries.
pub fn calibrate(ms: u64) -> u64 {
    let probe = 2_000_000;
    let artifact = compiled(&pvf_guests::corpus::busy(probe));
    let shortest = move || (0..20).map(|_| bare(&artifact, 1)).min().unwrap_or_default();
    let took = deep(shortest).join().expect("a time");
    (probe as f64 * ms as f64 / 1000.0 / took.as_secs_f64()) as u64
}

/// Time that two cores need for so many bare calls, half of them each.
pub fn bare_on_two_cores(artifact: &[u8], n: u64) -> Duration {
    let threads = [n / 2, n - n / 2].map(|n| {
        let artifact = artifact.to_vec();
        deep(move || bare(&artifact, n))
    });
    threads.map(|t| t.join().expect("a time")).into_iter().max().unwrap_or_default()
}
