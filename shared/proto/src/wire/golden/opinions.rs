//! Second opinions as verdicts carry them.

use super::{GoldenMessages, artifact, held::registration, verdict, worker};
use crate::{
    host::HostIdentity,
    ids::BlobHash,
    job::AttemptEnd,
    verdict::Outcome,
    wire::{FromWorker, Opinion, OpinionResult, SecondOpinion, ToClient, Verdict, WorkerHello},
};

fn second_opinions() -> [(&'static str, SecondOpinion); 3] {
    let opinion = |attempt, end, reason: Option<&str>, result| Opinion {
        attempt,
        worker: worker(),
        host: "h".into(),
        engine: artifact().engine,
        host_functions: "f".into(),
        version: "v".into(),
        end,
        reason: reason.map(str::to_owned),
        result,
    };
    let valid = |attempt| opinion(attempt, AttemptEnd::Valid, None, Some(BlobHash([6; 32])));
    let invalid = |attempt| opinion(attempt, AttemptEnd::Invalid, Some("why"), None);
    let of = |result, opinions| SecondOpinion { result, opinions };
    [
        ("agreement", of(OpinionResult::Agreed, vec![valid(1), valid(2)])),
        ("disagreement", of(OpinionResult::Disagreed, vec![valid(1), invalid(2)])),
        ("one opinion", of(OpinionResult::Missing("why".into()), vec![invalid(1)])),
    ]
}

pub(super) fn add_golden(golden: &mut GoldenMessages) {
    for (name, second_opinion) in second_opinions() {
        let verdict = Verdict { second_opinion: Some(Box::new(second_opinion)), ..verdict(Outcome::PrecheckOk) };
        golden.add(&format!("verdict with {name}"), &ToClient::Verdict(Box::new(verdict)));
    }
    let hello = WorkerHello {
        identity: HostIdentity::new(Some("m"), Some("b")),
        host_functions: "f".into(),
        running: vec![],
        ..registration(vec![])
    };
    golden.add("hello identified", &FromWorker::Hello(Box::new(hello)));
}

#[test]
fn two_opinions_agree_if_they_say_the_same_in_whichever_words() {
    let [(_, agreed), (_, disagreed), _] = second_opinions();
    assert!(agreed.opinions[0].agrees_with(&agreed.opinions[1]));
    assert!(!disagreed.opinions[0].agrees_with(&disagreed.opinions[1]));
    let invalid = &disagreed.opinions[1];
    assert!(invalid.agrees_with(&Opinion { reason: Some("because".into()), ..invalid.clone() }));
    let valid = &agreed.opinions[0];
    assert!(!valid.agrees_with(&Opinion { result: Some(BlobHash([7; 32])), ..valid.clone() }));
    assert!(invalid.to_string().starts_with("invalid (why) at h, worker execute."), "{invalid}");
}
