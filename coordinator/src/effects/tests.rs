use super::*;
use crate::{
    lease::Tenure,
    testing::{artifact, cancel, fleet, folder_store, in_time, local_bus, memory_store, new_worker, term},
};
use pvf_scheduler::{Event, Listed};
use pvf_shared::{
    artifact::StoredArtifact, config::ProtocolTimeouts, ids::CodeHash, store::BlobStore, wire::WorkerKind,
};
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

fn effects(store: &BlobStore) -> (Effects, UnboundedReceiver<Event>) {
    let (events, received) = unbounded_channel();
    let bus = local_bus(4096);
    let effects = Effects {
        outbox: Outbox::open().0,
        observers: Observers::open().0,
        commands: Commands::new(
            (bus, Traces::default()),
            fleet(),
            &ProtocolTimeouts::default(),
            term(),
            events.clone(),
        ),
        storage: Storage { store: store.clone(), events, tenure: Tenure::unlimited(term()) },
        history: History::default(),
        metrics: Arc::default(),
        traces: Traces::default(),
        tasks: JoinSet::new(),
    };
    (effects, received)
}

/// Waits for all tasks that were started.
async fn finish(effects: &mut Effects) {
    while let Some(ended) = in_time(effects.tasks.join_next()).await {
        ended.unwrap();
    }
}

#[tokio::test]
async fn idle_times_of_artifacts_are_saved() {
    let folder = tempfile::tempdir().unwrap();
    let (mut effects, _events) = effects(&folder_store(&folder));
    effects.perform(Effect::SaveNeeded { idle: vec![(Arc::new(artifact()), Duration::from_secs(500))] });
    finish(&mut effects).await;
    let saved = std::fs::read_to_string(folder.path().join("meta/last-needed")).unwrap();
    let (at, key) = saved.trim().split_once(' ').unwrap();
    assert!(at.parse::<u64>().is_ok(), "{saved}");
    assert_eq!(key, pvf_shared::store::keys::artifact(&artifact()).as_ref());
}

#[tokio::test]
async fn artifacts_are_looked_up_listed_and_dropped() {
    let store = memory_store();
    let (mut effects, mut events) = effects(&store);
    let id = Arc::new(artifact());
    store.put_artifact(&id, &crate::testing::compiled()).await.unwrap();
    effects.perform(Effect::LookUp { artifact: id.clone() });
    match in_time(events.recv()).await.unwrap() {
        Event::LookedUp { artifact, found: Ok(Some(StoredArtifact::Prepared(info))) } => {
            assert_eq!((artifact, info.bytes), (id.clone(), 8));
        }
        event => panic!("{event:?}"),
    }
    effects.perform(Effect::ListArtifacts);
    match in_time(events.recv()).await.unwrap() {
        Event::Listed(listed) => {
            let [Listed { artifact, .. }] = &listed[..] else { panic!("{listed:?}") };
            assert_eq!(*artifact, *id);
        }
        event => panic!("{event:?}"),
    }
    effects.perform(Effect::Drop { artifact: id.clone() });
    match in_time(events.recv()).await.unwrap() {
        Event::Dropped { artifact, error } => assert_eq!((artifact, error), (id.clone(), None)),
        event => panic!("{event:?}"),
    }
    assert_eq!(store.look_up(&id).await.unwrap(), None);
}

#[tokio::test]
async fn pinned_codes_are_saved_and_read() {
    let folder = tempfile::tempdir().unwrap();
    let (mut effects, mut events) = effects(&folder_store(&folder));
    let codes = vec![CodeHash([1; 32]), CodeHash([2; 32])];
    for saved in [vec![], codes] {
        effects.perform(Effect::SavePins { codes: saved.clone() });
        assert!(matches!(in_time(events.recv()).await, Some(Event::PinsSaved { error: None })));
        effects.perform(Effect::ReadPins);
        match in_time(events.recv()).await.unwrap() {
            Event::PinsRead { codes } => assert_eq!(codes, saved),
            event => panic!("{event:?}"),
        }
    }
    // A coordinator that is replaced saves nothing, and says nothing of it.
    effects.storage.tenure.end();
    effects.perform(Effect::SavePins { codes: vec![] });
    finish(&mut effects).await;
    assert!(events.try_recv().is_err());
    assert!(std::fs::read_to_string(folder.path().join("meta/pinned")).unwrap().contains(&"01".repeat(32)));
}

#[tokio::test(start_paused = true)]
async fn pinned_codes_are_read_until_the_store_answers() {
    let folder = tempfile::tempdir().unwrap();
    let (mut effects, mut events) = effects(&folder_store(&folder));
    // A file where the store has a folder.
    let meta = folder.path().join("meta");
    std::fs::write(&meta, "").unwrap();
    effects.perform(Effect::SavePins { codes: vec![CodeHash([1; 32])] });
    assert!(matches!(in_time(events.recv()).await, Some(Event::PinsSaved { error: Some(_) })));
    effects.perform(Effect::ReadPins);
    tokio::time::advance(Duration::from_secs(5)).await;
    assert!(events.try_recv().is_err());
    std::fs::remove_file(&meta).unwrap();
    assert!(matches!(in_time(events.recv()).await, Some(Event::PinsRead { codes }) if codes.is_empty()));
}

#[tokio::test(start_paused = true)]
async fn a_failing_look_up_is_repeated_and_then_reported() {
    let folder = tempfile::tempdir().unwrap();
    let (mut effects, mut events) = effects(&folder_store(&folder));
    // A file where the store has the folder of its artifacts.
    std::fs::write(folder.path().join("artifacts"), "").unwrap();
    let before = tokio::time::Instant::now();
    effects.perform(Effect::LookUp { artifact: Arc::new(artifact()) });
    match in_time(events.recv()).await.unwrap() {
        Event::LookedUp { found: Err(why), .. } => assert!(why.contains("look up"), "{why}"),
        event => panic!("{event:?}"),
    }
    // Both delays of `retry::STORE_LOOK_UP`, by the paused clock.
    assert!(before.elapsed() >= Duration::from_millis(299), "{:?}", before.elapsed());
}

#[tokio::test]
async fn the_commands_to_a_lost_worker_are_dropped() {
    let (mut effects, mut events) = effects(&memory_store());
    let worker = new_worker(WorkerKind::Execute);
    let sending = effects.commands.queue(worker, cancel(1)).expect("the first command starts to send");
    let (host, silent) = ("host".into(), Duration::from_secs(6));
    effects.perform(Effect::Notice(Notice::WorkerLost { worker, host, jobs: 1, silent }));
    in_time(sending).await;
    assert!(events.try_recv().is_err(), "the command was sent");
    effects.perform(Effect::Notice(Notice::WorkerRecovered { worker }));
    let rendered = effects.metrics.render();
    assert!(rendered.contains("pvf_workers_recovered_total 1\n"), "{rendered}");
}

#[tokio::test]
async fn ended_tasks_are_discarded() {
    let (mut effects, mut events) = effects(&memory_store());
    effects.perform(Effect::ListArtifacts);
    effects.perform(Effect::ToWorker { worker: new_worker(WorkerKind::Execute), message: cancel(1) });
    assert!(matches!(in_time(events.recv()).await, Some(Event::Delivered { .. })));
    finish(&mut effects).await;
    effects.reap();
    assert!(effects.tasks.is_empty());
}
