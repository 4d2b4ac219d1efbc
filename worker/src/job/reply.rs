//! The reply of a job, as it is written; the worker reads it in `supervise::reply`.

use super::{failure::Failure, protocol::JobReply};
use std::{any::Any, io::Write};

/// Writes a reply, and the artifact behind it if there is one.
pub(super) fn write_reply(to: &mut impl Write, reply: &JobReply, artifact: &[u8]) -> Result<(), Failure> {
    let len =
        |bytes: &[u8]| u32::try_from(bytes.len()).map(u32::to_le_bytes).map_err(|_| Failure::ReplyLength(bytes.len()));
    // One write, so that the worker wakes once.
    let reply = match reply {
        JobReply::Valid(result, claims) => [&[0; 4], &len(result)?[..], &claims.to_bytes(), &result[..]].concat(),
        reply => {
            let bytes = rmp_serde::to_vec_named(reply).map_err(|source| Failure::Encode { what: "reply", source })?;
            [&len(&bytes)?[..], &bytes].concat()
        }
    };
    to.write_all(&reply).and_then(|()| to.write_all(artifact)).map_err(Failure::system("reply"))
}

/// The message of a panic, by its payload.
pub(super) fn panic_text(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    format!("panic: {}", text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or_default())
}
