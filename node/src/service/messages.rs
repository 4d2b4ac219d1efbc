//! Messages between a worker executable and the node service, on a Unix socket. Both are of the same installation; a
//! service of another version is found out by the first message.
//!
//! A message is: the length of its head and of its body (u32, little endian), the head as MessagePack, the body as it
//! is. Codes and block data travel as bodies, which nothing copies.

use crate::{
    calls::{ExecuteCall, PrepareCall},
    protocol::MAX_FRAME,
    security::FleetSecurity,
};
use bytes::Bytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::io::{Error, ErrorKind, Result};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// The version of these messages.
pub(super) const VERSION: u32 = 1;
/// Longest head, bytes. Head data of a parachain is in it.
const MAX_HEAD: u32 = 16 << 20;

/// A message to the service.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum ToService {
    /// The first message of a connection.
    Hello {
        /// [`VERSION`] of the caller.
        version: u32,
    },
    /// Execute a candidate. The body is its block data.
    Execute(Box<ExecuteCall>),
    /// Prepare a code.
    Prepare(Box<PrepareCall>),
    /// The code that the service asked for, as body.
    Code,
    /// The security of the fleet's workers.
    Security,
}

/// A message of the service.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum FromService {
    /// The answer to the first message.
    Hello {
        /// [`VERSION`] of the service.
        version: u32,
    },
    /// The service does not have the code of the call.
    CodeMissing,
    /// The answer to an execution: the body is that for the node.
    Executed,
    /// The answer to a preparation: the body is that for the node, without the checksum and the length of the code.
    Prepared,
    /// The answer to a question.
    Security(std::result::Result<FleetSecurity, String>),
}

/// Writes a message.
pub(super) async fn write(
    stream: &mut (impl AsyncWrite + Unpin),
    head: &(impl Serialize + Sync),
    body: &[u8],
) -> Result<()> {
    let invalid = |why: String| Error::new(ErrorKind::InvalidInput, why);
    let head = rmp_serde::to_vec_named(head).map_err(|e| invalid(e.to_string()))?;
    let len = |bytes: &[u8]| u32::try_from(bytes.len()).map_err(|_| invalid(format!("{} bytes", bytes.len())));
    let mut start = Vec::with_capacity(8 + head.len());
    start.extend(len(&head)?.to_le_bytes());
    start.extend(len(body)?.to_le_bytes());
    start.extend(head);
    stream.write_all(&start).await?;
    stream.write_all(body).await?;
    stream.flush().await
}

/// Reads a message and its body; `None` at the end of the stream.
pub(super) async fn read<T: DeserializeOwned>(stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<(T, Bytes)>> {
    let invalid = |why: String| Error::new(ErrorKind::InvalidData, why);
    let mut lengths = [0; 8];
    if stream.read(&mut lengths[..1]).await? == 0 {
        return Ok(None);
    }
    stream.read_exact(&mut lengths[1..]).await?;
    let [head, body] = [&lengths[..4], &lengths[4..]].map(|len| {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(len);
        u32::from_le_bytes(bytes)
    });
    if head > MAX_HEAD || u64::from(body) > MAX_FRAME {
        return Err(invalid(format!("a message of {head} and {body} bytes is over its limit")));
    }
    let mut bytes = vec![0; head as usize];
    stream.read_exact(&mut bytes).await?;
    let message = rmp_serde::from_slice(&bytes).map_err(|e| invalid(e.to_string()))?;
    let mut bytes = vec![0; body as usize];
    stream.read_exact(&mut bytes).await?;
    Ok(Some((message, bytes.into())))
}
