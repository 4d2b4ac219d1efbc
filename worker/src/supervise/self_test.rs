//! The self-test: prepares and executes a small PVF exactly as a job, with what the default executor parameters allow.
//! It proves what no probe of a single mechanism can: that the limits and mounts of this machine leave a job its stack,
//! its memory, its descriptors and an executable mapping of its artifact.

use super::{ArtifactFile, JobRunner, Prepared};
use crate::wasm::engine_id;
use pvf_shared::{
    Bytes,
    blob::BlobRef,
    candidate::{BlockDataForm, CandidateContext},
    ids::{ArtifactId, CodeHash, StorageRoot},
    job::{ExecuteJob, ExecuteOutcome, PrepareJob},
    params::{ExecutorParams, PvfExecKind, PvfPrepKind},
    store::seal::content_hash,
    units::{DEFAULT_CODE_BOMB_LIMIT, POV_BOMB_LIMIT},
};
use std::path::Path;

/// The PVF. It grows its memory to the limit of the default parameters, and has a result of 12 zeros: empty head data,
/// no messages, no new code. It traps if its memory cannot grow. A test holds it against its text.
const CODE: &[u8] = &[
    0, 97, 115, 109, 1, 0, 0, 0, 1, 7, 1, 96, 2, 127, 127, 1, 126, 3, 2, 1, 0, 5, 3, 1, 0, 1, 6, 7, 1, 127, 0, 65, 128,
    32, 11, 7, 41, 3, 6, 109, 101, 109, 111, 114, 121, 2, 0, 11, 95, 95, 104, 101, 97, 112, 95, 98, 97, 115, 101, 3, 0,
    14, 118, 97, 108, 105, 100, 97, 116, 101, 95, 98, 108, 111, 99, 107, 0, 0, 10, 23, 1, 21, 0, 65, 128, 16, 64, 0,
    65, 127, 70, 4, 64, 0, 11, 66, 128, 152, 128, 128, 192, 1, 11,
];

impl JobRunner {
    /// Prepares and executes a small PVF in the sandbox of this runner, with a copy of the artifact in `folder`.
    ///
    /// # Errors
    /// What failed.
    pub async fn self_test(&self, folder: &Path) -> Result<(), String> {
        // Its templates are its own, and end with it.
        let runner = self.clone().with_slots(1, 0);
        let params = ExecutorParams::default();
        let engine = engine_id(self.baseline()).map_err(|error| format!("engine: {error}"))?;
        let artifact = ArtifactId { code_hash: CodeHash::of(CODE), prep_hash: params.prep_hash(), engine };
        let prepare = PrepareJob {
            artifact: artifact.clone(),
            cpu_limit: params.prep_timeout(PvfPrepKind::Prepare),
            executor_params: params.clone(),
            code_bomb_limit: DEFAULT_CODE_BOMB_LIMIT,
            precheck: false,
            threads: 1,
        };
        let compiled = match runner.prepare(&prepare, Bytes::from_static(CODE)).await.0 {
            Prepared::Artifact(compiled) => compiled,
            Prepared::Failed(error) => return Err(format!("preparation: {error}")),
            Prepared::Internal(error) => return Err(format!("preparation: {error}")),
        };
        let write = |error: std::io::Error| format!("copy of the artifact in {}: {error}", folder.display());
        let copy = tempfile::Builder::new().prefix("pvf-self-test-").tempfile_in(folder).map_err(write)?;
        std::fs::write(copy.path(), &compiled.code).map_err(write)?;
        let copied = ArtifactFile::new(copy.path(), content_hash(&compiled.code), compiled.has_start);
        let execute = ExecuteJob {
            artifact,
            digest: None,
            context: CandidateContext {
                parent_head: Bytes::new(),
                relay_parent_number: 1,
                relay_parent_storage_root: StorageRoot([0; 32]),
                extension: None,
                block_data_form: BlockDataForm::MaybeCompressed,
            },
            block_data: BlobRef::Inline(Bytes::new()),
            cpu_limit: params.exec_timeout(PvfExecKind::Approval),
            executor_params: params,
            pov_bomb_limit: POV_BOMB_LIMIT,
        };
        match runner.execute(&execute, &copied, Bytes::new()).await.0 {
            ExecuteOutcome::Valid(_) => Ok(()),
            ExecuteOutcome::Invalid(why) => Err(format!("execution: {why}")),
            ExecuteOutcome::Ambiguous(why) => Err(format!("execution: {why}")),
            ExecuteOutcome::Internal(error) => Err(format!("execution: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_is_that_of_its_text() {
        let text = r#"(module
            (memory (export "memory") 1)
            (global (export "__heap_base") i32 (i32.const 4096))
            (func (export "validate_block") (param i32 i32) (result i64)
                (if (i32.eq (memory.grow (i32.const 2048)) (i32.const -1)) (then (unreachable)))
                (i64.const 0x0000000C_00000C00)))"#;
        assert_eq!(CODE, wat::parse_str(text).unwrap());
    }
}
