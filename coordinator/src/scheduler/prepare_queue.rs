//! Preparations that wait for a slot: critical before normal before background.

use super::queue::Queue;
use pvf_shared::priority::PreparePriority;
use std::cmp::Reverse;

/// Preparations that wait for a slot.
pub(super) type PrepareQueue = Queue<Reverse<PreparePriority>>;

/// A priority's place in the queue.
pub(super) fn urgency(priority: PreparePriority) -> Reverse<PreparePriority> {
    Reverse(priority)
}
