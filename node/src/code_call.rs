//! Which code a call is about.

use pvf_shared::{ids::CodeHash, params::ExecutorParams};
use serde::{Deserialize, Serialize};

/// The code of a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodeCall {
    /// Its hash.
    pub hash: CodeHash,
    /// Limit of the decompressed code, bytes.
    pub bomb_limit: u32,
    /// The session's executor parameters.
    pub executor_params: ExecutorParams,
}
