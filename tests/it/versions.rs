//! Protocol versions in messages: what a role does with a message of another version. Each version that a build does
//! not speak is refused, with the versions that it speaks and who must be upgraded.

use pvf_shared::wire::{self, FromWorker, SPEAKS, VERSION, VersionRange, WireError, WorkerReply};

/// MessagePack of `{"v": version, "m": message}`.
fn framed(version: u8, message: &[u8]) -> Vec<u8> {
    assert!(version < 0x80, "one byte in MessagePack");
    [b"\x82\xa1v", &[version][..], b"\xa1m", message].concat()
}

#[test]
fn this_build_speaks_version_4() {
    assert_eq!((VERSION, SPEAKS), (4, VersionRange { min: 4, max: 4 }));
    assert_eq!(wire::decode(&framed(4, b"\xa7goodbye")), Ok(FromWorker::Goodbye));
    assert_eq!(wire::decode(&framed(4, b"\xa3ack")), Ok(WorkerReply::Ack));
}

#[test]
fn another_version_is_refused_whatever_it_contains() {
    for message in [&b"\xa7goodbye"[..], b"\xc0"] {
        let error = wire::decode::<FromWorker>(&framed(5, message)).unwrap_err();
        assert_eq!(error, WireError::NewerVersion { received: 5, supported: 4 });
        for version in 0..4 {
            let error = wire::decode::<FromWorker>(&framed(version, message)).unwrap_err();
            assert_eq!(error, WireError::OlderVersion { received: version.into(), supported: SPEAKS });
            assert!(error.to_string().contains("upgrade the sender"), "{error}");
        }
    }
}

#[test]
fn a_message_without_a_version_is_malformed() {
    let error = wire::decode::<FromWorker>(b"\x81\xa1m\xa7goodbye").unwrap_err();
    assert!(matches!(error, WireError::Malformed { .. }), "{error}");
}
