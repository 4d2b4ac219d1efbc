//! The side of a node: starts a worker executable in an environment without variables, as a node does, and talks to it.

use crate::processes::{Process, binary};
use parity_scale_codec::{Decode, Encode};
use pvf_node::{
    artifact::{ArtifactKey, NodeArtifact, checksum_of},
    code_call::CodeCall,
    config::FILE_NAME,
    protocol::{
        DescriptorVersion, ExecuteAnswer, ExecuteRequest, Handshake, PrepareAnswer, PrepareJobKind, PrepareRequest,
        decode, read_frame, write_frame,
    },
};
use pvf_shared::{Bytes, ids::CodeHash, params::ExecutorParams};
use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};
use tempfile::TempDir;
use tokio::{
    io::AsyncWriteExt as _,
    net::{UnixListener, UnixStream},
};

/// A folder with worker executables and their settings.
pub struct Workers {
    dir: TempDir,
}

impl Workers {
    /// For the fleet behind this bus, with more lines of settings in front of the connection, and more of the
    /// connection behind it. The node service would listen on the socket in the folder.
    pub fn new(nats: &str, settings: &str, connection: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["polkadot-prepare-worker", "polkadot-execute-worker"] {
            std::fs::copy(binary("pvf-node-worker"), dir.path().join(name)).unwrap();
        }
        std::fs::write(dir.path().join("pvf-node.key"), ArtifactKey::generate().unwrap().to_text()).unwrap();
        let text = format!(
            "log = \"warn\"\n[node]\nversion = \"1.25.1\"\n{settings}\n[service]\nsocket = \"s\"\n\
             [local]\nstore = \"store\"\nsecure = false\n[bus]\nnats = \"{nats}\"\n{connection}\n"
        );
        std::fs::write(dir.path().join(FILE_NAME), text).unwrap();
        Self { dir }
    }

    /// A file of the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Starts the node service, and waits until it listens.
    pub async fn serve(&self) -> Process {
        self.serve_with(&[]).await
    }

    /// As [`Self::serve`], with more arguments.
    pub async fn serve_with(&self, arguments: &[&str]) -> Process {
        let mut command = Command::new(binary("pvf"));
        command.args(["node", "serve", "--config"]).arg(self.path(FILE_NAME)).args(arguments);
        let mut service = Process::start(&mut command);
        crate::processes::until("the node service listens", async || {
            assert!(service.0.try_wait().unwrap().is_none(), "the node service has ended");
            UnixStream::connect(self.path("s")).await.ok().map(drop)
        })
        .await;
        service
    }

    /// A command line of one of the executables.
    pub fn command(&self, kind: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.path(&format!("polkadot-{kind}-worker")));
        command.env_clear().args(arguments);
        command
    }

    /// Starts a prepare worker.
    pub async fn prepare(&self) -> PrepareWorker {
        PrepareWorker { worker: Worker::start(self, "prepare").await, timeout: Duration::from_secs(60) }
    }

    /// Starts an execute worker for a session with these parameters.
    pub async fn execute(&self, params: &ExecutorParams) -> ExecuteWorker {
        let mut worker = Worker::start(self, "execute").await;
        worker.send(&params.encode()).await;
        ExecuteWorker(worker)
    }
}

/// A worker executable that runs, with the folder that it shares with the node.
pub struct Worker {
    /// Its process.
    pub process: Process,
    stream: UnixStream,
    dir: TempDir,
}

impl Worker {
    /// Starts a worker of this kind, `prepare` or `execute`, and sends the handshake.
    pub async fn start(workers: &Workers, kind: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("socket");
        let listener = UnixListener::bind(&socket).unwrap();
        let (worker_dir, verb) = (dir.path().join("worker-dir"), format!("{kind}-worker"));
        std::fs::create_dir(&worker_dir).unwrap();
        let mut command = workers.command(kind, &[&verb, "--node-impl-version", "1.25.1", "--socket-path"]);
        let process = Process::start(command.arg(&socket).arg("--worker-dir-path").arg(&worker_dir));
        let accepted = tokio::time::timeout(pvf_testkit::DEADLINE, listener.accept()).await;
        let (stream, _) = accepted.expect("the worker connects").unwrap();
        let mut worker = Self { process, stream, dir };
        let handshake = Handshake {
            secure_validator_mode: true,
            landlock: true,
            seccomp: true,
            change_root: true,
            secure_clone: true,
        };
        worker.send(&handshake.encode()).await;
        worker
    }

    /// Closes the connection, as a node that ends does.
    pub fn close(self) -> Process {
        self.process
    }

    /// Whether the socket that the node made is there.
    pub fn has_socket(&self) -> bool {
        self.dir.path().join("socket").exists()
    }

    /// The file under this name in the folder that both share.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join("worker-dir").join(name)
    }

    /// Sends bytes as one message.
    pub async fn send(&mut self, message: &[u8]) {
        write_frame(&mut self.stream, message).await.unwrap();
    }

    /// Sends bytes as they are.
    pub async fn send_raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// Receives an answer; `None` if the worker has ended.
    pub async fn receive<T: Decode + Encode>(&mut self) -> Option<T> {
        let frame = tokio::time::timeout(pvf_testkit::DEADLINE, read_frame(&mut self.stream)).await;
        let frame = frame.expect("an answer in time").ok().flatten()?;
        Some(decode("answer", &frame.message).unwrap())
    }
}

/// An artifact as a node keeps it.
pub struct Artifact {
    /// The file.
    pub file: PathBuf,
    /// Its checksum.
    pub checksum: [u8; 32],
    _dir: TempDir,
}

impl Artifact {
    /// What a prepare worker of this folder would write.
    pub fn of_code(workers: &Workers, code: &'static [u8]) -> Self {
        let key = ArtifactKey::read(&workers.path("pvf-node.key")).unwrap();
        let executor_params = ExecutorParams::default();
        let call = CodeCall { hash: CodeHash::of(code), bomb_limit: 30 << 20, executor_params };
        let artifact = NodeArtifact { call, code: Bytes::from_static(code) };
        let content = artifact.encode(&key).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("artifact");
        std::fs::write(&file, &content).unwrap();
        Self { file, checksum: checksum_of(&content), _dir: dir }
    }
}

/// A prepare worker.
pub struct PrepareWorker {
    /// Its process and its connection.
    pub worker: Worker,
    /// CPU time limit of preparations.
    pub timeout: Duration,
}

impl PrepareWorker {
    /// Has a code prepared.
    pub async fn prepare(&mut self, code: &[u8], kind: PrepareJobKind) -> (PrepareAnswer, Option<Artifact>) {
        let request = PrepareRequest {
            code: Bytes::copy_from_slice(code),
            code_bomb_limit: 30 << 20,
            code_hash: CodeHash::of(code).0,
            executor_params: ExecutorParams::default(),
            timeout: self.timeout,
            kind,
        };
        let file = self.worker.file("tmp-artifact");
        std::fs::write(&file, []).unwrap();
        self.worker.send(&request.encode()).await;
        let answer = self.worker.receive::<PrepareAnswer>().await.expect("an answer");
        let Ok(prepared) = &answer else { return (answer, None) };
        let dir = tempfile::tempdir().unwrap();
        let kept = dir.path().join("artifact");
        std::fs::rename(file, &kept).unwrap();
        let artifact = Artifact { file: kept, checksum: prepared.checksum, _dir: dir };
        (answer, Some(artifact))
    }
}

/// An execute worker.
pub struct ExecuteWorker(pub Worker);

impl ExecuteWorker {
    /// Sends a candidate, of which the artifact is that of a preparation.
    pub async fn send(&mut self, artifact: &Artifact, request: &ExecuteRequest) {
        let link = self.0.file("artifact");
        if link.exists() {
            std::fs::remove_file(&link).unwrap();
        }
        std::fs::hard_link(&artifact.file, &link).unwrap();
        self.0.send(&request.encode()).await;
    }

    /// Has a candidate executed.
    pub async fn execute(&mut self, artifact: &Artifact, request: &ExecuteRequest) -> ExecuteAnswer {
        self.send(artifact, request).await;
        self.0.receive().await.expect("an answer")
    }
}

/// A candidate at relay block 7 with the time limit of backing.
pub fn candidate(artifact: &Artifact, parent_head: impl Into<Bytes>, block_data: impl Into<Bytes>) -> ExecuteRequest {
    ExecuteRequest {
        parent_head: parent_head.into(),
        relay_parent_number: 7,
        relay_parent_storage_root: [1; 32],
        max_pov_size: 10 << 20,
        block_data: block_data.into(),
        timeout: Duration::from_secs(2),
        artifact_checksum: artifact.checksum,
        relay_parent: [2; 32],
        scheduling_parent: [3; 32],
        descriptor_version: DescriptorVersion::V1,
    }
}

/// Writes bytes over a file, at an offset.
pub fn corrupt(file: &Path, at: usize) {
    let mut content = std::fs::read(file).unwrap();
    content[at] ^= 1;
    std::fs::write(file, content).unwrap();
}
