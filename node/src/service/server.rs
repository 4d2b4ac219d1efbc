//! The side of the service.

use super::{
    codes::Codes,
    messages::{FromService, ToService, VERSION, read, write},
};
use crate::{code_call::CodeCall, fleet::Fleet, metrics::NodeMetrics};
use bytes::Bytes;
use parity_scale_codec::Encode as _;
use pvf_shared::ids::CodeHash;
use std::{
    io::{self, Error, ErrorKind},
    os::unix::fs::{FileTypeExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::AsyncReadExt as _,
    net::{
        UnixListener, UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::Semaphore,
    task::JoinSet,
    time::Instant,
};

/// Worker executables that are served at the same time. A node has a few for each core.
const MAX_CALLERS: usize = 512;
/// Who may connect: the user of the service and its group.
const SOCKET_MODE: u32 = 0o660;

/// A socket that is bound; it is removed in the end.
#[derive(Debug)]
pub struct Listening {
    listener: UnixListener,
    path: PathBuf,
}

impl Drop for Listening {
    fn drop(&mut self) {
        // Nothing listens any more, so what remains would be in the way of nothing.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Listening {
    /// Binds the socket. One that a service has left behind is replaced. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// Another service listens there, or the folder cannot be written.
    pub fn bind(path: &Path) -> io::Result<Self> {
        match std::os::unix::net::UnixStream::connect(path) {
            Ok(_) => return Err(Error::new(ErrorKind::AddrInUse, "another node service listens there")),
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                // A connection to an ordinary file is refused as well.
                if !std::fs::symlink_metadata(path)?.file_type().is_socket() {
                    return Err(Error::new(ErrorKind::AlreadyExists, "exists and is not a socket; give another path"));
                }
                std::fs::remove_file(path)?;
            }
            Err(error) if error.kind() == ErrorKind::NotFound && path.parent().is_some_and(|dir| !dir.exists()) => {
                let why = "its folder does not exist; RuntimeDirectory= of a systemd unit makes it";
                return Err(Error::new(ErrorKind::NotFound, why));
            }
            Err(_) => {}
        }
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(SOCKET_MODE))?;
        Ok(Self { listener, path: path.to_owned() })
    }
}

/// A service.
pub struct Server {
    fleet: Fleet,
    codes: Codes,
    metrics: NodeMetrics,
}

impl Server {
    /// A service of this fleet, which keeps at most so many bytes of codes.
    pub fn new(fleet: Fleet, code_bytes: u64, metrics: NodeMetrics) -> Self {
        let fleet = fleet.with_metrics(metrics.clone());
        Self { fleet, codes: Codes::new(code_bytes), metrics }
    }

    /// Serves until `stop` completes. Then calls in progress are cancelled; their callers know other ways to the fleet.
    pub async fn run(self, listening: &Listening, stop: impl Future<Output = ()>) {
        let (server, places) = (Arc::new(self), Arc::new(Semaphore::new(MAX_CALLERS)));
        let mut callers = JoinSet::new();
        tokio::pin!(stop);
        loop {
            let accepted = tokio::select! {
                () = &mut stop => return,
                Some(_) = callers.join_next() => {
                    server.metrics.set_callers(callers.len());
                    continue;
                }
                accepted = listening.listener.accept() => accepted,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a worker executable");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let Ok(place) = places.clone().try_acquire_owned() else {
                tracing::warn!(limit = MAX_CALLERS, "a worker executable is refused: too many are connected");
                continue;
            };
            let (server, metrics) = (server.clone(), server.metrics.clone());
            callers.spawn(async move {
                if let Err(error) = server.serve(stream).await {
                    tracing::info!(%error, "a worker executable was left");
                }
                drop(place);
            });
            metrics.set_callers(callers.len());
        }
    }

    async fn serve(&self, stream: UnixStream) -> io::Result<()> {
        let (mut read_half, mut write_half) = stream.into_split();
        let (from, to) = (&mut read_half, &mut write_half);
        while let Some((message, body)) = read::<ToService>(from).await? {
            match message {
                ToService::Hello { version } => {
                    write(to, &FromService::Hello { version: VERSION }, &[]).await?;
                    if version != VERSION {
                        let why = format!("it speaks version {version} of the service's protocol, this one {VERSION}");
                        return Err(Error::new(ErrorKind::InvalidData, why));
                    }
                }
                ToService::Execute(call) => {
                    let began = Instant::now();
                    let Some(code) = self.code(&call.code, from, to).await? else { return Ok(()) };
                    let work = self.fleet.execute(&call, code, body);
                    let Some(answer) = self.unless_gone(from, work).await else { return Ok(()) };
                    self.metrics.executed(&answer, began.elapsed());
                    write(to, &FromService::Executed, &answer.encode()).await?;
                }
                ToService::Prepare(call) => {
                    let began = Instant::now();
                    let Some(code) = self.code(&call.code, from, to).await? else { return Ok(()) };
                    let work = self.fleet.prepare(&call, &code);
                    let Some(answer) = self.unless_gone(from, work).await else { return Ok(()) };
                    self.metrics.prepared(&answer, began.elapsed());
                    write(to, &FromService::Prepared, &answer.encode()).await?;
                }
                ToService::Security => {
                    let security = self.fleet.security().await;
                    write(to, &FromService::Security(security), &[]).await?;
                }
                ToService::Code => return Err(unexpected("a code that was not asked for")),
            }
        }
        Ok(())
    }

    /// The code of a call: kept, or from the caller. `None` if the caller is gone.
    async fn code(
        &self,
        call: &CodeCall,
        from: &mut OwnedReadHalf,
        to: &mut OwnedWriteHalf,
    ) -> io::Result<Option<Bytes>> {
        if let Some(code) = self.codes.find(&call.hash) {
            return Ok(Some(code));
        }
        write(to, &FromService::CodeMissing, &[]).await?;
        let Some((message, code)) = read::<ToService>(from).await? else { return Ok(None) };
        if !matches!(message, ToService::Code) || CodeHash::of(&code) != call.hash {
            return Err(unexpected("another code than that of the call"));
        }
        self.metrics.code_brought(self.codes.keep(call.hash, code.clone()));
        Ok(Some(code))
    }

    /// The result of some work; `None` if the caller is gone before. The work is dropped then, which cancels its
    /// request.
    async fn unless_gone<T>(&self, from: &mut OwnedReadHalf, work: impl Future<Output = T>) -> Option<T> {
        let mut byte = [0; 1];
        tokio::select! {
            done = work => Some(done),
            // A caller sends nothing while it waits.
            _ = from.read(&mut byte) => {
                self.metrics.dropped();
                None
            }
        }
    }
}

fn unexpected(what: &str) -> Error {
    Error::new(ErrorKind::InvalidData, format!("it sent {what}"))
}
