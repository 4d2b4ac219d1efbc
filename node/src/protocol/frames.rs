//! Frames: a length as eight bytes, the least significant first, and the message.

use super::MAX_FRAME;
use bytes::Bytes;
use std::io::{Error, ErrorKind, Result};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    time::Instant,
};

/// A message, and when its first bytes were here: the node's clock has begun by then.
#[derive(Debug)]
pub struct Frame {
    /// The message.
    pub message: Bytes,
    /// When its length was read.
    pub began: Instant,
}

/// Reads a frame; `None` at the end of the stream.
///
/// # Errors
/// The stream fails or ends within a frame, or a frame is over [`MAX_FRAME`].
pub async fn read_frame(stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<Frame>> {
    let mut len = [0; 8];
    if stream.read(&mut len[..1]).await? == 0 {
        return Ok(None);
    }
    let began = Instant::now();
    stream.read_exact(&mut len[1..]).await?;
    let len = u64::from_le_bytes(len);
    if len > MAX_FRAME {
        let why = format!("a message of {len} bytes is over the limit of {MAX_FRAME} bytes");
        return Err(Error::new(ErrorKind::InvalidData, why));
    }
    let mut message = vec![0; len as usize];
    stream.read_exact(&mut message).await?;
    Ok(Some(Frame { message: message.into(), began }))
}

/// Writes a frame.
///
/// # Errors
/// Those of the stream.
pub async fn write_frame(stream: &mut (impl AsyncWrite + Unpin), message: &[u8]) -> Result<()> {
    let mut frame = Vec::with_capacity(8 + message.len());
    frame.extend((message.len() as u64).to_le_bytes());
    frame.extend(message);
    stream.write_all(&frame).await?;
    stream.flush().await
}
