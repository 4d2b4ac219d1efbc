//! The reply of a job process, as the worker reads it. Nothing in it is trusted.

use crate::job::protocol::{Claims, JobReply, VALID_HEADER};
use pvf_shared::Bytes;

/// The reply and the bytes behind it; `None` if the bytes are not a reply.
pub(super) fn split_reply(bytes: &Bytes) -> Option<(JobReply, Bytes)> {
    let (start, end) = reply_range(bytes)?;
    let body = bytes.get(start..end)?;
    let reply = if start == VALID_HEADER {
        let claims = Claims::from_bytes(*bytes.get(8..start)?.first_chunk()?);
        JobReply::Valid(bytes.slice(start..end), claims)
    } else {
        rmp_serde::from_slice(body).ok()?
    };
    Some((reply, bytes.slice(end..)))
}

/// Whether a complete reply has arrived.
pub(super) fn is_complete(bytes: &[u8]) -> bool {
    reply_range(bytes).is_some_and(|(_, end)| bytes.len() >= end)
}

/// Start and end of the reply; `None` until its length has arrived.
fn reply_range(bytes: &[u8]) -> Option<(usize, usize)> {
    let number = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?) as usize);
    match number(0)? {
        0 => Some((VALID_HEADER, VALID_HEADER + number(4)?)),
        len => Some((4, 4 + len)),
    }
}
