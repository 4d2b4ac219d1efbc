//! A fleet in the place of a node's own PVF workers: the worker executables with a node's side of the protocol that is
//! ours, on a fleet of processes. `tests/real-node` has the real host of a node.

mod install;
mod shared_fleet;
mod trouble;

use crate::http::{assert_well_formed, free_address, get, until_ready};
use parity_scale_codec::Encode as _;
use pvf_guests::adder::{ADDER, Block, Head};
use pvf_node::protocol::{
    DescriptorVersion, ExecuteAnswer, ExecuteRequest, JobResponse, PrepareError, PrepareJobKind, WorkerError,
};
use pvf_shared::{params::ExecutorParams, verdict::Outcome};
use pvf_tests::{
    fleet::{Fleet, Role},
    node::{Artifact, Worker, Workers, candidate},
    processes::until,
    requests::good_block,
};
use pvf_worker::sandbox::Mechanism;
use std::time::Duration;

pub(crate) fn good(artifact: &Artifact) -> ExecuteRequest {
    candidate(artifact, Head::genesis().encode(), Block { state: 0, increment: 5 }.encode())
}

fn bad(artifact: &Artifact) -> ExecuteRequest {
    candidate(artifact, Head::genesis().encode(), Block { state: 1, increment: 5 }.encode())
}

/// The artifact of a code.
pub(crate) async fn prepared(workers: &Workers, code: &[u8]) -> Artifact {
    let (answer, artifact) = workers.prepare().await.prepare(code, PrepareJobKind::Compilation).await;
    artifact.unwrap_or_else(|| panic!("{answer:?}"))
}

pub(crate) fn is_valid(answer: &ExecuteAnswer) -> bool {
    matches!(answer, Ok(executed) if matches!(executed.response, JobResponse::Valid(_)))
}

fn is_internal(answer: &ExecuteAnswer) -> bool {
    matches!(answer, Err(WorkerError::Internal(_)))
}

/// Each test of answers runs with the node service and without.
async fn answers(with_service: bool) {
    let fleet = Fleet::start(1, 1).await;
    let workers = Workers::new(&fleet.nats.url, "", "");
    let _service = if with_service { Some(workers.serve().await) } else { None };
    let mut prepare = workers.prepare().await;
    let (answer, artifact) = prepare.prepare(ADDER, PrepareJobKind::Prechecking).await;
    assert!(!prepare.worker.has_socket(), "the worker removes the socket");
    let (stats, artifact) = (answer.unwrap(), artifact.unwrap());
    assert_eq!(stats.code_len as usize, ADDER.len());
    assert!(stats.cpu_time > Duration::ZERO && stats.memory.max_rss > Some(0), "{stats:?}");
    let (again, _) = prepare.prepare(ADDER, PrepareJobKind::Compilation).await;
    assert_eq!(again.unwrap().checksum, artifact.checksum);
    let (refused, none) = prepare.prepare(b"no wasm", PrepareJobKind::Compilation).await;
    assert!(matches!(refused, Err(PrepareError::Prevalidation(_))) && none.is_none(), "{refused:?}");
    // An error of the code does not end the worker.
    assert!(prepare.prepare(ADDER, PrepareJobKind::Compilation).await.0.is_ok());

    let mut execute = workers.execute(&ExecutorParams::default()).await;
    let expected = fleet.host.execute_pvf(pvf_tests::requests::adder(), good_block()).await.unwrap();
    let Outcome::Valid(expected) = expected.outcome else { panic!("{expected:?}") };
    for _ in 0..2 {
        let executed = execute.execute(&artifact, &good(&artifact)).await.unwrap();
        assert_eq!(executed.response, JobResponse::Valid(*expected.clone()));
        assert!(executed.cpu_time <= Duration::from_secs(2));
        assert_eq!(executed.pov_size as usize, good(&artifact).block_data.len());
    }
    let invalid = execute.execute(&artifact, &bad(&artifact)).await.unwrap();
    assert!(matches!(invalid.response, JobResponse::InvalidCandidate(_)), "{invalid:?}");
    let bomb = [&pvf_shared::candidate::COMPRESSED_PREFIX[..], b"no zstd"].concat();
    let bomb = candidate(&artifact, Head::genesis().encode(), bomb);
    let undecodable = execute.execute(&artifact, &bomb).await.unwrap();
    assert_eq!(undecodable.response, JobResponse::PovDecompression);
    // A large PoV, over the bus's limit of a message.
    let large = candidate(&artifact, Head::genesis().encode(), vec![7; 3 << 20]);
    let large = execute.execute(&artifact, &large).await.unwrap();
    assert!(matches!(large.response, JobResponse::InvalidCandidate(_)), "{large:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_gets_the_answers_of_the_fleet_through_the_service() {
    answers(true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_gets_the_answers_of_the_fleet_without_the_service() {
    answers(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_gets_the_extension_of_version_3_only() {
    let fleet = Fleet::start(1, 1).await;
    let workers = Workers::new(&fleet.nats.url, "", "");
    let artifact = prepared(&workers, &pvf_guests::corpus::returns_end()).await;
    let mut execute = workers.execute(&ExecutorParams::default()).await;
    let of_version = |descriptor_version| ExecuteRequest { descriptor_version, ..good(&artifact) };
    for (version, end) in [
        (DescriptorVersion::V1, [1; 32]),
        (DescriptorVersion::V2, [1; 32]),
        (DescriptorVersion::V3, [3; 32]),
        (DescriptorVersion::Unknown(9), [1; 32]),
    ] {
        let executed = execute.execute(&artifact, &of_version(version)).await.unwrap();
        let JobResponse::Valid(result) = executed.response else { panic!("{executed:?}") };
        assert_eq!(result.head_data, end, "{version:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_over_its_time_limit_is_a_time_out() {
    let fleet = Fleet::start(1, 1).await;
    let workers = Workers::new(&fleet.nats.url, "", "");
    let _service = workers.serve().await;
    let artifact = prepared(&workers, &pvf_guests::corpus::busy(u64::MAX)).await;
    let mut execute = workers.execute(&ExecutorParams::default()).await;
    let answer = execute.execute(&artifact, &good(&artifact)).await;
    // On a machine that is too busy the wall clock runs out before.
    assert!(matches!(answer, Err(WorkerError::JobTimedOut)) || is_internal(&answer), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_artifact_is_reported_and_a_missing_one_is_no_verdict() {
    let fleet = Fleet::start(1, 1).await;
    let workers = Workers::new(&fleet.nats.url, "", "");
    let _service = workers.serve().await;
    let artifact = prepared(&workers, ADDER).await;
    let mut execute = workers.execute(&ExecutorParams::default()).await;
    assert!(is_valid(&execute.execute(&artifact, &good(&artifact)).await));
    let len = std::fs::metadata(&artifact.file).unwrap().len() as usize;
    for at in [0, 30, 100, len - 1] {
        pvf_tests::node::corrupt(&artifact.file, at);
        let answer = execute.execute(&artifact, &good(&artifact)).await.unwrap();
        assert_eq!(answer.response, JobResponse::CorruptedArtifact, "byte {at}");
        pvf_tests::node::corrupt(&artifact.file, at);
        assert!(is_valid(&execute.execute(&artifact, &good(&artifact)).await), "byte {at}");
    }
    let mut other = workers.execute(&ExecutorParams::default()).await;
    other.0.send(&good(&artifact).encode()).await;
    let answer = other.0.receive::<ExecuteAnswer>().await.unwrap();
    assert!(is_internal(&answer), "{answer:?}");
    // Another key: what it did not write is not used, and nothing is held against the candidate.
    std::fs::write(workers.path("pvf-node.key"), "11".repeat(32)).unwrap();
    let mut other_key = workers.execute(&ExecutorParams::default()).await;
    let answer = other_key.execute(&artifact, &good(&artifact)).await;
    assert!(is_internal(&answer), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_of_another_version_are_no_verdict() {
    let fleet = Fleet::start(1, 1).await;
    let workers = Workers::new(&fleet.nats.url, "", "");
    let artifact = prepared(&workers, ADDER).await;
    let mut execute = workers.execute(&ExecutorParams::default()).await;
    let mut longer = good(&artifact).encode();
    longer.push(0);
    execute.0.send(&longer).await;
    let answer = execute.0.receive::<ExecuteAnswer>().await.unwrap();
    assert!(is_internal(&answer) && format!("{answer:?}").contains("left over"), "{answer:?}");
    // Parameters that are not known: the worker stays, and answers every request.
    let mut unknown = Worker::start(&workers, "execute").await;
    unknown.send(&[4, 99, 0]).await;
    for _ in 0..2 {
        unknown.send(&good(&artifact).encode()).await;
        let answer = unknown.receive::<ExecuteAnswer>().await.unwrap();
        assert!(is_internal(&answer) && format!("{answer:?}").contains("executor parameters"), "{answer:?}");
    }
    // A message that is too long to be received.
    let mut endless = workers.execute(&ExecutorParams::default()).await;
    endless.0.send_raw(&u64::MAX.to_le_bytes()).await;
    let answer = endless.0.receive::<ExecuteAnswer>().await.unwrap();
    assert!(is_internal(&answer) && format!("{answer:?}").contains("over the limit"), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn questions_about_security_are_answered_for_the_fleet() {
    let fleet = Fleet::start(1, 1).await;
    let workers = Workers::new(&fleet.nats.url, "", "");
    let _service = workers.serve().await;
    let ask = |option: &str| {
        let arguments: &[&str] = if option.contains("root") {
            &["--check-can-unshare-user-namespace-and-change-root", "/tmp"]
        } else {
            &[option]
        };
        workers.command("prepare", arguments).output().unwrap()
    };
    let missing = fleet.status().await.sandboxes.unwrap().missing;
    for probe in pvf_node::security::Probe::ALL {
        let output = ask(probe.option());
        // A machine that runs the tests may miss something: then the answer names it.
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        let is_missing = !stderr.is_empty() && missing.iter().any(|entry| stderr.contains(&entry.mechanism));
        assert!(output.status.success() && stderr.is_empty() || is_missing, "{probe:?}: {output:?}");
        assert!(output.stdout.is_empty());
    }
    drop(fleet);
    let output = ask("--check-can-enable-seccomp");
    assert_eq!(output.status.code(), Some(1), "no fleet, no yes");
    assert!(String::from_utf8_lossy(&output.stderr).contains("does not say"), "{output:?}");
}

/// A mechanism under another name would be one that no worker misses.
#[test]
fn questions_are_about_mechanisms_that_workers_know() {
    let known = Mechanism::ALL.map(|mechanism| mechanism.to_string());
    for mechanism in pvf_node::security::Probe::ALL.iter().flat_map(|probe| probe.mechanisms()) {
        assert!(known.iter().any(|name| name == mechanism), "{mechanism} is none of {known:?}");
    }
}

#[test]
fn the_version_is_the_configured_one() {
    let workers = Workers::new("nats://127.0.0.1:1", "", "");
    for kind in ["prepare", "execute"] {
        let output = workers.command(kind, &["--version"]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "1.25.1\n");
    }
    std::fs::write(workers.path("pvf-node.toml"), "[node]\nversoin = 1").unwrap();
    let output = workers.command("prepare", &["--version"]).output().unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0));
    assert!(String::from_utf8_lossy(&output.stderr).contains("versoin"), "{output:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_version_ends_the_node_only_if_the_settings_say_so() {
    let workers = Workers::new("nats://127.0.0.1:1", "match = \"exact\"", "");
    // The shell stands for the node.
    let script = "trap 'echo terminated; exit 7' TERM; \"$@\" & wait $!; wait; echo lives";
    let run = |version: &str| {
        let exe = workers.path("polkadot-execute-worker").display().to_string();
        let arguments = ["execute-worker", "--node-impl-version", version, "--socket-path", "/nonexistent/s"];
        let mut shell = std::process::Command::new("bash");
        shell.args(["-c", script, "node", &exe]).args(arguments).args(["--worker-dir-path", "/tmp"]);
        let output = shell.output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    assert_eq!(run("1.26.0"), (Some(7), "terminated\n".into()));
    assert_eq!(run("1.25.1"), (Some(0), "lives\n".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_service_shows_its_connection_and_counts_its_answers() {
    let mut fleet = Fleet::start(1, 1).await;
    let workers = Workers::new(&fleet.nats.url, "", "");
    let address = free_address();
    let _service = workers.serve_with(&["--http", &address.to_string()]).await;
    until_ready(address).await;
    assert_well_formed(address);
    let artifact = prepared(&workers, ADDER).await;
    let mut execute = workers.execute(&ExecutorParams::default()).await;
    assert!(is_valid(&execute.execute(&artifact, &good(&artifact)).await));
    assert!(!is_valid(&execute.execute(&artifact, &bad(&artifact)).await));
    let (_, text) = get(address, "/metrics").unwrap();
    for line in [
        r#"pvf_node_preparations_total{answer="prepared"} 1"#,
        r#"pvf_node_executions_total{answer="valid"} 1"#,
        r#"pvf_node_executions_total{answer="invalid"} 1"#,
        "pvf_node_codes_brought_total 1",
        "pvf_node_bus_connected 1",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is not in {text}");
    }
    fleet.nats.kill();
    until("the service is not ready without a bus", async || {
        get(address, "/readyz").filter(|(status, why)| *status == 503 && why.contains("bus disconnected"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_ends_with_its_node_and_cancels_its_request() {
    let fleet = Fleet::start(1, 1).await;
    let workers = Workers::new(&fleet.nats.url, "", "");
    let _service = workers.serve().await;
    let artifact = prepared(&workers, &pvf_guests::corpus::busy(u64::MAX)).await;
    let mut execute = workers.execute(&ExecutorParams::default()).await;
    let long = ExecuteRequest { timeout: Duration::from_secs(600), ..good(&artifact) };
    execute.send(&artifact, &long).await;
    fleet.job(Role::Execute, 0).await;
    let mut process = execute.0.close();
    until("the worker ends", async || process.0.try_wait().unwrap()).await;
    until("the request is cancelled", async || {
        let status = fleet.host.status().await.ok()?;
        (status.requests == 0).then_some(())
    })
    .await;
}
