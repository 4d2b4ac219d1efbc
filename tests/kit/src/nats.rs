//! A `nats-server` for one test or bench.

use crate::{
    processes::{Process, binary_on_path, signal},
    until,
};
use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Command, Stdio},
};
use tempfile::TempDir;

/// Default `max_payload` of a `nats-server`, bytes.
pub const DEFAULT_PAYLOAD: usize = 1024 * 1024;

/// Attempts to start a server: another process may take the port between its choice and the start.
const ATTEMPTS: usize = 5;

/// The path of `nats-server`: `PVF_NATS_SERVER`, or on the PATH. The error says what to do.
pub fn server_path() -> Result<PathBuf, String> {
    if let Some(path) = std::env::var_os("PVF_NATS_SERVER").map(PathBuf::from) {
        return if path.is_file() { Ok(path) } else { Err(format!("PVF_NATS_SERVER: no file {}", path.display())) };
    }
    let hint = "no nats-server on the PATH: install one, or name it in PVF_NATS_SERVER (`.ci/setup` installs one)";
    binary_on_path("nats-server").ok_or_else(|| hint.into())
}

/// A running `nats-server` on a port of 127.0.0.1.
pub struct NatsServer {
    /// Its URL.
    pub url: String,
    port: u16,
    /// Where its monitoring answers.
    monitor: u16,
    /// The lines of its configuration that stay when it is reloaded.
    base: String,
    process: Process,
    dir: TempDir,
}

impl NatsServer {
    /// Starts a server with this `max_payload`, bytes.
    pub async fn start(max_payload: usize) -> Self {
        Self::start_with(max_payload, "").await
    }

    /// Starts a server with JetStream, this `max_payload`, bytes, and more lines of configuration. With an operator it
    /// has no JetStream: accounts would need limits for it.
    pub async fn start_with(max_payload: usize, more: &str) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let store = dir.path().join("jetstream");
        if more.contains("operator:") {
            return Self::start_in(dir, max_payload, ["", more]).await;
        }
        let jetstream = format!("jetstream {{ store_dir: \"{}\", max_file_store: 64M }}\n", store.display());
        Self::start_in(dir, max_payload, [&jetstream, more]).await
    }

    /// Starts a server without JetStream.
    pub async fn start_without_jetstream() -> Self {
        Self::start_in(tempfile::tempdir().expect("a temporary folder"), DEFAULT_PAYLOAD, ["", ""]).await
    }

    /// Starts a server with lines of configuration that it keeps, and more that can be replaced.
    async fn start_in(dir: TempDir, max_payload: usize, [kept, more]: [&str; 2]) -> Self {
        for _ in 0..ATTEMPTS {
            let (port, monitor) = (free_port(), free_port());
            let base = format!(
                "listen: \"127.0.0.1:{port}\"\nhttp: \"127.0.0.1:{monitor}\"\nmax_payload: {max_payload}\n\
                 max_pending: {}\n{kept}",
                8 * max_payload
            );
            std::fs::write(dir.path().join("nats.conf"), format!("{base}{more}\n"))
                .expect("the configuration is written");
            if let Some(process) = spawn(port, &dir).await {
                return Self { url: format!("nats://127.0.0.1:{port}"), port, monitor, base, process, dir };
            }
        }
        panic!("nats-server did not start in {ATTEMPTS} attempts");
    }

    /// A number of its monitoring (`/varz`): `slow_consumers`, `in_bytes`, `out_bytes` and others.
    pub fn varz(&self, name: &str) -> u64 {
        let mut stream = TcpStream::connect(("127.0.0.1", self.monitor)).expect("the monitoring listens");
        let request = "GET /varz HTTP/1.0\r\nHost: nats\r\n\r\n";
        stream.write_all(request.as_bytes()).expect("the request is sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("the monitoring answers");
        let value = answer.split_once(&format!("\"{name}\":")).map(|(_, rest)| rest.trim_start());
        let digits = value.map(|rest| rest.chars().take_while(char::is_ascii_digit).collect::<String>());
        digits.and_then(|digits| digits.parse().ok()).unwrap_or_else(|| panic!("no {name} in {answer}"))
    }

    /// Has the running server read another configuration: the same but for these lines instead of those that it was
    /// started with.
    pub fn reload_with(&mut self, more: &str) {
        let path = self.dir.path().join("nats.conf");
        std::fs::write(path, format!("{}{more}\n", self.base)).expect("the configuration is written");
        signal(self.pid(), libc::SIGHUP);
    }

    /// Its process, to stop and continue it.
    pub fn pid(&self) -> i32 {
        self.process.pid()
    }

    /// Kills the server.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts the killed server again, on the same port and with the same configuration.
    pub async fn restart(&mut self) {
        self.kill();
        for _ in 0..ATTEMPTS {
            if let Some(process) = spawn(self.port, &self.dir).await {
                self.process = process;
                return;
            }
        }
        panic!("nats-server did not start again on port {}", self.port);
    }
}

fn free_port() -> u16 {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    free.expect("a free port").port()
}

/// Starts a server with the configuration in the folder; `None` if it ended before it listened.
async fn spawn(port: u16, dir: &TempDir) -> Option<Process> {
    let server = server_path().unwrap_or_else(|why| panic!("{why}"));
    let mut command = Command::new(server);
    command.arg("--config").arg(dir.path().join("nats.conf")).arg("--log").arg(dir.path().join("log"));
    let mut process = Process::start(command.stderr(Stdio::null()));
    let listens = until("nats-server listens or ends", async || {
        if process.0.try_wait().expect("its status").is_some() {
            return Some(false);
        }
        TcpStream::connect(("127.0.0.1", port)).is_ok().then_some(true)
    });
    listens.await.then_some(process)
}
