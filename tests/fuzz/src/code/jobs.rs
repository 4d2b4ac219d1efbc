//! Job processes as a worker starts them; this executable is the worker executable, too.

use super::{BOMB_LIMIT, Input};
use crate::traced;
use pvf_shared::{
    Bytes,
    blob::BlobRef,
    ids::EngineId,
    job::{ExecuteJob, ExecuteOutcome, PrepareJob},
    store::seal::content_hash,
    verdict::{AmbiguousReason, InternalError, InvalidReason, PrepareError},
};
use pvf_testkit::fixtures;
use pvf_worker::{
    sandbox::Report,
    supervise::{ArtifactFile, JobRunner, Prepared, probe_sandbox},
    wasm::{Compiled, CpuBaseline, engine_id},
};
use std::{
    io::Write as _,
    sync::{
        OnceLock,
        atomic::{AtomicU8, Ordering::Relaxed},
    },
    time::Duration,
};
use tempfile::NamedTempFile;
use tokio::runtime::{Builder, Runtime};

/// Time limit for compiling a few kilobytes; this build is slow.
const PREPARE: Duration = Duration::from_secs(20);
/// CPU time limit of an execution.
const EXECUTE: Duration = Duration::from_millis(150);
/// How often an execution is tried that the machine refuses.
const TRIES: u32 = 20;
/// Less than the size of the compressed PoV's contents, bytes.
const POV_BOMB_LIMIT: u32 = 4000;

const COUNTERS: usize = 4096;

/// Counters that the fuzzer reads as coverage, which it cannot see inside of job processes: one for each message of a
/// job.
#[unsafe(link_section = "__libfuzzer_extra_counters")]
static MESSAGES: [AtomicU8; COUNTERS] = [const { AtomicU8::new(0) }; COUNTERS];

fn note(message: &str) {
    if traced() {
        eprintln!("{message}");
    }
    // Messages that differ only in numbers are the same.
    let letters = message.bytes().filter(|byte| !byte.is_ascii_digit());
    let hash = letters.fold(0_usize, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into()));
    MESSAGES[hash % COUNTERS].store(1, Relaxed);
}

/// Starts job processes.
pub(super) struct Jobs {
    runtime: Runtime,
    sandbox: Report,
}

fn engine() -> EngineId {
    engine_id(CpuBaseline::of_this_machine()).expect("an engine")
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
            assert!(sandbox.is_complete(), "the sandbox is not complete here:\n{}", sandbox.complaint());
            Self { runtime: Builder::new_current_thread().enable_all().build().expect("a runtime"), sandbox }
        })
    }

    /// A new runner. Its templates end with it.
    fn runner(&self) -> JobRunner {
        JobRunner::with_sandbox(None, CpuBaseline::of_this_machine(), self.sandbox.clone()).expect("this executable")
    }

    /// Prepares an input. Panics on an outcome that the code is not to blame for.
    pub(super) fn prepare(&self, input: &Input, precheck: bool, threads: u32) -> Prepared {
        let code = Bytes::copy_from_slice(&input.code);
        let job = PrepareJob {
            cpu_limit: PREPARE,
            code_bomb_limit: BOMB_LIMIT,
            precheck,
            threads,
            ..fixtures::prepare_job(&input.code, input.params.clone(), engine())
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

    /// Executes an artifact in two forks of one template. Panics on an outcome that the code is not to blame for, and
    /// if the two differ.
    pub(super) fn execute_twice(&self, input: &Input, artifact: &Compiled) -> ExecuteOutcome {
        let job = ExecuteJob {
            block_data: BlobRef::Inline(input.pov.clone()),
            cpu_limit: EXECUTE,
            pov_bomb_limit: POV_BOMB_LIMIT,
            ..fixtures::execute_job(&input.code, input.params.clone(), engine())
        };
        let mut file = NamedTempFile::new().expect("a file");
        file.write_all(&artifact.code).expect("the artifact is written");
        let file = (ArtifactFile::new(file.path(), content_hash(&artifact.code), artifact.has_start), file);
        let runner = self.runner();
        // On a machine that is overloaded an execution may get no time: it is tried again, as a fleet would.
        let execute = async || {
            let mut again = TRIES;
            loop {
                let executed = runner.execute(&job, &file.0, input.pov.clone()).await;
                again -= 1;
                if again == 0 || !matches!(executed.0, ExecuteOutcome::Internal(InternalError::Kernel(_))) {
                    return executed;
                }
            }
        };
        let (first, second) = self.runtime.block_on(async { (execute().await, execute().await) });
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
        // An execution near its time limit may exceed it in one of two runs.
        if !late(&first.0) && !late(&second.0) {
            assert_eq!(first.0, second.0, "executed twice, with different results");
        }
        first.0
    }
}
