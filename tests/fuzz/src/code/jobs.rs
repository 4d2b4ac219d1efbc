//! Job processes, as a worker starts them: this executable plays their part.

use super::{BOMB_LIMIT, Input};
use crate::traced;
use pvf_shared::{
    Bytes,
    candidate::{BlockDataForm, CandidateContext},
    ids::{ArtifactId, CodeHash, StorageRoot},
    job::{BlobRef, ExecuteJob, ExecuteOutcome, PrepareJob},
    verdict::{AmbiguousReason, InvalidReason, PrepareError},
};
use pvf_worker::{
    sandbox::Report,
    supervise::{JobRunner, Prepared, probe_sandbox},
    wasm::{CpuBaseline, engine_id},
};
use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io::Write as _,
    sync::{
        OnceLock,
        atomic::{AtomicU8, Ordering::Relaxed},
    },
    time::Duration,
};
use tempfile::NamedTempFile;
use tokio::runtime::{Builder, Runtime};

/// What compiling a few kilobytes may take; this build is slow.
const PREPARE: Duration = Duration::from_secs(20);
/// What running them may take.
const EXECUTE: Duration = Duration::from_millis(150);
/// The PoV that is compressed is larger.
const POV_BOMB_LIMIT: u32 = 4000;

const COUNTERS: usize = 4096;

/// The fuzzer does not see which way a job took, but it sees these: one for each thing that a job has said.
#[unsafe(link_section = "__libfuzzer_extra_counters")]
static SAID: [AtomicU8; COUNTERS] = [const { AtomicU8::new(0) }; COUNTERS];

fn note(said: &str) {
    if traced() {
        eprintln!("{said}");
    }
    let mut hasher = DefaultHasher::new();
    // Numbers make no difference.
    said.split(|c: char| c.is_ascii_digit()).for_each(|part| part.hash(&mut hasher));
    SAID[hasher.finish() as usize % COUNTERS].store(1, Relaxed);
}

/// Starts jobs.
pub(super) struct Jobs {
    runtime: Runtime,
    sandbox: Report,
}

/// Whether an artifact could not be linked or instantiated.
pub(super) fn is_construction(outcome: &ExecuteOutcome) -> bool {
    matches!(outcome, ExecuteOutcome::Ambiguous(AmbiguousReason::RuntimeConstruction(_)))
}

impl Jobs {
    pub(super) fn get() -> &'static Self {
        static JOBS: OnceLock<Jobs> = OnceLock::new();
        JOBS.get_or_init(|| {
            let sandbox = probe_sandbox(None).expect("this executable");
            assert!(sandbox.is_complete(), "jobs cannot be locked up here:\n{}", sandbox.complaint());
            Self { runtime: Builder::new_current_thread().enable_all().build().expect("a runtime"), sandbox }
        })
    }

    /// Its templates end with it.
    fn runner(&self) -> JobRunner {
        JobRunner::with_sandbox(None, CpuBaseline::of_this_machine(), self.sandbox.clone()).expect("this executable")
    }

    fn artifact(input: &Input) -> ArtifactId {
        ArtifactId {
            code_hash: CodeHash::of(&input.code),
            prep_hash: input.params.prep_hash(),
            engine: engine_id(CpuBaseline::of_this_machine()).expect("an engine"),
        }
    }

    /// Panics if what comes of it is not the code's doing.
    pub(super) fn prepare(&self, input: &Input, precheck: bool, threads: u32) -> Prepared {
        let code = Bytes::copy_from_slice(&input.code);
        let job = PrepareJob {
            artifact: Self::artifact(input),
            code: BlobRef::Inline(code.clone()),
            executor_params: input.params.clone(),
            cpu_limit: PREPARE,
            code_bomb_limit: BOMB_LIMIT,
            precheck,
            threads,
        };
        let runner = self.runner();
        let (prepared, usage) = self.runtime.block_on(runner.prepare(&job, code));
        match &prepared {
            Prepared::Artifact(_) => note("prepared"),
            Prepared::Failed(
                error @ (PrepareError::Prevalidation(_)
                | PrepareError::Preparation(_)
                | PrepareError::CouldNotDecompress(_)
                | PrepareError::OutOfMemory),
            ) => note(&error.to_string()),
            Prepared::Failed(error @ PrepareError::RuntimeConstruction(_)) if precheck => note(&error.to_string()),
            Prepared::Failed(_) | Prepared::Internal(_) => panic!("preparing: {prepared:?} {usage:?}"),
        }
        prepared
    }

    /// Executes it in two forks of one template. Panics if what comes of that is not the code's doing, or not the same.
    pub(super) fn execute_twice(&self, input: &Input, artifact: &Bytes) -> ExecuteOutcome {
        let job = ExecuteJob {
            artifact: Self::artifact(input),
            mac: None,
            context: CandidateContext {
                parent_head: Bytes::from_static(b"head"),
                relay_parent_number: 1,
                relay_parent_storage_root: StorageRoot([0; 32]),
                extension: None,
                block_data_form: BlockDataForm::MaybeCompressed,
            },
            block_data: BlobRef::Inline(input.pov.clone()),
            executor_params: input.params.clone(),
            cpu_limit: EXECUTE,
            pov_bomb_limit: POV_BOMB_LIMIT,
        };
        let mut file = NamedTempFile::new().expect("a file");
        file.write_all(artifact).expect("it is written");
        let runner = self.runner();
        let (first, second) = self.runtime.block_on(async {
            let first = runner.execute(&job, file.path(), input.pov.clone()).await;
            (first, runner.execute(&job, file.path(), input.pov.clone()).await)
        });
        for (outcome, usage) in [&first, &second] {
            match outcome {
                ExecuteOutcome::Valid(_) => note("valid"),
                ExecuteOutcome::Invalid(reason) => note(&reason.to_string()),
                ExecuteOutcome::Ambiguous(AmbiguousReason::RuntimeConstruction(why)) => note(why),
                ExecuteOutcome::Ambiguous(_) | ExecuteOutcome::Internal(_) => {
                    panic!("executing: {outcome:?} {usage:?}")
                }
            }
        }
        let late =
            |outcome: &ExecuteOutcome| matches!(outcome, ExecuteOutcome::Invalid(InvalidReason::HardTimeout { .. }));
        // What is near its limit may be over it once and not the other time.
        if !late(&first.0) && !late(&second.0) {
            assert_eq!(first.0, second.0, "executed twice, with different results");
        }
        first.0
    }
}
