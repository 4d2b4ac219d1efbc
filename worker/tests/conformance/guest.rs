//! Guests in the text format, prepared under the parameters of a test and called any number of times.

use crate::common::{AMPLE, TestArtifact, WORKER, execute_job, prepare_job, runner};
use parity_scale_codec::Decode as _;
use pvf_shared::{
    Bytes,
    blob::BlobRef,
    candidate::ValidationResult,
    job::{ExecuteJob, ExecuteOutcome, PrepareJob},
    params::{ExecutorParam, ExecutorParams},
    verdict::InvalidReason,
};
use pvf_worker::supervise::{JobRunner, Prepared};
use std::path::Path;

/// The heap base of most guests. Memory below it is not used by the allocator.
pub const HEAP: u32 = 65_536;
/// Address of the head data that an [`answering`] guest returns.
pub const ANSWER: u32 = 1028;
/// Size of a page of memory, bytes.
pub const PAGE: u64 = 65_536;

/// A prepared guest.
pub struct Guest {
    pub artifact: TestArtifact,
    pub runner: JobRunner,
    pub params: ExecutorParams,
}

impl Guest {
    /// Translates the text, prepares it, and checks that it links.
    pub async fn new(text: &str, params: &[ExecutorParam]) -> Self {
        Self::on(runner(Path::new(WORKER)), text, params).await
    }

    /// As [`Guest::new`], with this runner.
    pub async fn on(runner: JobRunner, text: &str, params: &[ExecutorParam]) -> Self {
        let code = wat::parse_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        let params = ExecutorParams(params.to_vec());
        let mut job = PrepareJob { precheck: true, ..prepare_job(&code, params.clone()) };
        job.artifact.engine = runner.own_engine().expect("every baseline has an engine").clone();
        let artifact = match runner.prepare(&job, code.into()).await.0 {
            Prepared::Artifact(artifact) => artifact,
            other => panic!("{other:?}\n{text}"),
        };
        Self { artifact: TestArtifact::new(&artifact), runner, params }
    }

    /// Calls the guest with this parent head.
    pub async fn with_head(&self, head: &[u8]) -> ExecuteOutcome {
        self.call(head, b"", &self.params).await
    }

    /// Calls the guest with other parameters; they must be compatible with the artifact.
    pub async fn call(&self, head: &[u8], block: &[u8], params: &ExecutorParams) -> ExecuteOutcome {
        let mut job = ExecuteJob { cpu_limit: AMPLE, ..execute_job(b"", params.clone()) };
        job.context.parent_head = Bytes::copy_from_slice(head);
        self.runner.execute(&job, self.artifact.file(), Bytes::copy_from_slice(block)).await.0
    }
}

/// The head data of a valid candidate, or the reason why it is invalid. Panics at any other outcome.
pub fn head_data(outcome: ExecuteOutcome) -> Result<Vec<u8>, String> {
    match outcome {
        ExecuteOutcome::Valid(BlobRef::Inline(result)) => {
            Ok(ValidationResult::decode(&mut &result[..]).expect("a valid result decodes").head_data)
        }
        ExecuteOutcome::Invalid(InvalidReason::WorkerReported(why)) => Err(why),
        other => panic!("neither valid nor invalid: {other:?}"),
    }
}

/// A guest with `pages` of memory and this heap base. It runs `body` in `validate_block($at, $len)` and then returns
/// the `size` bytes at [`ANSWER`] as head data, the *answer*.
pub fn answering(pages: u32, heap: u32, size: u32, items: &str, body: &str) -> String {
    // In this range the compact length takes four bytes, so the answer is always at the same address.
    assert!((1 << 14..1 << 30).contains(&size));
    let (at, prefix) = (ANSWER - 4, escape(&(size << 2 | 2).to_le_bytes()));
    let result = u64::from(at) | u64::from(4 + size + 11) << 32;
    format!(
        r#"(module
            {items}
            (memory (export "memory") {pages})
            (global (export "__heap_base") i32 (i32.const {heap}))
            (data (i32.const {at}) "{prefix}")
            (func (export "validate_block") (param $at i32) (param $len i32) (result i64)
                {body}
                (i64.const {result})))"#
    )
}

/// Size of the shortest answer that [`answering`] supports, bytes.
pub const SHORTEST: u32 = 1 << 14;

/// The 32-bit word at index `n` of an answer.
pub fn word(answer: &[u8], n: usize) -> u32 {
    u32::from_le_bytes(answer[4 * n..4 * n + 4].try_into().unwrap())
}

/// The 64-bit word at index `n` of an answer.
pub fn long(answer: &[u8], n: usize) -> u64 {
    u64::from_le_bytes(answer[8 * n..8 * n + 8].try_into().unwrap())
}

/// Bytes as the content of a string literal of the text format.
pub fn escape(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("\\{byte:02x}")).collect()
}

/// Bytes from hexadecimal digits.
pub fn hex(digits: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
    (0..digits.len()).step_by(2).map(byte).collect()
}

/// Pseudo-random numbers (xorshift), the same on every run.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }
}
