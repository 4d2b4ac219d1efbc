//! What a run found: the file that `--out` writes and `--baseline` reads.

use crate::tool::{failure::Failure, files, network::limits::Network, text::escaped};
use pvf_shared::{
    client::Answer,
    ids::CodeHash,
    params::ExecutorParams,
    units::human_bytes,
    usage::ms,
    verdict::{Blame, Outcome},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{os::unix::fs::PermissionsExt as _, path::Path};

/// The format that this version writes and reads.
const FORMAT: &str = "pvf-sweep/1";
/// The verdict on a code of which nothing is known.
pub(super) const NO_RESULT: &str = "no_result";
/// The verdict on a code that can be prepared.
const OK: &str = "ok";

/// A run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Sweep {
    format: String,
    /// Version of this program.
    version: String,
    /// The network, if one was given.
    network: Option<String>,
    executor_params: ExecutorParams,
    /// The codes.
    pub(super) codes: Vec<Entry>,
}

/// A code, and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// The file, or the parachains.
    pub(super) name: String,
    /// Hash of the code.
    pub(super) code_hash: String,
    /// Size as submitted.
    pub(super) code_bytes: u64,
    /// `ok`, `preparation_failed` or [`NO_RESULT`].
    pub(super) verdict: String,
    /// Why it is not `ok`.
    pub(super) reason: Option<String>,
    /// Size of the artifact.
    pub(super) artifact_bytes: Option<u64>,
    /// Engine of the artifact.
    pub(super) engine: Option<String>,
    /// CPU time of the preparation.
    pub(super) cpu_ms: Option<f64>,
    /// Largest resident set of the preparation.
    pub(super) max_rss_bytes: Option<u64>,
}

impl Entry {
    /// A code without an answer.
    pub(super) fn unanswered(name: String, (hash, size): (CodeHash, u64), why: &Failure) -> Self {
        Self {
            name,
            code_hash: format!("0x{hash}"),
            code_bytes: size,
            verdict: NO_RESULT.into(),
            reason: Some(why.to_string()),
            artifact_bytes: None,
            engine: None,
            cpu_ms: None,
            max_rss_bytes: None,
        }
    }

    /// Whether the code cannot be prepared.
    pub(super) fn is_unpreparable(&self) -> bool {
        self.failed() && self.verdict != NO_RESULT
    }

    /// Whether the code cannot be prepared, or nothing is known.
    pub(super) fn failed(&self) -> bool {
        self.verdict != OK
    }
}

impl Entry {
    /// A code that was answered.
    pub(super) fn of(name: String, size: u64, answer: &Answer) -> Self {
        let usage = answer.usage.preparation.as_ref().map(|of| of.usage);
        Self {
            name,
            code_hash: format!("0x{}", answer.code_hash),
            code_bytes: size,
            verdict: verdict(answer),
            reason: answer.outcome.reason(),
            artifact_bytes: answer.artifact.as_ref().map(|of| of.bytes).filter(|bytes| *bytes > 0),
            engine: answer.artifact.as_ref().map(|of| of.id.engine.to_string()),
            cpu_ms: usage.map(|usage| ms(usage.cpu)),
            max_rss_bytes: usage.map(|usage| usage.max_rss_kib.saturating_mul(1024)),
        }
    }

    /// As one line.
    fn line(&self, width: usize) -> String {
        let cpu = self.cpu_ms.map_or_else(|| "-".into(), |ms| format!("{ms:.0} ms"));
        let artifact = self.artifact_bytes.map_or_else(|| "-".into(), human_bytes);
        let why = self.reason.as_ref().map(|why| format!("  {}", escaped(why))).unwrap_or_default();
        let (name, code) = (escaped(&self.name), human_bytes(self.code_bytes));
        format!("{name:<width$} {:<20} {code:>10} {artifact:>10} {cpu:>10}{why}", self.verdict)
    }
}

fn verdict(answer: &Answer) -> String {
    match (answer.outcome.blame(), &answer.outcome) {
        (Blame::Ours, _) | (_, Outcome::Expired) => NO_RESULT.into(),
        _ => answer.outcome.name().into(),
    }
}

impl Sweep {
    /// A run with these codes.
    pub(super) fn new(network: &Network, codes: Vec<Entry>) -> Self {
        Self {
            format: FORMAT.into(),
            version: env!("CARGO_PKG_VERSION").into(),
            network: network.snapshot.as_ref().map(|snapshot| snapshot.title()),
            executor_params: network.executor_params.clone(),
            codes,
        }
    }

    /// The run in a file.
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let wrong = |why: String| Failure::Input(format!("--baseline {}: {why}", path.display()));
        let bytes = files::read("--baseline", path)?;
        let read: Self = serde_json::from_slice(&bytes).map_err(|e| wrong(format!("not a result of sweep: {e}")))?;
        match read.format == FORMAT {
            true => Ok(read),
            false => Err(wrong(format!("format {:?}: this version reads {FORMAT:?}", read.format))),
        }
    }

    /// Executor parameters of the run.
    pub(super) fn executor_params(&self) -> &ExecutorParams {
        &self.executor_params
    }

    /// The run as JSON.
    pub(super) fn json(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }

    pub(super) fn text(&self) -> String {
        let width = self.codes.iter().map(|entry| entry.name.chars().count()).max().unwrap_or(0).clamp(4, 60);
        let header = format!("{:<width$} {:<20} {:>10} {:>10} {:>10}\n", "code", "verdict", "size", "artifact", "CPU");
        let lines: String = self.codes.iter().map(|entry| entry.line(width) + "\n").collect();
        let failed = self.codes.iter().filter(|entry| entry.failed()).count();
        format!("{header}{lines}{} codes, {failed} cannot be prepared or have no result\n", self.codes.len())
    }
}

/// A file that takes the place of another one when it is complete.
pub(super) struct NewFile<'a> {
    path: &'a Path,
    file: tempfile::NamedTempFile,
}

impl<'a> NewFile<'a> {
    /// A new file for this path.
    pub(super) fn create(path: &'a Path) -> Result<Self, Failure> {
        let failed = |e| Failure::Input(format!("--out: cannot write {}: {e}", path.display()));
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if path.is_dir() {
            return Err(failed(std::io::Error::from(std::io::ErrorKind::IsADirectory)));
        }
        // As of any other file: what the umask leaves.
        let permissions = std::fs::Permissions::from_mode(0o666);
        Ok(Self { path, file: tempfile::Builder::new().permissions(permissions).tempfile_in(folder).map_err(failed)? })
    }

    /// Writes the result, and gives the file its name.
    pub(super) fn write(mut self, result: &Sweep) -> Result<(), Failure> {
        let failed = |why: String| Failure::NoResult(format!("--out {}: {why}", self.path.display()));
        serde_json::to_writer_pretty(&mut self.file, result).map_err(|e| failed(e.to_string()))?;
        self.file.persist(self.path).map(drop).map_err(|e| failed(e.to_string()))
    }
}
