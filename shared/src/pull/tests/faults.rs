//! Holders that fail, or are wrong.

use super::*;
use crate::{bus::BusError, wire::WireError};
use tokio::time::Instant;

async fn missing(bus: &SharedBus, name: &str) -> Asked {
    scripted(bus, name, |_, _| Some(wire::encode(&PullReply::Missing))).await
}

#[tokio::test(start_paused = true)]
async fn another_holder_goes_on_at_the_same_offset() {
    let (bus, held) = (bus(), bytes(10 * CHUNK));
    for expected_len in [None, Some(held.len() as u64)] {
        let (first, second) = (format!("first {expected_len:?}"), format!("second {expected_len:?}"));
        let of_holder = held.clone();
        scripted(&bus, &first, move |pull, _| (pull.offset < 3000).then(|| chunk(&of_holder, pull))).await;
        let asked = good(&bus, &second, &held).await;
        let wanted = Wanted { expected_len, ..wanted(&held, &[&first, &second]) };
        assert_eq!(fetch(&puller(&bus), &wanted).await.unwrap(), held);
        assert_eq!(asked.offsets(), (3..10).map(|n| n * CHUNK as u64).collect::<Vec<_>>());
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_chunk_alone_is_asked_for_again() {
    let (bus, held) = (bus(), bytes(10 * CHUNK));
    let of_holder = held.clone();
    let asked = scripted(&bus, "a", move |pull, n| (n != 2).then(|| chunk(&of_holder, pull))).await;
    assert_eq!(fetch(&puller(&bus), &wanted(&held, &["a"])).await.unwrap(), held);
    assert_eq!(asked.offsets(), [0, 1, 2, 3, 4, 5, 2, 6, 7, 8, 9].map(|n| n * CHUNK as u64));
}

#[tokio::test(start_paused = true)]
async fn who_does_not_have_it_is_passed_over_and_asked_once_more() {
    let (bus, held) = (bus(), bytes(CHUNK));
    let asked = missing(&bus, "missing").await;
    good(&bus, "good", &held).await;
    assert_eq!(fetch(&puller(&bus), &wanted(&held, &["gone", "missing", "good"])).await.unwrap(), held);
    assert_eq!(asked.count(), 1);

    let failed = fetch(&puller(&bus), &wanted(&held, &["gone", "missing"])).await;
    assert_eq!(asked.count(), 3, "two rounds");
    let error = failed.clone().unwrap_err();
    assert!(error.is_held_by_nobody());
    let text = error.to_string();
    for part in [&*wanted(&held, &[]).content.to_string(), "no subscriber on holder.gone", "missing: does not have it"]
    {
        assert!(text.contains(part), "{text}");
    }
    let [Some(HolderFault::Bus(BusError::NoResponders(_))), Some(HolderFault::Missing)] = &faults(failed)[..] else {
        panic!("{text}");
    };
    let error = fetch(&puller(&bus), &wanted(&held, &[])).await.unwrap_err();
    assert!(error.is_held_by_nobody() && error.to_string().contains("no holder"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_silent_holder_is_left_after_the_grace_and_the_time_of_the_bytes() {
    let (bus, held) = (bus(), bytes(CHUNK));
    let asked = scripted(&bus, "silent", |_, _| None).await;
    let started = Instant::now();
    let failed = fetch(&puller(&bus), &wanted(&held, &["silent"])).await;
    assert!(!failed.as_ref().unwrap_err().is_held_by_nobody());
    assert!(matches!(fault(failed), HolderFault::Bus(BusError::TimedOut(_))));
    assert_eq!(asked.count(), 2);
    // Twice 1 s and 1 ms, and the pause between the rounds.
    let taken = started.elapsed();
    assert!(taken > Duration::from_millis(2200) && taken < Duration::from_millis(2500), "{taken:?}");
}

#[tokio::test(start_paused = true)]
async fn a_trickle_ends_with_the_patience() {
    let (bus, held) = (bus(), bytes(30 * CHUNK));
    let of_holder = held.clone();
    let (gate, mut requests) = (bus.clone(), bus.subscribe(&subject("slow")).await.unwrap());
    tokio::spawn(async move {
        while let Some(request) = requests.next().await {
            tokio::time::sleep(Duration::from_millis(900)).await;
            let pull: Pull = wire::decode(&request.payload).unwrap();
            gate.publish(&request.reply.unwrap(), chunk(&of_holder, &pull)).await.unwrap();
        }
    });
    let started = Instant::now();
    let puller = Puller::new(bus.clone(), PullSettings { window: CHUNK, ..settings() });
    let failed = faults(fetch(&puller, &wanted(&held, &["slow", "later"])).await);
    assert!(matches!(failed[..], [Some(HolderFault::OutOfTime), None]), "{failed:?}");
    let taken = started.elapsed();
    assert!(taken >= Duration::from_secs(10) && taken < Duration::from_millis(10_100), "{taken:?}");
}

#[tokio::test(start_paused = true)]
async fn wrong_bytes_blame_the_holder_that_sent_them_alone() {
    let (bus, held) = (bus(), bytes(6 * CHUNK));
    let wrong = Bytes::from(vec![7; held.len()]);
    let asked = good(&bus, "wrong", &wrong).await;
    let failed = fetch(&puller(&bus), &wanted(&held, &["wrong"])).await;
    assert!(matches!(fault(failed), HolderFault::WrongHash));
    assert_eq!(asked.count(), 6, "it is not asked again");

    let asked = good(&bus, "good", &held).await;
    assert_eq!(fetch(&puller(&bus), &wanted(&held, &["wrong", "good"])).await.unwrap(), held);
    assert_eq!(asked.count(), 6, "nothing of the other is used");
}

#[tokio::test(start_paused = true)]
async fn wrong_bytes_of_one_holder_do_not_blame_the_next() {
    let (bus, held) = (bus(), bytes(6 * CHUNK));
    let wrong = Bytes::from(vec![7; held.len()]);
    scripted(&bus, "wrong", move |pull, n| (n == 0).then(|| chunk(&wrong, pull))).await;
    let asked = good(&bus, "good", &held).await;
    for wanted in [wanted(&held, &["wrong", "good"]), of_unknown_length(&held, &["wrong", "good"])] {
        assert_eq!(fetch(&puller(&bus), &wanted).await.unwrap(), held);
    }
    // Five after the wrong one, and then all. The wrong holder is silent in the second pull.
    assert_eq!(asked.count(), 5 + 6 + 6);
}

#[tokio::test(start_paused = true)]
async fn another_length_is_wrong() {
    let (bus, held) = (bus(), bytes(3 * CHUNK));
    for (n, told) in [0, 1, 3 * CHUNK as u64 - 1, 3 * CHUNK as u64 + 1].into_iter().enumerate() {
        let name = format!("liar {n}");
        // It tells a length, sends one chunk if that fits, and is silent.
        let of_holder = held.clone();
        scripted(&bus, &name, move |_, n| {
            let len = told.min(CHUNK as u64) as usize;
            (n == 0).then(|| wire::encode(&PullReply::Chunk { total: told, bytes: of_holder.slice(..len) }))
        })
        .await;
        let good_name = format!("good {n}");
        good(&bus, &good_name, &held).await;
        let unknown = of_unknown_length(&held, &[&name, &good_name]);
        assert_eq!(fetch(&puller(&bus), &unknown).await.unwrap(), held, "told {told}");
        let name = format!("liar again {n}");
        scripted(&bus, &name, move |_, _| {
            Some(wire::encode(&PullReply::Chunk { total: told, bytes: Bytes::from_static(b"x") }))
        })
        .await;
        let failed = fetch(&puller(&bus), &wanted(&held, &[&name])).await;
        let expected = held.len() as u64;
        assert!(
            matches!(fault(failed), HolderFault::WrongLength { told: t, expected: e } if t == told && e == expected)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_length_that_changes_is_wrong() {
    let (bus, held) = (bus(), bytes(3 * CHUNK));
    let (of_holder, longer) = (held.clone(), bytes(3 * CHUNK + 1));
    let asked = scripted(&bus, "a", move |pull, n| Some(chunk(if n == 0 { &of_holder } else { &longer }, pull))).await;
    let failed = fetch(&puller(&bus), &of_unknown_length(&held, &["a"])).await;
    assert!(matches!(fault(failed), HolderFault::WrongLength { told: 3001, expected: 3000 }));
    assert_eq!(asked.count(), 3, "the first chunk, and a window");
}

#[tokio::test(start_paused = true)]
async fn content_over_the_limit_is_not_pulled() {
    let (bus, held) = (bus(), bytes(3 * CHUNK));
    let asked = good(&bus, "large", &held).await;
    let limited = |wanted: Wanted| Wanted { max_len: 2999, ..wanted };
    let error = fetch(&puller(&bus), &limited(wanted(&held, &["large"]))).await.unwrap_err();
    assert!(matches!(error, PullError::TooLarge { len: 3000, limit: 2999, .. }), "{error}");
    assert_eq!(asked.count(), 0);
    let error = fetch(&puller(&bus), &limited(of_unknown_length(&held, &["large"]))).await.unwrap_err();
    assert!(error.to_string().contains("3000 bytes are over the limit of 2999 bytes"), "{error}");
    assert_eq!(asked.count(), 1);
    // One holder alone cannot say so.
    let small = bytes(CHUNK);
    good(&bus, "small", &small).await;
    let limited = limited(of_unknown_length(&small, &["large", "small"]));
    assert_eq!(fetch(&puller(&bus), &limited).await.unwrap(), small);
}

#[tokio::test(start_paused = true)]
async fn answers_that_are_none_are_faults() {
    let (bus, held) = (bus(), bytes(3 * CHUNK));
    let total = held.len() as u64;
    let with_bytes = |len| wire::encode(&PullReply::Chunk { total, bytes: bytes(len) });
    type Check = fn(&HolderFault) -> bool;
    let answers: [(Bytes, Check); 8] = [
        (with_bytes(511), |fault| matches!(fault, HolderFault::WrongChunk { len: 511, asked: CHUNK, .. })),
        (with_bytes(0), |fault| matches!(fault, HolderFault::WrongChunk { len: 0, asked: CHUNK, .. })),
        (with_bytes(CHUNK + 1), |fault| matches!(fault, HolderFault::WrongChunk { len: 1001, asked: CHUNK, .. })),
        (Bytes::from_static(b"\xc1"), |fault| matches!(fault, HolderFault::Malformed(WireError::Malformed { .. }))),
        (Bytes::new(), |fault| matches!(fault, HolderFault::Malformed(WireError::Malformed { .. }))),
        (Bytes::from_static(b"\x82\xa1v\x63\xa1m\xc0"), |fault| {
            matches!(fault, HolderFault::Malformed(WireError::NewerVersion { received: 99, .. }))
        }),
        (wire::encode(&PullReply::OutOfRange { total }), |fault| {
            matches!(fault, HolderFault::OutOfRange { told: 3000, .. })
        }),
        (
            wire::encode(&PullReply::NotUnderstood("why".into())),
            |fault| matches!(fault, HolderFault::NotUnderstood(why) if why == "why"),
        ),
    ];
    for (n, (answer, is_expected)) in answers.into_iter().enumerate() {
        for (known, make) in [(true, wanted as fn(&[u8], &[&str]) -> Wanted), (false, of_unknown_length)] {
            let name = format!("{n} {known}");
            let of_holder = answer.clone();
            let asked = scripted(&bus, &name, move |_, _| Some(of_holder.clone())).await;
            let fault = fault(fetch(&puller(&bus), &make(&held, &[&name])).await);
            assert!(is_expected(&fault), "{fault}");
            assert_eq!(asked.count(), if known { 3 } else { 1 }, "one turn, {fault}");
        }
    }
}
