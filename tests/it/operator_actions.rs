//! What operators do to requests and artifacts, with the tool, on a real fleet.

use crate::{bus, tool::CliFixture};
use futures::StreamExt as _;
use pvf::{Answer, ValidationHost};
use pvf_guests::{adder::ADDER, distinct_adder};
use pvf_shared::{
    bus::Bus as _,
    ids::{CodeHash, FleetName},
    subjects,
    verdict::{InternalError, Outcome},
};
use pvf_tests::{
    fleet::{Fleet, FleetConfig, Role},
    host::artifacts_in,
    processes::{has_ended, until},
    requests::{adder, endless, good_block, pvf_of},
};
use serde_json::Value;
use std::time::Duration;
use tokio::task::JoinHandle;

/// The tool on a fleet.
struct Operator {
    cli: CliFixture,
    url: String,
}

impl Operator {
    fn of(fleet: &Fleet) -> Self {
        Self { cli: CliFixture::new(), url: fleet.nats.url.clone() }
    }

    /// The one object that a command writes.
    fn does(&self, args: &[&str]) -> Value {
        let objects = self.cli.json(&[args, &["--nats", &self.url]].concat(), 0);
        let [object] = &objects[..] else { panic!("{args:?}: {objects:?}") };
        object.clone()
    }

    fn fails(&self, args: &[&str], code: i32, words: &[&str]) {
        self.cli.fails(&[args, &["--nats", &self.url]].concat(), code, words);
    }

    /// The ids of the open requests.
    fn open(&self) -> Vec<String> {
        let list = self.does(&["requests", "ls", "--state", "open"]);
        let requests = list["requests"].as_array().unwrap();
        requests.iter().map(|request| request["request"].as_str().unwrap().to_owned()).collect()
    }

    /// The only artifact of a code.
    fn artifact(&self, code: &str) -> Option<Value> {
        let list = self.does(&["artifacts", "ls", "--code", code]);
        list["artifacts"].as_array().unwrap().first().cloned()
    }
}

/// A candidate that runs until it is stopped.
fn unending(host: &ValidationHost) -> JoinHandle<Answer> {
    let (host, mut request) = (host.clone(), good_block());
    request.exec_timeout = Some(Duration::from_secs(300));
    tokio::spawn(async move { host.execute_pvf(endless(), request).await.expect("an answer") })
}

fn assert_cancelled(answer: &Answer) {
    let Outcome::Internal(InternalError::WorkerDraining(why)) = &answer.outcome else { panic!("{answer:?}") };
    assert_eq!(why, "cancelled by operator default");
}

fn code_hash(code: &[u8]) -> String {
    CodeHash::of(code).to_string()
}

async fn is_valid(fleet: &Fleet, code: Vec<u8>) -> Answer {
    let answer = fleet.host.execute_pvf(pvf_of(code), good_block()).await.unwrap();
    assert!(matches!(answer.outcome, Outcome::Valid(_)), "{answer:?}");
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_request_is_answered_and_its_job_is_stopped() {
    let fleet = Fleet::start(1, 1).await;
    let operator = Operator::of(&fleet);
    let observer = bus::connect(&fleet.nats.url).await;
    let mut told = observer.subscribe(&subjects::event(&FleetName::default(), "request-cancelled")).await.unwrap();
    let waits = unending(&fleet.host);
    let job = fleet.job(Role::Execute, 0).await;
    let id = until("the request is open", async || operator.open().first().cloned()).await;
    let done = operator.does(&["requests", "cancel", &id[..12]]);
    assert_eq!((&done["request"], &done["cancelled"], &done["others"]), (&id.as_str().into(), &true.into(), &0.into()));
    assert_cancelled(&waits.await.unwrap());
    until("the job has ended", async || has_ended(job).then_some(())).await;
    operator.fails(&["requests", "cancel", &id], 2, &[&id, "has ended already: internal"]);
    let shown = operator.does(&["requests", "show", &id]);
    assert!(shown["reason"].as_str().unwrap().contains("cancelled by operator default"), "{shown}");
    let event = until("the event is told", async || told.next().await).await;
    let event: Value = serde_json::from_slice(&event.payload).unwrap();
    assert_eq!((&event["request"], &event["operator"]), (&id.as_str().into(), &"default".into()));
    // The slot is free.
    is_valid(&fleet, ADDER.to_vec()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_whose_execution_others_wait_for_is_cancelled_alone() {
    let fleet = Fleet::start(1, 1).await;
    let operator = Operator::of(&fleet);
    let (first, second) = (unending(&fleet.host), unending(&fleet.host));
    let job = fleet.job(Role::Execute, 0).await;
    let ids = until("both are open", async || Some(operator.open()).filter(|open| open.len() == 2)).await;
    assert_eq!(operator.does(&["requests", "cancel", &ids[0]])["others"], 1);
    assert!(!has_ended(job));
    assert_eq!(operator.open(), [ids[1].clone()]);
    assert_eq!(operator.does(&["requests", "cancel", &ids[1]])["others"], 0);
    for waits in [first, second] {
        assert_cancelled(&waits.await.unwrap());
    }
    until("the job has ended", async || has_ended(job).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_done_says_why() {
    let fleet = Fleet::start(0, 0).await;
    let operator = Operator::of(&fleet);
    let unknown = "0".repeat(31) + "1";
    operator.fails(&["requests", "cancel", &unknown], 2, &[&unknown, "it is not open"]);
    operator.fails(&["requests", "cancel", "ffff"], 2, &["ffff", "no request has an id that begins so"]);
    operator.fails(&["requests", "cancel", &unknown, "--client", "me"], 2, &["--client", "<user>.<session>"]);
    for command in ["pin", "unpin", "rm"] {
        operator.fails(&["artifacts", command, "5d1f"], 2, &["CODE_HASH", "64 hex digits"]);
    }
    let hash = code_hash(b"nothing");
    operator.fails(&["artifacts", "rm", &hash], 2, &[&hash, "no artifact of this code"]);
    operator.fails(&["artifacts", "rm", "--artifact", "ff"], 2, &["ff", "no artifact has an id that begins so"]);
    operator.fails(&["artifacts", "rm"], 2, &["CODE_HASH"]);
    operator.fails(&["artifacts", "prune", "--older-than", "soon"], 2, &["--older-than", "soon"]);
    operator.cli.fails(&["artifacts", "prune"], 2, &["artifacts: --nats is required"]);
}

/// Pinned before it is prepared, and by a coordinator that is replaced.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pinned_code_stays_through_pruning_a_restart_and_a_takeover() {
    let settings = "[policy]\nprune_interval = \"1s\"\nprune_min_age = \"1s\"\nartifact_ttl = \"2s\"\n";
    let config = FleetConfig { settings: settings.into(), ..FleetConfig::default() };
    let mut fleet = Fleet::with(config).await;
    let operator = Operator::of(&fleet);
    let (pinned, other) = (distinct_adder(1), distinct_adder(2));
    let hash = code_hash(&pinned);
    let saved = operator.does(&["artifacts", "pin", &hash]);
    assert_eq!((&saved["pinned"], &saved["changed"], &saved["artifacts"]), (&true.into(), &true.into(), &0.into()));
    for takeover in [false, true] {
        is_valid(&fleet, pinned.clone()).await;
        is_valid(&fleet, other.clone()).await;
        until("the other one is pruned", async || operator.artifact(&code_hash(&other)).is_none().then_some(())).await;
        let artifact = operator.artifact(&hash).expect("it is there");
        assert_eq!(artifact["pinned"], true, "{artifact}");
        operator.fails(&["artifacts", "rm", &hash], 2, &[&hash, "it is pinned"]);
        assert_eq!(operator.does(&["artifacts", "prune", "--older-than", "1s"])["removed"], 0);
        if !takeover {
            fleet.replace_coordinator();
            fleet.complete(1, 1).await;
        }
    }
    let shown = operator.does(&["artifacts", "inspect", &hash]);
    assert_eq!(shown["pinned"], true);
    assert_eq!(operator.does(&["artifacts", "unpin", &hash])["changed"], true);
    until("it is pruned", async || operator.artifact(&hash).is_none().then_some(())).await;
    assert!(artifacts_in(fleet.store()).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_artifact_is_prepared_anew_and_the_job_that_runs_on_it_goes_on() {
    let fleet = Fleet::start(1, 2).await;
    let operator = Operator::of(&fleet);
    let waits = unending(&fleet.host);
    let (_, job) = fleet.any_job(Role::Execute).await;
    let list = operator.does(&["artifacts"]);
    let hash = list["artifacts"][0]["code"].as_str().unwrap().to_owned();
    let removed = operator.does(&["artifacts", "rm", &hash]);
    assert_eq!((&removed["removed"], &removed["artifacts"][0]["state"]), (&1.into(), &"removed".into()), "{removed}");
    assert!(artifacts_in(fleet.store()).is_empty() && !has_ended(job));
    // Of the code that runs, one more is prepared.
    let prepared = fleet.host.precheck_pvf(endless()).await.unwrap();
    assert_eq!(prepared.outcome, Outcome::PrecheckOk);
    assert_eq!(artifacts_in(fleet.store()).len(), 1);
    let id = operator.artifact(&hash).unwrap()["id"].as_str().unwrap().to_owned();
    assert_eq!(operator.does(&["artifacts", "rm", "--artifact", &id])["removed"], 1);
    assert!(!has_ended(job), "it goes on");
    let open = operator.open();
    operator.does(&["requests", "cancel", &open[0]]);
    assert_cancelled(&waits.await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_not_used_lately_is_pruned_at_once() {
    let fleet = Fleet::start(1, 1).await;
    let operator = Operator::of(&fleet);
    for n in 1..=2 {
        is_valid(&fleet, distinct_adder(n)).await;
    }
    operator.does(&["artifacts", "pin", &code_hash(&distinct_adder(1))]);
    assert_eq!(operator.does(&["artifacts", "prune"])["removed"], 0, "none is older than the coordinator's age");
    let would = until("one is old enough", async || {
        let would = operator.does(&["artifacts", "prune", "--older-than", "1s", "--dry-run"]);
        (would["removed"] == 1).then_some(would)
    })
    .await;
    let entry = &would["artifacts"][0];
    let other = code_hash(&distinct_adder(2));
    assert_eq!((&entry["code"], &entry["state"]), (&other.as_str().into(), &"would-be-removed".into()), "{would}");
    assert!(would["dry_run"] == true && would["bytes"].as_u64() > Some(0), "{would}");
    assert_eq!(artifacts_in(fleet.store()).len(), 2);
    let pruned = operator.does(&["artifacts", "prune", "--older-than", "1s"]);
    assert_eq!((&pruned["removed"], &pruned["bytes"]), (&1.into(), &would["bytes"]));
    assert_eq!(artifacts_in(fleet.store()).len(), 1);
    let again = is_valid(&fleet, distinct_adder(2)).await;
    assert!(!again.artifact.unwrap().cached, "it was prepared anew");
}

/// A store that takes nothing: what is asked of it is not said to be done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pin_that_cannot_be_saved_is_an_error() {
    let fleet = Fleet::start(1, 1).await;
    let operator = Operator::of(&fleet);
    fleet.host.execute_pvf(adder(), good_block()).await.unwrap();
    // A folder where the object is to be.
    let pinned = fleet.store().join("meta/pinned");
    std::fs::create_dir_all(pinned.join("x")).unwrap();
    let hash = code_hash(ADDER);
    operator.fails(&["artifacts", "pin", &hash], 3, &[&hash, "the store has not taken it"]);
    std::fs::remove_dir_all(&pinned).unwrap();
    let saved = operator.does(&["artifacts", "pin", &hash]);
    assert_eq!((&saved["changed"], &saved["artifacts"]), (&false.into(), &1.into()));
    assert!(std::fs::read_to_string(&pinned).unwrap().contains(&hash));
}
