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

#[test]
fn what_sandboxes_miss_is_told_from_not_knowing_it() {
    let unknown = status();
    let nothing = FleetStatus { sandboxes: Some(SandboxSummary::default()), ..status() };
    let missing = MissingMechanism { mechanism: "landlock".into(), host: "h".into() };
    let summary = SandboxSummary { missing: vec![missing], insecure: vec!["i".into()] };
    let some = FleetStatus { sandboxes: Some(summary), ..status() };
    let sent = [unknown, nothing, some].map(|status| (encode(&status), status));
    for (bytes, status) in &sent {
        assert_eq!(&decode::<FleetStatus>(bytes).unwrap(), status);
    }
    let [without, nothing, some] = sent.map(|(bytes, _)| hex::encode(bytes));
    let name = hex::encode(b"sandboxes");
    let [missing, insecure] = ["missing", "insecure"].map(|name| hex::encode(name.as_bytes()));
    assert!(!without.contains(&name));
    assert!(nothing.contains(&format!("a9{name}82a7{missing}90a8{insecure}90")), "{nothing}");
    let entry = format!("82a96d656368616e69736da8{}a4{}a168", hex::encode(b"landlock"), hex::encode(b"host"));
    assert!(some.contains(&format!("a9{name}82a7{missing}91{entry}a8{insecure}91a169")), "{some}");
}

#[test]
fn a_message_of_a_coordinator_says_its_term_and_earlier_receivers_ignore_it() {
    let term = Term { token: FencingToken(17), id: uuid(27) };
    let without = encode(&SubmitReply::Accepted);
    let with = encode_by(term, &SubmitReply::Accepted);
    assert_eq!((term_of(&with), term_of(&without), term_of(b"x")), (Some(term), None, None));
    assert_eq!(decode::<SubmitReply>(&with).unwrap(), SubmitReply::Accepted);
    let golden =
        "83a176 04 a26279 82 a5746f6b656e 11 a26964 c410 0000000000000000000000000000001b a16d a86163636570746564";
    assert_eq!(hex::encode(&with), golden.replace(' ', ""));
}
