//! Why a call has no result.

use super::{backtrace::text_without_frames, guest_limits::os_error};
use pvf_shared::verdict::clean_reason;

/// Why a call has no result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallError {
    /// The operating system refused what a call needs, before the call: nothing is said about artifact or candidate.
    Machine(String),
    /// The artifact cannot be mapped, linked or instantiated.
    Construction(String),
    /// The guest trapped, violated the calling convention, or returned a bad result.
    Invalid(String),
    /// A host function panicked during the call; who is to blame is for the caller to decide. The panic's message.
    HostPanic(String),
}

impl CallError {
    pub(super) fn construction(why: impl std::fmt::Display) -> Self {
        Self::Construction(clean_reason(&why.to_string()))
    }

    pub(super) fn invalid(why: impl std::fmt::Display) -> Self {
        Self::Invalid(clean_reason(&why.to_string()))
    }

    /// A failure before the call.
    pub(super) fn before_call(what: &str, error: &wasmtime::Error) -> Self {
        let why = format!("{what}: {}", text_without_frames(error));
        if os_error(error).is_some() { Self::Machine(clean_reason(&why)) } else { Self::construction(why) }
    }
}
