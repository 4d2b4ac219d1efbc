//! Protocol versions in messages: what a role does today with a message of another version. Older versions have no
//! decoder of their own: a message that fits today's types is taken, whatever it meant, and one that does not fit is
//! refused. These bytes pin that until versions before the present one are decoded as what they were.

use pvf_shared::wire::{self, FromWorker, ToWorker, VERSION, WireError, WorkerReply};
use pvf_testkit::fixtures::worker_id;

/// MessagePack of `{"v": version, "m": message}`.
fn framed(version: u8, message: &[u8]) -> Vec<u8> {
    assert!(version < 0x80, "one byte in MessagePack");
    [b"\x82\xa1v", &[version][..], b"\xa1m", message].concat()
}

/// MessagePack of `{"goodbye": {"worker": <16 bytes of an id>}}`.
fn goodbye() -> Vec<u8> {
    [&b"\x81\xa7goodbye\x81\xa6worker\xc4\x10"[..], worker_id(5).0.as_bytes()].concat()
}

#[test]
fn a_message_of_an_older_version_is_decoded_as_if_it_were_todays() {
    assert_eq!(VERSION, 3);
    for version in 0..=3 {
        let message = wire::decode::<FromWorker>(&framed(version, &goodbye()));
        assert_eq!(message, Ok(FromWorker::Goodbye { worker: worker_id(5) }), "version {version}");
        assert_eq!(wire::decode(&framed(version, b"\xa3ack")), Ok(WorkerReply::Ack), "version {version}");
    }
}

#[test]
fn an_older_message_without_a_field_of_today_is_malformed() {
    // `{"cancel": {"job": 7}}`: a cancel of before there were attempts and fencing tokens.
    for version in 0..=3 {
        let error = wire::decode::<ToWorker>(&framed(version, b"\x81\xa6cancel\x81\xa3job\x07")).unwrap_err();
        assert!(matches!(&error, WireError::Malformed { why, .. } if why.contains("missing field")), "{error}");
    }
}

#[test]
fn a_newer_version_is_refused_whatever_it_contains() {
    for message in [goodbye(), b"\xc0".to_vec()] {
        let error = wire::decode::<FromWorker>(&framed(4, &message)).unwrap_err();
        assert_eq!(error, WireError::NewerVersion { received: 4, supported: 3 });
    }
}

#[test]
fn a_message_without_a_version_is_malformed() {
    let unversioned = [&b"\x81\xa1m"[..], &goodbye()].concat();
    let error = wire::decode::<FromWorker>(&unversioned).unwrap_err();
    assert!(matches!(error, WireError::Malformed { .. }), "{error}");
}
