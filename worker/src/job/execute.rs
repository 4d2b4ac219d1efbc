//! An execution, inside its process.

use super::protocol::Reply;
use crate::wasm::{CallError, CpuBaseline, Runtime};
use parity_scale_codec::{Decode as _, Encode as _};
use pvf_shared::{
    Bytes,
    candidate::{BlockDataForm, CandidateContext, ValidationResult},
    params::ExecutorParams,
    verdict::{InvalidReason, clean_reason},
};
use sp_wasm_interface::HostFunctions;
use std::path::Path;

/// Native stack that host functions have beyond what the guest may use, bytes.
const HOST_STACK: usize = 2 * 1024 * 1024;

/// What is to be executed.
pub(super) struct Execution {
    pub(super) artifact: std::path::PathBuf,
    pub(super) context: Box<CandidateContext>,
    pub(super) block_data: Bytes,
    pub(super) pov_bomb_limit: u32,
    pub(super) params: ExecutorParams,
    pub(super) baseline: CpuBaseline,
}

/// Runs on a thread with the stack that the guest is promised.
pub(super) fn run<H: HostFunctions>(job: Execution) -> Reply {
    let stack = job.params.stack_native_max() as usize + HOST_STACK;
    let thread = std::thread::Builder::new().name("guest".into()).stack_size(stack);
    match thread.spawn(move || execute::<H>(&job)) {
        Ok(handle) => {
            handle.join().unwrap_or_else(|_| Reply::JobError("panic in the job (its stderr says more)".into()))
        }
        Err(error) => Reply::JobError(format!("no thread with a stack of {stack} bytes: {error}")),
    }
}

fn execute<H: HostFunctions>(job: &Execution) -> Reply {
    let block_data = match job.context.block_data_form {
        BlockDataForm::Decompressed => job.block_data.to_vec(),
        BlockDataForm::MaybeCompressed => {
            match sp_maybe_compressed_blob::decompress(&job.block_data, job.pov_bomb_limit as usize) {
                Ok(data) => data.into_owned(),
                Err(_) => return Reply::Invalid(InvalidReason::PovDecompression),
            }
        }
    };
    let params = job.context.encode_with(block_data);
    match validate::<H>(&job.artifact, job, &params) {
        Ok(output) => match ValidationResult::decode(&mut &output[..]) {
            Ok(result) => Reply::Valid(result.encode().into()),
            Err(error) => invalid(&format!("the result does not decode: {error}")),
        },
        Err(CallError::Construction(why)) => Reply::Construction(why),
        Err(CallError::Invalid(why)) => invalid(&why),
    }
}

fn invalid(why: &str) -> Reply {
    Reply::Invalid(InvalidReason::WorkerReported(clean_reason(why)))
}

fn validate<H: HostFunctions>(artifact: &Path, job: &Execution, params: &[u8]) -> Result<Vec<u8>, CallError> {
    // SAFETY: the worker verified the seal of the file and keeps it in a folder that only it can write.
    let runtime = unsafe { Runtime::from_file::<H>(artifact, &job.params, job.baseline) }?;
    runtime.validate_block(params)
}
