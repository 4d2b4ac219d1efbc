//! Errors that keep a job process from doing its job.

use std::io;

/// Why a job process could not do its job. The text goes to stderr, and the process exits with
/// [`EXIT_SETUP`](crate::exit_status::EXIT_SETUP); it never becomes a statement about a
/// candidate or a code: the attempt ends as [`InternalError::Kernel`](pvf_shared::verdict::InternalError).
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// A system call failed.
    #[error("{what}: {source}")]
    System {
        /// What the call was for.
        what: &'static str,
        /// The kernel's error.
        source: io::Error,
    },
    /// A message from the worker is malformed.
    #[error("{what}: {source}")]
    Decode {
        /// Which message.
        what: &'static str,
        /// What is wrong with it.
        source: rmp_serde::decode::Error,
    },
    /// A message to the worker could not be encoded.
    #[error("{what}: {source}")]
    Encode {
        /// Which message.
        what: &'static str,
        /// Why not.
        source: rmp_serde::encode::Error,
    },
    /// The worker did not keep to the protocol.
    #[error("{0}")]
    Protocol(&'static str),
    /// A mechanism of the sandbox did not take hold.
    #[error("{0}")]
    Sandbox(String),
    /// The template exited before its fork was ready.
    #[error("the process that started this one has exited")]
    Orphaned,
    /// The thread pool of the host functions could not be set up.
    #[error("single-threaded pool: {0}")]
    ThreadPool(rayon::ThreadPoolBuildError),
    /// A reply is too long for its length field.
    #[error("the reply of {0} bytes is too long")]
    ReplyLength(usize),
}

impl Failure {
    /// Names what a system call was for; for `map_err`.
    pub(super) fn system(what: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| Self::System { what, source }
    }

    /// The error of the system call that this thread made last.
    pub(super) fn last_os_error(what: &'static str) -> Self {
        Self::System { what, source: io::Error::last_os_error() }
    }
}
