//! Fields that a message has only if there is something to say.

use super::*;

#[test]
fn what_is_wrong_with_a_worker_is_sent_only_if_something_is() {
    let mut status = status();
    let without = encode(&status);
    status.workers[0].trouble = Some("disk full".into());
    let with = encode(&status);
    assert_eq!(decode::<FleetStatus>(&with).unwrap(), status);
    let added: usize = ["trouble", "disk full"].iter().map(|text| 1 + text.len()).sum();
    assert_eq!(with.len(), without.len() + added);
    assert!(with.windows(7).any(|bytes| bytes == b"trouble") && !without.windows(7).any(|bytes| bytes == b"trouble"));
}

#[test]
fn inconsistencies_are_sent_only_if_there_are_some() {
    let mut status = status();
    let without = encode(&status);
    assert_eq!(decode::<FleetStatus>(&without).unwrap(), status);
    status.inconsistencies = 3;
    let with = encode(&status);
    assert_eq!(decode::<FleetStatus>(&with).unwrap(), status);
    let name = b"inconsistencies";
    assert_eq!(with.len(), without.len() + 1 + name.len() + 1);
    assert!(with.windows(name.len()).any(|bytes| bytes == name));
}
