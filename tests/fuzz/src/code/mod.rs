//! Validation code: any bytes, modules of wasm-smith, and modules that call host functions with odd arguments, through
//! real prepare and execute processes as a worker starts them.
//!
//! Whatever the code is, no verdict is an infrastructure failure, and a second run gives the same verdict; preparing
//! twice, on one thread and on two, gives the same bytes; the parser and the instrumentation give the same result in
//! this process, where the fuzzer sees their coverage, as in the job's.

mod calls;
mod host;
mod jobs;
mod smith;

use crate::Seeds;
use jobs::Jobs;
use pvf_guests::corpus;
use pvf_shared::{
    Bytes,
    params::{ExecutorParam, ExecutorParams, HostFunctionSet},
    verdict::PrepareError,
};
use pvf_worker::{supervise::Prepared, wasm};

/// Largest decompressed code, bytes.
const BOMB_LIMIT: u32 = 1 << 20;
/// First bytes of compressed data.
const COMPRESSED: [u8; 8] = [0x52, 0xbc, 0x53, 0x76, 0x46, 0xdb, 0x8e, 0x05];

/// Must be called first: if this process was started for a job, it runs the job and ends.
pub fn job_if_asked() {
    // A panic must abort the fuzzer, but not a job.
    let hook = std::panic::take_hook();
    // SAFETY: this process has no handler for the signal. Rust's runtime would ignore it, too, but `main` is
    // libFuzzer's.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    pvf_worker::run_job_if_asked::<()>();
    std::panic::set_hook(hook);
    // Job processes end with the thread that starts them, so one thread starts all of them.
    pvf_worker::supervise::start_spawner();
}

/// An input: the first three bytes select how the others are read.
struct Input {
    code: Vec<u8>,
    params: ExecutorParams,
    /// Whether it is prechecked, too.
    precheck: bool,
    /// Whether it is prepared a second time.
    twice: bool,
    pov: Bytes,
}

fn read(bytes: &[u8]) -> Option<Input> {
    let (&[form, params, how], rest) = bytes.split_first_chunk()?;
    let code = match form % 4 {
        0 => rest.to_vec(),
        1 | 2 => smith::module(form / 4, rest)?,
        _ => calls::module(rest),
    };
    let pov = match how % 8 {
        0..=3 => Bytes::from_static(b"block"),
        4 => Bytes::new(),
        5 => Bytes::copy_from_slice(&rest[..rest.len().min(256)]),
        // Marked as compressed, but not compressed data.
        6 => [&COMPRESSED[..], &rest[..rest.len().min(64)]].concat().into(),
        _ => sp_maybe_compressed_blob::compress_weakly(&[0; 5000], 10_000).expect("it can be compressed").into(),
    };
    Some(Input { code, params: executor_params(params), precheck: how & 8 != 0, twice: how & 48 == 48, pov })
}

/// Executor parameters as a session may have them.
fn executor_params(n: u8) -> ExecutorParams {
    let list = match n % 8 {
        1 => vec![ExecutorParam::StackLogicalMax(1024)],
        2 => vec![ExecutorParam::MaxMemoryPages(1)],
        3 => vec![ExecutorParam::WasmExtBulkMemory],
        4 => vec![ExecutorParam::EnabledHostFunction(HostFunctionSet::EccRfc163)],
        5 => vec![ExecutorParam::PrecheckingMaxMemory(256 << 20)],
        6 => vec![ExecutorParam::StackNativeMax(8 << 20)],
        _ => vec![],
    };
    let params = ExecutorParams(list);
    params.check_consistency().expect("valid parameters");
    params
}

/// The result of all steps before compiling, in this process. Panics unless it is the same on one thread and on two.
fn here(input: &Input) -> Result<(), PrepareError> {
    let code = wasm::decompress_code(&input.code, BOMB_LIMIT)?;
    let [one, two] = [1, 2].map(|threads| wasm::instrument(wasm::prevalidate(&code, threads)?, &input.params, threads));
    assert_eq!(one, two, "another result on two threads");
    one.map(drop)
}

/// One input.
pub fn run(bytes: &[u8]) {
    let Some(input) = read(bytes) else { return };
    let here = here(&input);
    let jobs = Jobs::get();
    let prepared = jobs.prepare(&input, false, 1);
    match (&here, &prepared) {
        (Err(here), Prepared::Failed(there)) => assert_eq!(here, there, "the job refuses it for another reason"),
        (Err(here), _) => panic!("refused here ({here}), but not in a job: {prepared:?}"),
        (Ok(()), Prepared::Failed(PrepareError::Prevalidation(_) | PrepareError::CouldNotDecompress(_))) => {
            panic!("accepted here, but not in a job: {prepared:?}")
        }
        (Ok(()), _) => {}
    }
    if input.twice {
        // The number of threads must not matter.
        assert!(jobs.prepare(&input, false, 2) == prepared, "prepared twice, with different results");
    }
    let checked = input.precheck.then(|| jobs.prepare(&input, true, 1));
    let Prepared::Artifact(artifact) = prepared else {
        assert!(checked.is_none_or(|checked| checked == prepared), "a precheck gives another result");
        return;
    };
    let outcome = jobs.execute_twice(&input, &artifact);
    if let Some(Prepared::Failed(error)) = checked {
        let link = matches!(error, PrepareError::RuntimeConstruction(_));
        assert!(link && jobs::is_construction(&outcome), "prechecked: {error}; executed: {outcome:?}");
    }
}

/// Describes an input.
pub fn show(bytes: &[u8]) -> String {
    let Some(input) = read(bytes) else { return "no module".into() };
    let form = ["bytes", "wasm-smith", "wasm-smith", "calls"][usize::from(bytes[0] % 4)];
    let hex: String = input.code.iter().map(|byte| format!("{byte:02x}")).collect();
    let Input { params, precheck, twice, pov, code } = &input;
    format!(
        "{form}: {} bytes, {params:?}, precheck {precheck}, twice {twice}, PoV of {} bytes\nhere: {:?}\nmodule: {hex}",
        code.len(),
        pov.len(),
        here(&input)
    )
}

/// Short guests of the corpus, and random bytes for the generators.
pub fn seeds() -> Seeds {
    let mut seeds = Vec::new();
    for (n, case) in corpus::all().iter().enumerate() {
        let code = (case.wasm)();
        if code.len() < 1500 && n % 4 == 0 {
            seeds.push((case.name.to_owned(), [&[0, 0, (n as u8) << 3], &code[..]].concat()));
        }
    }
    for n in 0..24_u8 {
        let mut rng = fastrand::Rng::with_seed(n.into());
        let rest: Vec<u8> = (0..100 + usize::from(n) * 40).map(|_| rng.u8(..)).collect();
        let head = [n.wrapping_mul(37) | 1, n, n.wrapping_mul(11)];
        seeds.push((format!("generated {n}"), [&head, &rest[..]].concat()));
    }
    seeds
}
