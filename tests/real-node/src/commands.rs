//! The lines that this process reads and writes, JSON. `tests/node/driver.rs` has the other side.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// A line on stdin.
#[derive(Deserialize)]
pub struct Line {
    /// Chosen by the sender; the answer has it.
    pub id: u64,
    /// What to do.
    #[serde(flatten)]
    pub command: Command,
}

/// What to do.
#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Command {
    /// Start a host under a name. One of this name ends first, as a node that is restarted.
    Start(Start),
    /// Pre-check a code.
    Precheck(Pvf),
    /// Validate a candidate.
    Execute(Box<Execute>),
}

/// A host.
#[derive(Deserialize)]
pub struct Start {
    /// Its name.
    pub host: String,
    /// Folder of the worker executables.
    pub workers: PathBuf,
    /// Folder of its artifacts.
    pub cache: PathBuf,
    /// Whether it runs in secure validator mode.
    pub secure: bool,
    /// Number of its execute workers.
    pub execute_workers: usize,
}

/// A code.
#[derive(Deserialize)]
pub struct Pvf {
    /// The host to ask.
    pub host: String,
    /// File with the code.
    pub code: PathBuf,
    /// Executor parameters, SCALE in hex.
    pub params: String,
    /// CPU time limit of the preparation, milliseconds.
    pub prepare_timeout_ms: u64,
}

/// A candidate.
#[derive(Deserialize)]
pub struct Execute {
    /// The code.
    #[serde(flatten)]
    pub pvf: Pvf,
    /// Head data of the parent, hex.
    pub parent_head: String,
    /// Number of the relay parent.
    pub relay_parent_number: u32,
    /// Storage root of the relay parent, hex.
    pub relay_parent_storage_root: String,
    /// File with the block data.
    pub block_data: PathBuf,
    /// CPU time limit, milliseconds.
    pub timeout_ms: u64,
    /// `dispute`, `approval` or `backing`.
    pub kind: String,
    /// Whether the candidate has a descriptor of version 3.
    #[serde(default)]
    pub v3: bool,
}

/// A line on stdout.
#[derive(Serialize)]
pub struct Answer {
    /// That of the command.
    pub id: u64,
    /// `ok`, `valid`, `invalid`, `possibly-invalid`, `preparation`, `internal`, `deadline` or `error`.
    pub outcome: &'static str,
    /// The node's own words.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// SCALE of the result of a valid candidate, hex.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub result: String,
    /// From the call of the host to its answer, milliseconds.
    pub ms: f64,
}
