//! A preparation, inside its process.

use super::{
    allocator,
    failure::Failure,
    process::set_limit,
    progress,
    protocol::{JobReply, PrepareRequest},
    reply::{panic_text, write_reply},
    time_slice,
};
use crate::{
    sandbox::{self, Limits},
    wasm::{CallError, Compiled, Runtime, compile, decompress_code, functions, instrument, prevalidate},
};
use pvf_shared::{
    Bytes,
    verdict::{PrepareError, clean_reason},
};
use sp_wasm_interface::HostFunctions;
use std::{
    fs::File,
    os::fd::OwnedFd,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// Prepares and replies.
pub(super) fn run<H: HostFunctions>(request: &PrepareRequest, reply_to: OwnedFd) -> Result<(), Failure> {
    set_limit(libc::RLIMIT_CPU, request.cpu_seconds).map_err(Failure::system("CPU limit"))?;
    time_slice::request_long_slices();
    // The code is in memory, but has not been looked at. Threads that are started later inherit the sandbox.
    sandbox::lock_preparation(request.sandbox, &Limits::preparation(&request.params, request.threads))
        .map_err(|error| Failure::Sandbox(error.to_string()))?;
    let result = catch_unwind(AssertUnwindSafe(|| artifact::<H>(request)))
        .unwrap_or_else(|panic| Err(PrepareError::JobError(clean_reason(&panic_text(&*panic)))));
    let (reply, artifact) = match result {
        Ok((Compiled { code, has_start }, decompressed)) => {
            let (len, heap) = (code.len() as u64, allocator::peak());
            (JobReply::Prepared { len, has_start, heap, decompressed }, code)
        }
        Err(error) => (JobReply::PrepareFailed(error), Bytes::new()),
    };
    write_reply(&mut File::from(reply_to), &reply, &artifact)
}

/// Starts the threads of the compiler, if there are to be several.
pub(super) fn start_threads(threads: u32) -> Result<(), PrepareError> {
    if threads > 1 {
        // wasmtime compiles on this pool. The default pool panics when a thread cannot be started, and a panic would
        // be attributed to the code.
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads as usize)
            .start_handler(|_| progress::count_on_this_thread())
            .build_global();
        pool.map_err(|e| PrepareError::Kernel(format!("threads for the compiler: {e}")))?;
    }
    Ok(())
}

/// The artifact, and the size of the decompressed code.
fn artifact<H: HostFunctions>(request: &PrepareRequest) -> Result<(Compiled, u64), PrepareError> {
    progress::count_on_this_thread();
    start_threads(request.threads)?;
    if let Some(limit) = request.params.prechecking_max_memory()
        && !allocator::arm(limit)
    {
        let why = "PrecheckingMaxMemory is set, but this executable was built without pvf_worker::JobAllocator";
        return Err(PrepareError::Kernel(why.into()));
    }
    let code = decompress_code(&request.code, request.bomb_limit)?;
    let module = prevalidate(&code, request.threads)?;
    let decompressed = code.len() as u64;
    drop(code);
    let instrumented = instrument(module, &request.params, request.threads)?;
    progress::begin(functions(&instrumented));
    let artifact = compile(&instrumented, &request.params, request.baseline, request.threads)?;
    drop(instrumented);
    if request.precheck {
        // SAFETY: the compiler in this process has just made it.
        unsafe { Runtime::from_bytes::<H>(&artifact, &request.params, request.baseline) }.map_err(
            |error| match error {
                CallError::Machine(why) => PrepareError::Kernel(why),
                CallError::Construction(why) | CallError::Invalid(why) | CallError::HostPanic(why) => {
                    PrepareError::RuntimeConstruction(why)
                }
            },
        )?;
    }
    Ok((artifact, decompressed))
}
