//! A slow link to a server, which can be cut: connections through it share its bandwidth, for each direction.

use std::time::Duration;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinHandle,
    time::Instant,
};

/// Bytes that pass at once.
const CHUNK: usize = 32 * 1024;

/// A link for one connection after another. It ends when it is dropped.
pub struct SlowLink {
    /// The URL to connect to instead of the server's.
    pub url: String,
    cut: watch::Sender<bool>,
    accepting: JoinHandle<()>,
}

impl SlowLink {
    /// To this NATS server, with so many bytes a second in each direction.
    pub async fn to(url: &str, bytes_per_second: u32) -> Self {
        let server = url.trim_start_matches("nats://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("nats://{}", listener.local_addr().expect("its address"));
        let (cut, is_cut) = watch::channel(false);
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(&server).await else { continue };
                // What is sent at once must not wait for an acknowledgement.
                let _ = (client.set_nodelay(true), server.set_nodelay(true));
                let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
                for (from, to) in [(from_client, to_server), (from_server, to_client)] {
                    tokio::spawn(pass(from, to, bytes_per_second, is_cut.clone()));
                }
            }
        });
        Self { url, cut, accepting }
    }

    /// Cuts the link, or mends it: while it is cut nothing passes, and no end is told.
    pub fn cut(&self, cut: bool) {
        self.cut.send_replace(cut);
    }
}

impl Drop for SlowLink {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Passes bytes on until one end closes, each chunk in the time that it takes on the link.
async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, bytes_per_second: u32, mut cut: watch::Receiver<bool>) {
    let mut buffer = vec![0; CHUNK];
    let mut free_at = Instant::now();
    while let Ok(n @ 1..) = from.read(&mut buffer).await {
        free_at = free_at.max(Instant::now()) + Duration::from_secs(n as u64) / bytes_per_second;
        tokio::time::sleep_until(free_at).await;
        if cut.wait_for(|cut| !cut).await.is_err() {
            break;
        }
        if to.write_all(&buffer[..n]).await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
}
