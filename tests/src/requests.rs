//! PVFs and requests for a validation host.

use pvf::{ExecuteRequest, Pvf};
use pvf_guests::adder::{ADDER, Block, Head};
use pvf_shared::{
    Bytes,
    params::ExecutorParams,
    priority::ExecuteKind,
    verdict::{InternalError, InvalidReason, Outcome},
};
use pvf_testkit::{DEADLINE, fixtures::context};
use std::time::Duration;

/// A backing request; the answer may take [`DEADLINE`].
pub fn backing(parent_head: impl Into<Bytes>, block_data: impl Into<Bytes>) -> ExecuteRequest {
    let mut request = ExecuteRequest::new(ExecuteKind::Backing, context(parent_head), block_data);
    request.answer_within = Some(DEADLINE);
    request
}

/// The adder parachain with default parameters.
pub fn adder() -> Pvf {
    pvf_of(ADDER)
}

/// This code with default parameters.
pub fn pvf_of(code: impl Into<Bytes>) -> Pvf {
    Pvf::new(code, ExecutorParams::default())
}

/// This code with a custom section of random bytes behind it, so that it has this length and cannot be compressed.
///
/// # Panics
/// The code is too long for that already.
pub fn padded(mut code: Vec<u8>, len: usize) -> Vec<u8> {
    // An id, the length in five bytes, and an empty name.
    let rest = len.checked_sub(code.len() + 7).expect("room for a section");
    code.push(0);
    let section = rest + 1;
    code.extend((0..5).map(|n| (section >> (7 * n)) as u8 & 0x7f | if n < 4 { 0x80 } else { 0 }));
    code.push(0);
    code.extend(std::iter::repeat_with(|| fastrand::u8(..)).take(rest));
    code
}

/// A valid first block of the adder.
pub fn good_block() -> ExecuteRequest {
    backing(Head::genesis().encode(), Block { state: 0, increment: 5 }.encode())
}

/// A block whose claimed state is not that of its parent.
pub fn bad_block() -> ExecuteRequest {
    backing(Head::genesis().encode(), Block { state: 1, increment: 5 }.encode())
}

/// A guest that never returns.
pub fn endless() -> Pvf {
    pvf_of(pvf_guests::corpus::busy(u64::MAX))
}

/// Panics unless the execution ran into its CPU time limit. On a busy machine the wall clock, four times as long, may
/// run out first: that is an infrastructure failure.
#[track_caller]
pub fn assert_timed_out(outcome: &Outcome, cpu_limit: Duration) {
    let cpu_ms = cpu_limit.as_millis() as u64;
    match outcome {
        Outcome::Invalid(InvalidReason::HardTimeout { limit_ms }) => assert_eq!(*limit_ms, cpu_ms),
        other => assert!(is_starved(other, cpu_limit), "no time-out: {other:?}"),
    }
}

/// Whether the wall clock of a job ran out before its CPU time, on each worker that was asked.
pub fn is_starved(outcome: &Outcome, cpu_limit: Duration) -> bool {
    let text = format!("within its limit of {} ms", cpu_limit.as_millis());
    matches!(outcome, Outcome::Internal(InternalError::Kernel(why)) if why.contains(&text))
}
