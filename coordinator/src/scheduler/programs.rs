//! Validation code with everything that its preparation depends on, kept once for all requests that use it.

use hashbrown::HashMap;
use pvf_shared::{
    ids::{CodeHash, PrepHash},
    params::ExecutorParams,
    wire::{CodeRef, Submission},
};
use std::{sync::Arc, time::Duration};

/// Validation code and how to prepare it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Program {
    pub(super) code: CodeRef,
    pub(super) executor_params: ExecutorParams,
    pub(super) code_bomb_limit: u32,
    pub(super) prepare_timeout: Option<Duration>,
    pub(super) prep_hash: PrepHash,
}

/// Programs that live requests use.
#[derive(Debug, Default)]
pub(super) struct Programs(HashMap<CodeHash, Vec<Arc<Program>>>);

impl Programs {
    /// The program of a submission.
    pub(super) fn of(&mut self, submission: &Submission) -> Arc<Program> {
        let programs = self.0.entry(submission.code.hash).or_default();
        let same = |p: &&Arc<Program>| {
            p.executor_params == submission.executor_params
                && p.code_bomb_limit == submission.code_bomb_limit
                && p.prepare_timeout == submission.prepare_timeout
                && p.code == submission.code
        };
        if let Some(program) = programs.iter().find(same) {
            return program.clone();
        }
        let program = Arc::new(Program {
            code: submission.code.clone(),
            executor_params: submission.executor_params.clone(),
            code_bomb_limit: submission.code_bomb_limit,
            prepare_timeout: submission.prepare_timeout,
            prep_hash: submission.executor_params.prep_hash(),
        });
        programs.push(program.clone());
        program
    }

    /// Somebody does not need this any more.
    pub(super) fn release(&mut self, program: Arc<Program>) {
        // The table's, the one that is given up here, and somebody else's.
        if Arc::strong_count(&program) > 2 {
            return;
        }
        let code = program.code.hash;
        drop(program);
        if let Some(programs) = self.0.get_mut(&code) {
            // The table's own is one.
            programs.retain(|p| Arc::strong_count(p) > 1);
            if programs.is_empty() {
                self.0.remove(&code);
            }
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.values().map(Vec::len).sum()
    }
}

impl Program {
    /// Whether both are prepared within the same limits.
    pub(super) fn same_limits(&self, other: &Self) -> bool {
        let memory = |p: &Self| p.executor_params.prechecking_max_memory();
        self.code_bomb_limit == other.code_bomb_limit && memory(self) == memory(other)
    }
}
