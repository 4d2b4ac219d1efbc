//! A preparation, inside its process.

use super::{
    allocator,
    protocol::{Preparation, Reply},
};
use crate::wasm::{Runtime, decompress_code, prepare, prevalidate};
use pvf_shared::verdict::PrepareError;
use sp_wasm_interface::HostFunctions;

/// The reply, and the artifact if there is one.
pub(super) fn run<H: HostFunctions>(job: &Preparation) -> (Reply, Vec<u8>) {
    match artifact::<H>(job) {
        Ok(artifact) => (Reply::Prepared { len: artifact.len() as u64 }, artifact),
        Err(error) => (Reply::PrepareFailed(error), Vec::new()),
    }
}

fn artifact<H: HostFunctions>(job: &Preparation) -> Result<Vec<u8>, PrepareError> {
    if job.threads > 1 {
        // wasmtime compiles on this pool. Left to itself, the pool panics when a thread cannot be started, and a
        // panic would count as the code's doing.
        let pool = rayon::ThreadPoolBuilder::new().num_threads(job.threads as usize).build_global();
        pool.map_err(|e| PrepareError::Kernel(format!("threads for the compiler: {e}")))?;
    }
    if let Some(limit) = job.params.prechecking_max_memory()
        && !allocator::arm(limit)
    {
        let why = "PrecheckingMaxMemory is set, but this executable was built without pvf_worker::JobAllocator";
        return Err(PrepareError::Kernel(why.into()));
    }
    let code = decompress_code(&job.code, job.bomb_limit)?;
    let module = prevalidate(&code, job.threads)?;
    drop(code);
    let artifact = prepare(module, &job.params, job.baseline, job.threads)?;
    if job.precheck {
        // SAFETY: the compiler of this process made it just now.
        unsafe { Runtime::from_bytes::<H>(&artifact, &job.params, job.baseline) }.map_err(|error| {
            let (crate::wasm::CallError::Construction(why) | crate::wasm::CallError::Invalid(why)) = error;
            PrepareError::RuntimeConstruction(why)
        })?;
    }
    Ok(artifact)
}
