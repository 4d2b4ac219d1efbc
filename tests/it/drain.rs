//! `pvf drain`: workers of a real fleet drain, and the tool waits until they have left.

use crate::{bus, tool::CliFixture};
use futures::StreamExt as _;
use pvf::{Answer, Pvf, ValidationHost};
use pvf_guests::corpus::busy;
use pvf_shared::{bus::Bus as _, ids::FleetName, subjects, verdict::Outcome, wire::WorkerStatus};
use pvf_tests::{
    fleet::{Fleet, Role},
    processes::{signal, until},
    requests::{adder, good_block, pvf_of},
};
use serde_json::Value;
use std::{
    process::{Child, Command, Stdio},
    time::Duration,
};
use tokio::task::JoinHandle;

/// A valid candidate that takes seconds, with a limit that is far away.
fn long(host: &ValidationHost) -> JoinHandle<Answer> {
    let (host, mut request) = (host.clone(), good_block());
    request.exec_timeout = Some(Duration::from_secs(60));
    tokio::spawn(async move { host.execute_pvf(pvf_of(busy(1_000_000_000)), request).await.expect("an answer") })
}

async fn valid(host: &ValidationHost, pvf: Pvf) -> Answer {
    let answer = host.execute_pvf(pvf, good_block()).await.unwrap();
    assert!(matches!(answer.outcome, Outcome::Valid(_)), "{answer:?}");
    answer
}

/// The only execute worker.
async fn execute_worker(fleet: &Fleet) -> WorkerStatus {
    let workers = fleet.status().await.workers;
    workers.into_iter().find(|worker| worker.id.to_string().starts_with("execute.")).unwrap()
}

/// Starts `pvf drain`, with its output in pipes.
fn start(cli: &CliFixture, fleet: &Fleet, args: &[&str]) -> Child {
    let mut command: Command = cli.command(&[&["drain", "--nats", &fleet.nats.url, "--json"], args].concat());
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Waits until a `pvf drain` ends: its exit code, the objects on stdout, and stderr.
fn ended(drain: Child) -> (Option<i32>, Vec<Value>, String) {
    let output = drain.wait_with_output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    let objects = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (output.status.code(), objects, String::from_utf8(output.stderr).unwrap())
}

async fn until_draining(fleet: &Fleet, id: &str) {
    until("the status shows that the worker drains", async || {
        let status = fleet.host.status().await.ok()?;
        status.workers.iter().any(|worker| worker.id.to_string() == id && worker.draining).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_worker_that_is_drained_ends_its_job_and_its_process() {
    let (cli, mut fleet) = (CliFixture::new(), Fleet::start(1, 1).await);
    let running = long(&fleet.host);
    // It stands still until the test has seen everything.
    let job = fleet.job(Role::Execute, 0).await;
    signal(job, libc::SIGSTOP);
    let id = execute_worker(&fleet).await.id.to_string();
    fleet.add(Role::Execute);
    fleet.complete(1, 2).await;
    let mut drain = start(&cli, &fleet, &[&id]);
    until_draining(&fleet, &id).await;
    for _ in 0..3 {
        let next = valid(&fleet.host, adder()).await;
        assert_ne!(next.worker.unwrap().to_string(), id, "it takes no new jobs");
    }
    assert!(drain.try_wait().unwrap().is_none() && fleet.execute[0].0.try_wait().unwrap().is_none(), "both wait");
    signal(job, libc::SIGCONT);
    let answer = running.await.unwrap();
    assert!(matches!(answer.outcome, Outcome::Valid(_)), "{answer:?}");
    assert_eq!((answer.attempts, answer.worker.unwrap().to_string()), (1, id.clone()));
    let (code, objects, stderr) = ended(drain);
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!((&objects[0]["worker"], &objects[0]["state"], objects.len()), (&id.into(), &"left".into(), 1));
    assert!(stderr.contains("waiting: ") && stderr.contains(", 1 job"), "{stderr}");
    assert_eq!(fleet.execute[0].0.wait().unwrap().code(), Some(0));
    fleet.complete(1, 1).await;
    valid(&fleet.host, adder()).await;
}

/// The coordinator that was asked is killed: the tool asks the next one, and waits on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_takeover_does_not_end_the_wait() {
    let (cli, mut fleet) = (CliFixture::new(), Fleet::start(1, 1).await);
    let observer = bus::connect(&fleet.nats.url).await;
    let events = subjects::event(&FleetName::default(), "worker-told-to-drain");
    let mut told = observer.subscribe(&events).await.unwrap();
    let running = long(&fleet.host);
    let job = fleet.job(Role::Execute, 0).await;
    signal(job, libc::SIGSTOP);
    let id = execute_worker(&fleet).await.id.to_string();
    let drain = start(&cli, &fleet, &[&id]);
    for takeover in [true, false] {
        // Each coordinator is asked, and says so once.
        let event = until("the coordinator is asked", async || told.next().await).await;
        let event: Value = serde_json::from_slice(&event.payload).unwrap();
        assert_eq!((&event["worker"], &event["operator"]), (&id.as_str().into(), &"default".into()));
        until_draining(&fleet, &id).await;
        if takeover {
            fleet.replace_coordinator();
        }
    }
    signal(job, libc::SIGCONT);
    let answer = running.await.unwrap();
    assert!(matches!(answer.outcome, Outcome::Valid(_)), "{answer:?}");
    let (code, objects, stderr) = ended(drain);
    assert_eq!((code, &objects[0]["state"]), (Some(0), &"left".into()), "{stderr}");
    assert_eq!(fleet.execute[0].0.wait().unwrap().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_of_a_machine_drain_and_the_others_stay() {
    let (cli, mut fleet) = (CliFixture::new(), Fleet::start(1, 1).await);
    fleet.add_with(Role::Prepare, &["--host", "rack2"]);
    fleet.add_with(Role::Execute, &["--host", "rack2"]);
    fleet.complete(2, 2).await;
    let (code, objects, stderr) = ended(start(&cli, &fleet, &["--host", "rack2", "prepare", "--no-wait"]));
    assert_eq!((code, objects.len(), &objects[0]["host"]), (Some(0), 1, &"rack2".into()), "{stderr}");
    assert!(["told", "draining", "left"].iter().any(|state| objects[0]["state"] == *state), "{objects:?}");
    assert_eq!(fleet.prepare[1].0.wait().unwrap().code(), Some(0));
    fleet.complete(1, 2).await;
    let (code, objects, stderr) = ended(start(&cli, &fleet, &["--host", "rack2"]));
    assert_eq!((code, objects.len(), &objects[0]["state"]), (Some(0), 1, &"left".into()), "{stderr}");
    assert_eq!(fleet.execute[1].0.wait().unwrap().code(), Some(0));
    fleet.complete(1, 1).await;
    valid(&fleet.host, adder()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_clear_is_an_error_and_drains_nothing() {
    let (cli, fleet) = (CliFixture::new(), Fleet::start(1, 2).await);
    let of_fleet = ["--nats", &fleet.nats.url, "drain"];
    let workers = fleet.status().await.workers;
    let ids: Vec<_> = workers.iter().map(|worker| worker.id.to_string()).collect();
    let execute: Vec<_> = ids.iter().filter(|id| id.starts_with("execute")).collect();
    let fails = |args: &[&str], words: &[&str]| cli.fails(&[&of_fleet[..], args].concat(), 2, words);
    fails(&["prepare", "execute."], &["several workers", execute[0], execute[1]]);
    fails(&["prepare", "elsewhere"], &["elsewhere: no worker with this id is registered"]);
    let gone = execute[0].replace("execute", "prepare");
    fails(&["prepare", &gone], &["no worker with this id"]);
    fails(&["--host", "elsewhere"], &["elsewhere: no worker of this machine"]);
    fails(&["--host", "elsewhere", &ids[0]], &["no worker of elsewhere with this id"]);
    fails(&[], &["WORKER"]);
    cli.fails(&["drain", "prepare"], 2, &["drain: --nats is required"]);
    assert!(!fleet.status().await.workers.iter().any(|worker| worker.draining));
    fleet.complete(1, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_does_not_leave_in_time_or_is_lost_is_said_to_be() {
    let (cli, mut fleet) = (CliFixture::new(), Fleet::start(1, 1).await);
    let running = long(&fleet.host);
    let job = fleet.job(Role::Execute, 0).await;
    signal(job, libc::SIGSTOP);
    let id = execute_worker(&fleet).await.id.to_string();
    let (code, objects, stderr) = ended(start(&cli, &fleet, &[&id, "--wait", "3s"]));
    assert!(code == Some(3) && stderr.contains("has not left after 3 s, and goes on draining"), "{code:?}: {stderr}");
    assert_eq!((&objects[0]["state"], &objects[0]["jobs"]), (&"draining".into(), &1.into()));
    let drain = start(&cli, &fleet, &[&id]);
    fleet.execute[0].kill();
    let (code, objects, stderr) = ended(drain);
    assert!(code == Some(3) && stderr.contains("was lost while it drained"), "{code:?}: {stderr}");
    assert_eq!(objects[0]["state"], "lost");
    // What it had is done elsewhere.
    fleet.add(Role::Execute);
    let answer = running.await.unwrap();
    assert!(matches!(answer.outcome, Outcome::Valid(_)), "{answer:?}");
}
