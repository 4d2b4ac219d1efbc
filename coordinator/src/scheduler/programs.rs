//! Validation code with everything that its preparation depends on, kept once for all requests that use it.

use super::{
    artifacts::ArtifactKey,
    fleet::EngineKey,
    prefetch::prefetch_all,
    table::{Place, Table},
};
use pvf_shared::{
    ids::{ArtifactId, CodeHash, EngineId, PrepHash},
    params::ExecutorParams,
    wire::{CodeRef, Submission},
};
use smallvec::SmallVec;
use std::{
    num::NonZeroU64,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// Bits of an artifact's number beside its engine's.
const NUMBER: u32 = 48;

/// Validation code and how to prepare it.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) code: CodeRef,
    pub(super) executor_params: ExecutorParams,
    pub(super) code_bomb_limit: u32,
    pub(super) prepare_timeout: Option<Duration>,
    pub(super) prep_hash: PrepHash,
    /// The number of the artifact that was found for it last, and for which engine.
    found: AtomicU64,
}

/// Programs that live requests use.
#[derive(Debug, Default)]
pub(super) struct Programs(Table<CodeHash, SmallVec<[Arc<Program>; 1]>>);

impl Programs {
    /// The program of a submission.
    pub(super) fn of(&mut self, submission: &Submission) -> Arc<Program> {
        let same = |p: &&Arc<Program>| {
            p.executor_params == submission.executor_params
                && p.code_bomb_limit == submission.code_bomb_limit
                && p.prepare_timeout == submission.prepare_timeout
                && p.code == submission.code
        };
        let programs = self.0.get_mut(&submission.code.hash);
        if let Some(program) = programs.as_ref().and_then(|programs| programs.iter().find(same)) {
            return program.clone();
        }
        let program = Arc::new(Program {
            code: submission.code.clone(),
            executor_params: submission.executor_params.clone(),
            code_bomb_limit: submission.code_bomb_limit,
            prepare_timeout: submission.prepare_timeout,
            prep_hash: submission.executor_params.prep_hash(),
            found: AtomicU64::new(0),
        });
        match programs {
            Some(programs) => programs.push(program.clone()),
            None => drop(self.0.insert(submission.code.hash, std::iter::once(program.clone()).collect())),
        }
        program
    }

    /// The first step of reading ahead: where the programs with this code are.
    pub(super) fn look(&self, code: &CodeHash) -> Place {
        self.0.look(code)
    }

    /// The second step.
    pub(super) fn fetch(&self, place: Place) {
        self.0.fetch(place);
    }

    /// The third step: asks for the first of them.
    pub(super) fn fetched(&self, place: Place) -> Option<&Program> {
        let program = self.0.fetched(place)?.first()?;
        prefetch_all(&**program);
        Some(program)
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
        self.0.iter().map(|(_, programs)| programs.len()).sum()
    }
}

impl Program {
    /// The artifact that was found for it last, if it was for this engine; whether it is still there is another
    /// question.
    pub(super) fn found(&self, engine: EngineKey) -> Option<ArtifactKey> {
        let found = self.found.load(Ordering::Relaxed);
        self.found_last().filter(|_| found >> NUMBER == u64::from(engine.0))
    }

    /// The artifact that was found for it last, for whatever engine.
    pub(super) fn found_last(&self) -> Option<ArtifactKey> {
        NonZeroU64::new(self.found.load(Ordering::Relaxed) & ((1 << NUMBER) - 1)).map(ArtifactKey)
    }

    /// Its artifact for an engine.
    pub(super) fn note_found(&self, engine: EngineKey, artifact: ArtifactKey) {
        // Numbers that do not fit are looked up each time.
        if artifact.0.get() >> NUMBER == 0 && engine.0 >> (64 - NUMBER) == 0 {
            self.found.store(u64::from(engine.0) << NUMBER | artifact.0.get(), Ordering::Relaxed);
        }
    }

    /// The name of its artifact for an engine.
    pub(super) fn artifact_id(&self, engine: &EngineId) -> ArtifactId {
        ArtifactId { code_hash: self.code.hash, prep_hash: self.prep_hash, engine: engine.clone() }
    }

    /// Whether both are prepared within the same limits.
    pub(super) fn same_limits(&self, other: &Self) -> bool {
        let memory = |p: &Self| p.executor_params.prechecking_max_memory();
        self.code_bomb_limit == other.code_bomb_limit && memory(self) == memory(other)
    }
}
