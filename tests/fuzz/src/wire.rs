//! Decoders of all bus messages: they must not panic, their memory and the length of their errors are bounded, and what
//! was decoded can be encoded and decoded again.

use crate::{Seeds, alloc::bounded};
use pvf_scheduler::check;
use pvf_shared::{
    record::JobRecord,
    wire::{
        self, AskReply, DispatchReply, FleetStatus, FromClient, FromOperator, FromWorker, OperatorReply, SubmitReply,
        ToClient, ToWorker, WireMessage, WorkerReply,
    },
};
use std::fmt::Debug;

/// Memory of a decoder: serde reserves at most 1 MiB for a list, whatever length it claims, and an element of one byte
/// may take a hundred.
const MEMORY: (usize, usize) = (3 << 20, 128);
/// Largest error text, bytes: errors go into logs and back to the sender.
const MAX_ERROR: usize = 4096;

fn read<T: WireMessage + PartialEq + Debug>(bytes: &[u8]) -> Option<T> {
    let message = match bounded(bytes.len(), MEMORY, || wire::decode::<T>(bytes)) {
        Ok(message) => message,
        Err(error) => {
            let text = error.to_string().len();
            assert!(text <= MAX_ERROR, "an error of {text} bytes for a message of {}", bytes.len());
            return None;
        }
    };
    let written = wire::encode(&message);
    let again = wire::decode::<T>(&written);
    assert_eq!(again.as_ref(), Ok(&message), "decoding the encoded message gives another message");
    assert_eq!(wire::encode(&message), written);
    Some(message)
}

/// Decodes an input as each type of message.
pub fn run(bytes: &[u8]) {
    if let Some(FromClient::Submit(submission)) = read::<FromClient>(bytes) {
        let (refusal, key) = (check(&submission), submission.validation_key());
        if let Err(refusal) = refusal {
            assert!(!refusal.to_string().is_empty());
            read::<SubmitReply>(&wire::encode(&SubmitReply::Refused(refusal)));
        }
        assert_eq!(key, submission.validation_key());
    }
    if let Some(SubmitReply::Refused(refusal)) = read(bytes) {
        assert!(refusal.to_string().len() < 2 * bytes.len() + MAX_ERROR);
    }
    if let Some(ToClient::Verdict(verdict)) = read(bytes) {
        let _ = (verdict.outcome.reason(), verdict.outcome.blame(), verdict.outcome.name());
    }
    read::<AskReply>(bytes);
    read::<FleetStatus>(bytes);
    read::<FromOperator>(bytes);
    read::<OperatorReply>(bytes);
    read::<FromWorker>(bytes);
    read::<WorkerReply>(bytes);
    read::<ToWorker>(bytes);
    read::<DispatchReply>(bytes);
    if let Some(record) = read::<JobRecord>(bytes) {
        let bounded = record.bounded();
        assert_eq!(bounded.clone().bounded(), bounded);
    }
}

/// Describes an input.
pub fn show(bytes: &[u8]) -> String {
    format!(
        "{:#?}\n{:#?}\n{:#?}\n{:#?}",
        wire::decode::<FromClient>(bytes),
        wire::decode::<ToClient>(bytes),
        wire::decode::<FromWorker>(bytes),
        wire::decode::<ToWorker>(bytes)
    )
}

/// The golden bytes of every message, and a variant with an unknown name.
pub fn seeds() -> Seeds {
    let lines = include_str!("../../../shared/proto/src/wire/golden.txt").lines();
    let seed = |line: &str| {
        let (name, hex) = line.split_once(": ")?;
        let byte = |n: usize| u8::from_str_radix(hex.get(n..n + 2)?, 16).ok();
        Some((name.to_owned(), (0..hex.len()).step_by(2).filter_map(byte).collect()))
    };
    let nothing = [&b"\x82\xa1v\x03\xa1m\xda\x17\x70"[..], &[b'x'; 6000]].concat();
    lines.filter_map(seed).chain([("unknown".to_owned(), nothing)]).collect()
}
