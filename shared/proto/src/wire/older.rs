//! Refusals as programs of version 3 decode them: all that this build says to them. Programs of earlier versions take
//! them for messages of a newer version, and say that they must be upgraded.

use crate::wire::{FrameOut, encode_frame};
use bytes::Bytes;
use serde::Serialize;

/// The last version that had subjects of its own.
const OLDER: u16 = 3;

/// As [`SubmitReply`](super::SubmitReply) of version 3.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
enum ClientReply<'a> {
    Refused(Refusal<'a>),
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
enum Refusal<'a> {
    Malformed(&'a str),
}

/// As [`WorkerReply`](super::WorkerReply) of version 3.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
enum WorkerReply<'a> {
    Refused(&'a str),
}

/// The refusal of whatever a client of version 3 asks.
pub fn refuse_older_client(why: &str) -> Bytes {
    encode_frame(&FrameOut { v: OLDER, by: None, m: &ClientReply::Refused(Refusal::Malformed(why)) })
}

/// The refusal of whatever a worker of version 3 says.
pub fn refuse_older_worker(why: &str) -> Bytes {
    encode_frame(&FrameOut { v: OLDER, by: None, m: &WorkerReply::Refused(why) })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes are those that version 3 had for these refusals.
    #[test]
    fn golden_refusals_of_version_3() {
        let hex = |bytes: Bytes| hex::encode(bytes);
        let of_client = "82a17603a16d81a77265667573656481a96d616c666f726d6564a3776879";
        assert_eq!(hex(refuse_older_client("why")), of_client);
        assert_eq!(hex(refuse_older_worker("why")), "82a17603a16d81a772656675736564a3776879");
    }
}
