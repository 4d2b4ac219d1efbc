//! An execution, inside its fork of the template.

use super::{
    protocol::{Claims, ExecuteRequest, JobReply},
    stderr_limit,
};
use crate::wasm::{Call, CallError, Ready, Runtime};
use parity_scale_codec::{Compact, Decode as _, Encode as _};
use pvf_shared::{
    candidate::ValidationResult,
    record::Backtrace,
    verdict::{InvalidReason, clean_reason},
};
use std::borrow::Cow;

/// Native stack for host functions in addition to the guest's limit, bytes.
pub(crate) const HOST_STACK: u64 = 2 * 1024 * 1024;

/// Executes on the `ready` instance, or on a new one if there is none. Must run on a stack of the guest's limit plus
/// [`HOST_STACK`].
pub(super) fn run(runtime: &Runtime, ready: Option<Ready>, request: &ExecuteRequest<'_>) -> JobReply {
    let block_data = match request.pov_bomb_limit {
        None => Cow::Borrowed(request.block_data),
        Some(limit) => match sp_maybe_compressed_blob::decompress(request.block_data, limit as usize) {
            Ok(data) => data,
            Err(_) => {
                let (why, claims) = (InvalidReason::PovDecompression, Claims::default());
                return JobReply::Invalid(why, claims, Backtrace::default());
            }
        },
    };
    let [prefix, suffix] = request.around_block_data;
    // The parts as they are: each byte is copied once, into the guest's memory.
    let len = Compact(block_data.len() as u32).encode();
    let params = [prefix, &len, &block_data, suffix];
    let Call { output, memory_pages, backtrace } = match ready {
        Some(ready) => ready.call(&params),
        None => runtime.call(&params),
    };
    let claims = Claims { memory_pages, block_data: u32::try_from(block_data.len()).ok() };
    let invalid = |why: &str| JobReply::Invalid(InvalidReason::WorkerReported(clean_reason(why)), claims, backtrace);
    match output {
        Ok(output) => match ValidationResult::decode(&mut &output[..]) {
            Ok(result) => JobReply::Valid(result.encode().into(), claims),
            Err(error) => invalid(&format!("the result does not decode: {error}")),
        },
        Err(CallError::Machine(why)) => JobReply::Machine(why),
        Err(CallError::Construction(why)) => JobReply::Construction(why),
        Err(CallError::Invalid(why)) => invalid(&why),
        // Host functions panic on what the guest passes to them, so the panic is the candidate's fault, unless a limit
        // of ours may have caused it.
        Err(CallError::HostPanic(why)) if stderr_limit::was_reached_at_panic() => {
            JobReply::JobError(clean_reason(&format!("stderr is full, panic in a host function: {why}")))
        }
        Err(CallError::HostPanic(why)) => invalid(&format!("panic in a host function: {why}")),
    }
}
