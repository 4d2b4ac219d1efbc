//! Exit codes, and the error type of every command. An error decides its exit code here and nowhere else.

use crate::{ClientError, StartError};
use pvf_coordinator::CoordinatorError;
use pvf_shared::{bus::BusError, store::StoreError, wire::Refusal};
use std::process::ExitCode;

/// The exit codes of `pvf`. A batch exits with the greatest code of its requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Exit {
    /// The candidate is valid, the code can be prepared, the checks passed, the workers have left, what an operator
    /// asked for is done.
    Success = 0,
    /// The candidate is invalid, the code cannot be prepared, a check failed.
    Negative = 1,
    /// The command line or an input is wrong.
    Usage = 2,
    /// There is no result: an internal error, an expired request, a worker that is lost or drains too long, or no fleet,
    /// bus or store.
    NoResult = 3,
}

/// The exit codes for `pvf --help`.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0  the candidate is valid, the code can be prepared, all checks passed, the workers have left, what an
     operator asked for is done; a replay had the same outcome
  1  the candidate is invalid, the code cannot be prepared, a check failed; a replay had another outcome
  2  wrong usage, input or credentials; the message names the option or file, or the request that is not open,
     or the artifact that is not there or is pinned
  3  no result: internal error, expired, a worker was lost or still drains, or the fleet, bus or store cannot be
     reached
A batch exits with the greatest code of its requests.";

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The command line or an input is wrong. The message names the option or the file.
    #[error("{0}")]
    Input(String),
    /// The command has no result.
    #[error("{0}")]
    NoResult(String),
}

impl Failure {
    /// The command has no result because `what` failed.
    pub(crate) fn no_result(what: &str, error: impl std::fmt::Display) -> Self {
        Self::NoResult(format!("{what}: {error}"))
    }

    /// The exit code of this error.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Input(_) => Exit::Usage,
            Self::NoResult(_) => Exit::NoResult,
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let text = error.to_string();
        match error {
            ClientError::Refused(refusal) => match refusal {
                Refusal::OutOfRange { .. } | Refusal::NotAllowed { .. } => Self::Input(text),
                Refusal::Overloaded { .. } | Refusal::Malformed(_) | Refusal::UnsupportedVersion { .. } => {
                    Self::NoResult(text)
                }
            },
            ClientError::TooLarge { .. } => Self::Input(text),
            ClientError::NoCoordinator { .. }
            | ClientError::Bus(_)
            | ClientError::NotAnswered { .. }
            | ClientError::Wire(_)
            | ClientError::Ended => Self::NoResult(text),
        }
    }
}

impl From<BusError> for Failure {
    fn from(error: BusError) -> Self {
        match &error {
            BusError::Refused { .. } => Self::Input(error.to_string()),
            BusError::NoResponders(_)
            | BusError::TimedOut(_)
            | BusError::TooLarge { .. }
            | BusError::Connection { .. } => Self::NoResult(error.to_string()),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::Url { .. } => Self::Input(error.to_string()),
            _ => Self::NoResult(error.to_string()),
        }
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Store(error) | StartError::Coordinator(CoordinatorError::Store(error)) => error.into(),
            StartError::Client(error) => error.into(),
            StartError::Keys(error) => error.into(),
            other => Self::NoResult(other.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_exits_with_the_greatest_code() {
        let worst = [Exit::Negative, Exit::NoResult, Exit::Usage, Exit::Success].into_iter().max();
        assert_eq!(worst, Some(Exit::NoResult));
        assert_eq!([Exit::Success, Exit::Negative, Exit::Usage, Exit::NoResult].map(|exit| exit as u8), [0, 1, 2, 3]);
    }

    #[test]
    fn an_error_of_the_store_url_is_wrong_input() {
        let url = || StoreError::Url { url: "ftp://x".into(), why: "unknown scheme".into() };
        assert_eq!(Failure::from(url()).exit(), Exit::Usage);
        assert_eq!(Failure::from(StartError::Store(url())).exit(), Exit::Usage);
        assert_eq!(Failure::from(ClientError::Ended).exit(), Exit::NoResult);
    }
}
