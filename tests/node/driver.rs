//! The real PVF host of a node: the process `pvf-node-host` of `tests/real-node`, which takes requests by lines.

use parity_scale_codec::Encode as _;
use pvf_shared::{Bytes, ids::blake2b_256, params::ExecutorParams};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    process::{Child, ChildStdin, Command},
    sync::oneshot,
};

/// An answer of a host.
#[derive(Debug, Clone, Deserialize)]
pub struct Answer {
    id: u64,
    /// `ok`, `valid`, `invalid`, `possibly-invalid`, `preparation`, `internal`, `deadline` or `error`.
    pub outcome: String,
    /// The node's own words.
    #[serde(default)]
    pub reason: String,
    /// SCALE of the result, hex.
    #[serde(default)]
    pub result: String,
    /// From the call of the host to its answer, milliseconds.
    pub ms: f64,
}

impl Answer {
    /// The outcome with the innermost name of the reason, for tables.
    pub fn short(&self) -> String {
        let words: Vec<_> =
            self.reason.split(['(', ')', '{', '"', ' ']).filter(|word| !word.is_empty()).take(2).collect();
        let detail = words.get(1).or(words.first()).copied().unwrap_or_default();
        if detail.is_empty() { self.outcome.clone() } else { format!("{}: {detail}", self.outcome) }
    }
}

type Waiting = Arc<Mutex<HashMap<u64, oneshot::Sender<Answer>>>>;

/// The process with the hosts.
pub struct Driver {
    child: Child,
    stdin: tokio::sync::Mutex<ChildStdin>,
    waiting: Waiting,
    next: AtomicU64,
    /// Inputs, by their hashes, and the hosts' artifacts.
    files: TempDir,
}

/// A code with what a node knows of it.
#[derive(Debug, Clone)]
pub struct Code {
    /// Its file.
    pub file: PathBuf,
    /// The session's executor parameters.
    pub params: ExecutorParams,
    /// CPU time limit of its preparation.
    pub prepare_timeout: Duration,
}

/// A candidate.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// Head data of the parent.
    pub parent_head: Vec<u8>,
    /// Number of the relay parent.
    pub relay_parent_number: u32,
    /// Storage root of the relay parent.
    pub root: [u8; 32],
    /// The file with its block data.
    pub block_data: PathBuf,
    /// CPU time limit.
    pub timeout: Duration,
    /// `dispute`, `approval` or `backing`.
    pub kind: &'static str,
    /// Whether its descriptor has version 3.
    pub v3: bool,
}

impl Driver {
    /// Starts the process.
    pub fn start(program: &Path) -> Result<Self, String> {
        let mut command = Command::new(program);
        // The node's own log is of no interest here, and workers get RUST_LOG.
        command.env("RUST_LOG", "error").stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child =
            command.spawn().map_err(|e| format!("{}: {e} (tests/real-node/run builds it)", program.display()))?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("no pipes".into());
        };
        let waiting = Waiting::default();
        let of_task = waiting.clone();
        tokio::spawn(async move {
            let mut lines = BufReader::new(stdout).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let Ok(answer) = serde_json::from_str::<Answer>(&line) else { continue };
                let sender = of_task.lock().unwrap_or_else(PoisonError::into_inner).remove(&answer.id);
                if let Some(sender) = sender {
                    let _ = sender.send(answer);
                }
            }
            // Requests that wait learn that there is no answer.
            of_task.lock().unwrap_or_else(PoisonError::into_inner).clear();
        });
        let files = tempfile::tempdir().map_err(|e| e.to_string())?;
        let stdin = tokio::sync::Mutex::new(stdin);
        Ok(Self { child, stdin, waiting, next: AtomicU64::new(0), files })
    }

    /// Its process.
    pub fn pid(&self) -> i32 {
        self.child.id().and_then(|pid| i32::try_from(pid).ok()).unwrap_or(-1)
    }

    async fn ask(&self, mut line: Value) -> Answer {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        line["id"] = json!(id);
        let (sender, receiver) = oneshot::channel();
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(id, sender);
        let text = format!("{line}\n");
        let written = self.stdin.lock().await.write_all(text.as_bytes()).await;
        written.expect("the host reads");
        receiver.await.expect("the host lives")
    }

    /// A file with these bytes.
    pub fn file(&self, bytes: &[u8]) -> PathBuf {
        let path = self.files.path().join(hex::encode(blake2b_256(&[bytes])));
        if !path.exists() {
            std::fs::write(&path, bytes).expect("a file of the test");
        }
        path
    }

    /// A code with default parameters.
    pub fn code(&self, bytes: &Bytes) -> Code {
        let (file, params) = (self.file(bytes), ExecutorParams::default());
        Code { file, params, prepare_timeout: Duration::from_secs(60) }
    }

    /// Folder of a host's artifacts.
    pub fn cache(&self, host: &str) -> PathBuf {
        self.files.path().join(format!("cache-{host}"))
    }

    /// Starts a host with the worker executables of a folder; one of this name ends first.
    pub async fn start_host(&self, host: &str, workers: &Path, secure: bool) -> Answer {
        std::fs::create_dir_all(self.cache(host)).expect("a folder of the test");
        self.ask(json!({
            "do": "start", "host": host, "workers": workers, "cache": self.cache(host), "secure": secure,
            "execute_workers": 2,
        }))
        .await
    }

    fn of_code(verb: &str, host: &str, code: &Code) -> Value {
        json!({
            "do": verb, "host": host, "code": code.file, "params": hex::encode(code.params.encode()),
            "prepare_timeout_ms": code.prepare_timeout.as_millis() as u64,
        })
    }

    /// Pre-checks a code.
    pub async fn precheck(&self, host: &str, code: &Code) -> Answer {
        self.ask(Self::of_code("precheck", host, code)).await
    }

    /// Validates a candidate.
    pub async fn execute(&self, host: &str, code: &Code, candidate: &Candidate) -> Answer {
        let mut line = Self::of_code("execute", host, code);
        let Value::Object(fields) = json!({
            "parent_head": hex::encode(&candidate.parent_head),
            "relay_parent_number": candidate.relay_parent_number,
            "relay_parent_storage_root": hex::encode(candidate.root),
            "block_data": candidate.block_data,
            "timeout_ms": candidate.timeout.as_millis() as u64,
            "kind": candidate.kind, "v3": candidate.v3,
        }) else {
            unreachable!("it is an object")
        };
        line.as_object_mut().expect("it is an object").extend(fields);
        self.ask(line).await
    }
}
