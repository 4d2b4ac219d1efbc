//! An execution, inside its fork of the template.

use super::protocol::{Execution, Reply};
use crate::wasm::{CallError, Ready, Runtime};
use parity_scale_codec::{Decode as _, Encode as _};
use pvf_shared::{
    candidate::ValidationResult,
    verdict::{InvalidReason, clean_reason},
};
use std::borrow::Cow;

/// Native stack that host functions have beyond what the guest may use, bytes.
pub(crate) const HOST_STACK: u64 = 2 * 1024 * 1024;

/// On a stack that has the guest's limit and [`HOST_STACK`].
/// On the instance that is `ready`, if there is one.
pub(super) fn run(runtime: &Runtime, ready: Option<Ready>, job: &Execution<'_>) -> Reply {
    let block_data = match job.pov_bomb_limit {
        None => Cow::Borrowed(job.block_data),
        Some(limit) => match sp_maybe_compressed_blob::decompress(job.block_data, limit as usize) {
            Ok(data) => data,
            Err(_) => return Reply::Invalid(InvalidReason::PovDecompression),
        },
    };
    let [before, behind] = job.around;
    let mut params = Vec::with_capacity(before.len() + 5 + block_data.len() + behind.len());
    params.extend_from_slice(before);
    block_data.encode_to(&mut params);
    params.extend_from_slice(behind);
    let done = match ready {
        Some(ready) => ready.validate_block(&params),
        None => runtime.validate_block(&params),
    };
    match done {
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
