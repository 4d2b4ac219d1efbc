//! What the tests ask a host.

use pvf::{ExecuteRequest, Pvf};
use pvf_guests::adder::{ADDER, Block, Head};
use pvf_shared::{
    Bytes,
    candidate::{BlockDataForm, CandidateContext},
    ids::StorageRoot,
    params::ExecutorParams,
    priority::ExecuteKind,
};
use std::time::Duration;

/// How long any test waits for any answer.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A candidate on this parent.
pub fn context(parent_head: impl Into<Bytes>) -> CandidateContext {
    CandidateContext {
        parent_head: parent_head.into(),
        relay_parent_number: 7,
        relay_parent_storage_root: StorageRoot([1; 32]),
        extension: None,
        block_data_form: BlockDataForm::MaybeCompressed,
    }
}

/// A backing request.
pub fn backing(parent_head: impl Into<Bytes>, block_data: impl Into<Bytes>) -> ExecuteRequest {
    let mut request = ExecuteRequest::new(ExecuteKind::Backing, context(parent_head), block_data);
    request.answer_within = Some(PATIENCE);
    request
}

/// The adder, with the default parameters.
pub fn adder() -> Pvf {
    Pvf::new(ADDER, ExecutorParams::default())
}

/// A good first block of the adder.
pub fn good_block() -> ExecuteRequest {
    backing(Head::genesis().encode(), Block { state: 0, increment: 5 }.encode())
}

/// A block that claims a state that its parent does not have.
pub fn bad_block() -> ExecuteRequest {
    backing(Head::genesis().encode(), Block { state: 1, increment: 5 }.encode())
}

/// A guest that never returns.
pub fn endless() -> Pvf {
    Pvf::new(pvf_guests::corpus::busy(u64::MAX), ExecutorParams::default())
}
