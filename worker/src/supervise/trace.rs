//! What a job leaves for people besides its outcome and usage: log and backtrace. Both are the word of the job, so they
//! are bounded, and nothing depends on them.

use super::{finished::FinishedProcess, reply::split_reply};
use crate::job::protocol::JobReply;
use pvf_shared::record::{Backtrace, MAX_LOG, end_of};

/// What a job leaves for people.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobTrace {
    /// The end of what it logged.
    pub log: String,
    /// Where the guest trapped.
    pub backtrace: Backtrace,
}

impl JobTrace {
    /// That of a process that was reaped.
    pub(super) fn of_process(process: &FinishedProcess) -> Self {
        let backtrace = match process.reply.as_ref().and_then(split_reply) {
            Some((JobReply::Invalid(.., backtrace), _)) => backtrace.bounded(),
            _ => Backtrace::default(),
        };
        Self { log: end_of(process.stderr.clone(), MAX_LOG), backtrace }
    }
}
