//! How chunks are asked for and joined.

use super::*;
use crate::bus::Subscription;

#[tokio::test(start_paused = true)]
async fn content_of_any_length_is_pulled() {
    let bus = bus();
    for len in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, WINDOW - 1, WINDOW, WINDOW + 1, 5 * WINDOW + 17] {
        let held = bytes(len);
        let holdings = Holdings::default();
        let _code = holdings.hold(Content::of_code(&held), held.clone());
        let _blob = holdings.hold(Content::of_blob(&held), held.clone());
        let requests = bus.subscribe(&subject("a")).await.unwrap();
        let serving = tokio::spawn(serve(bus.clone(), requests, move |content| holdings.find(content)));
        for content in [Content::of_code(&held), Content::of_blob(&held)] {
            for expected_len in [None, Some(len as u64)] {
                let wanted = Wanted { content, expected_len, ..wanted(&held, &["a"]) };
                assert_eq!(fetch(&puller(&bus), &wanted).await.unwrap(), held, "{len} bytes");
            }
        }
        serving.abort();
        assert!(serving.await.unwrap_err().is_cancelled());
    }
}

/// The requests that are there, and no more come for a while.
async fn all(requests: &mut Subscription) -> Vec<Message> {
    let mut all = Vec::new();
    while let Ok(message) = tokio::time::timeout(Duration::from_millis(10), requests.next()).await {
        all.push(message.expect("a message"));
    }
    all
}

async fn answer(bus: &SharedBus, held: &Bytes, request: &Message) {
    let pull = wire::decode(&request.payload).unwrap();
    bus.publish(request.reply.as_ref().unwrap(), chunk(held, &pull)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_window_is_outstanding_and_answers_come_in_any_order() {
    let (bus, held) = (bus(), bytes(10 * CHUNK + 1));
    let mut requests = bus.subscribe(&subject("a")).await.unwrap();
    let fetching = tokio::spawn({
        let (puller, wanted) = (puller(&bus), wanted(&held, &["a"]));
        async move { fetch(&puller, &wanted).await }
    });
    // The first chunk comes last in each window; before it nothing more is asked for.
    for expected in [4, 4, 3] {
        let waiting = all(&mut requests).await;
        assert_eq!(waiting.len(), expected);
        for request in waiting.iter().rev() {
            assert_eq!(all(&mut requests).await.len(), 0);
            answer(&bus, &held, request).await;
        }
    }
    assert_eq!(fetching.await.unwrap().unwrap(), held);
}

#[tokio::test(start_paused = true)]
async fn a_window_smaller_than_a_chunk_is_one_chunk() {
    let (bus, held) = (bus(), bytes(3 * CHUNK));
    let mut requests = bus.subscribe(&subject("a")).await.unwrap();
    let fetching = tokio::spawn({
        let puller = Puller::new(bus.clone(), PullSettings { window: 1, ..settings() });
        let wanted = wanted(&held, &["a"]);
        async move { fetch(&puller, &wanted).await }
    });
    for _ in 0..3 {
        let waiting = all(&mut requests).await;
        assert_eq!(waiting.len(), 1);
        answer(&bus, &held, &waiting[0]).await;
    }
    assert_eq!(fetching.await.unwrap().unwrap(), held);
}

#[tokio::test(start_paused = true)]
async fn all_pulls_together_have_a_bound() {
    let (bus, held) = (bus(), bytes(6 * CHUNK));
    let mut requests = bus.subscribe(&subject("a")).await.unwrap();
    let puller = puller(&bus);
    let fetches: Vec<_> = (0..5)
        .map(|_| {
            let (puller, wanted) = (puller.clone(), wanted(&held, &["a"]));
            tokio::spawn(async move { fetch(&puller, &wanted).await })
        })
        .collect();
    let mut waiting = std::collections::VecDeque::from(all(&mut requests).await);
    assert_eq!(waiting.len(), 2 * WINDOW / CHUNK);
    while let Some(request) = waiting.pop_front() {
        answer(&bus, &held, &request).await;
        waiting.extend(all(&mut requests).await);
        assert!(waiting.len() <= 2 * WINDOW / CHUNK, "{} outstanding", waiting.len());
    }
    for fetch in fetches {
        assert_eq!(fetch.await.unwrap().unwrap(), held);
    }
}

#[tokio::test(start_paused = true)]
async fn a_payload_limit_below_a_chunk_makes_smaller_chunks() {
    let bus: SharedBus = Arc::new(LocalBus::with_max_payload(300));
    let held = bytes(5 * CHUNK);
    let (holdings, content) = (Holdings::default(), Content::of_blob(&held));
    let _hold = holdings.hold(content, held.clone());
    let requests = bus.subscribe(&subject("a")).await.unwrap();
    tokio::spawn(serve(bus.clone(), requests, move |content| holdings.find(content)));
    for wanted in [wanted(&held, &["a"]), of_unknown_length(&held, &["a"])] {
        assert_eq!(fetch(&puller(&bus), &wanted).await.unwrap(), held);
    }
}

#[tokio::test(start_paused = true)]
async fn the_rest_of_a_short_chunk_is_asked_for_again() {
    let (bus, held) = (bus(), bytes(3 * CHUNK));
    let of_holder = held.clone();
    let asked =
        scripted(&bus, "a", move |pull, _| Some(chunk(&of_holder, &Pull { len: pull.len.min(600), ..pull.clone() })))
            .await;
    assert_eq!(fetch(&puller(&bus), &wanted(&held, &["a"])).await.unwrap(), held);
    assert_eq!(asked.count(), 3 * 2);
}

#[tokio::test(start_paused = true)]
async fn memory_is_asked_for_with_the_length_and_returned_with_the_bytes() {
    let (bus, held) = (bus(), bytes(2 * CHUNK));
    let asked = good(&bus, "a", &held).await;
    for (wanted, asked_before) in [(wanted(&held, &["a"]), 0), (of_unknown_length(&held, &["a"]), 1)] {
        let before = asked.count();
        let (pulled, memory) = puller(&bus)
            .fetch(&wanted, |len| {
                let asked = asked.clone();
                async move {
                    // Waiting for memory does not count as time of the pull.
                    tokio::time::sleep(Duration::from_secs(1000)).await;
                    (len, asked.count() - before)
                }
            })
            .await
            .unwrap();
        assert_eq!(pulled, held);
        assert_eq!(memory, (2 * CHUNK as u64, asked_before));
    }
}
