//! Executions whose artifact is there and that wait for a slot: disputes, approvals, backing of system
//! parachains, backing.

use super::queue::Queue;
use pvf_shared::priority::ExecuteKind;

/// Executions that wait for a slot. `ExecuteKind` sorts by urgency already.
pub(super) type ExecuteQueue = Queue<ExecuteKind>;
