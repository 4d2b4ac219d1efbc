//! What the coordinator keeps in the store for its successor.

use pvf_shared::{store::keys, verdict::Outcome};
use pvf_tests::{
    fleet::{Fleet, FleetConfig},
    host::artifacts_in,
    processes::until,
    requests::{adder, good_block},
};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The coordinator looks for artifacts to prune every second.
const FREQUENT_PRUNING: &str = "[policy]\nprune_interval = \"1s\"\n";

/// More than the time after which an artifact that is not needed is pruned, seconds.
const FORTY_DAYS: u64 = 40 * 24 * 3600;

/// The times at which artifacts were last needed, as the coordinator keeps them: one line, `<seconds> <key>`.
async fn last_needed(fleet: &Fleet) -> (u64, String) {
    let file = fleet.store().join(keys::last_needed().as_ref());
    let line = until("the coordinator saves when the artifact was needed", async || {
        std::fs::read_to_string(&file).ok().filter(|text| !text.is_empty())
    });
    let line = line.await;
    let (seconds, key) = line.trim_end().split_once(' ').expect("a time and a key");
    (seconds.parse().unwrap(), key.to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_coordinator_knows_when_artifacts_were_needed_and_prunes_them() {
    let settings = FREQUENT_PRUNING.into();
    let mut fleet = Fleet::with(FleetConfig { settings, ..FleetConfig::default() }).await;
    let unix_now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let before = unix_now();
    fleet.host.execute_pvf(adder(), good_block()).await.unwrap();
    let (seconds, key) = last_needed(&fleet).await;
    let file = fleet.store().join(&key);
    assert_eq!(artifacts_in(fleet.store()), *std::slice::from_ref(&file));
    assert!((before - 2..=unix_now()).contains(&seconds), "{seconds} is not between {before} and {}", unix_now());

    // A coordinator finds an artifact that was written and last needed forty days ago.
    fleet.coordinator.kill();
    let long_ago = UNIX_EPOCH + Duration::from_secs(seconds - FORTY_DAYS);
    std::fs::File::options().write(true).open(&file).and_then(|file| file.set_modified(long_ago)).unwrap();
    let needed = fleet.store().join(keys::last_needed().as_ref());
    std::fs::write(&needed, format!("{seconds} {key}\n")).unwrap();
    fleet.replace_coordinator();
    fleet.complete(1, 1).await;
    until("the coordinator knows the artifact", async || (fleet.status().await.artifacts == 1).then_some(())).await;
    // The coordinator has read the file. When it has written it twice more it has looked for artifacts to prune.
    for _ in 0..2 {
        std::fs::remove_file(&needed).unwrap();
        last_needed(&fleet).await;
    }
    assert!(file.is_file(), "an artifact that was needed lately is kept, whenever it was written");

    fleet.coordinator.kill();
    std::fs::write(&needed, format!("{} {key}\n", seconds - FORTY_DAYS)).unwrap();
    fleet.replace_coordinator();
    until("the artifact is pruned", async || (!file.exists()).then_some(())).await;
    let answer = fleet.host.execute_pvf(adder(), good_block()).await.unwrap();
    assert!(matches!(answer.outcome, Outcome::Valid(_)), "{answer:?}");
}
