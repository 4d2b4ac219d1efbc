//! Registration, refusals, and what the worker shows over HTTP.

use crate::{
    common::{AMPLE, WORKER, execute_job, prepare_job},
    dispatch,
    fixture::{TOKEN, WorkerFixture, config, within},
};
use futures::StreamExt as _;
use pvf_guests::corpus::{RESULT, returns};
use pvf_shared::{
    Bytes,
    bus::{Bus as _, local::LocalBus},
    config::{MAX_STAGED, ProtocolTimeouts},
    http::{Http, Serving},
    identity::{UserName, WorkerId},
    ids::{ArtifactId, EngineId, FencingToken, FleetName, JobId},
    job::JobSpec,
    params::ExecutorParams,
    store::{ArtifactKeys, BlobStore},
    subjects,
    wire::{self, CommandRefusal, DispatchReply, FromWorker, SPEAKS, ToWorker, WorkerKind, WorkerReply},
};
use pvf_worker::agent::{Worker, WorkerConfig};
use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

#[tokio::test]
async fn a_worker_registers_until_it_is_welcomed_and_again_when_it_is_forgotten() {
    let bus = Arc::new(LocalBus::new());
    let store = BlobStore::open("memory://", ArtifactKeys::unsigned()).unwrap();
    let timing = ProtocolTimeouts {
        ack: Duration::from_millis(10),
        heartbeat: Duration::from_millis(10),
        ..ProtocolTimeouts::default()
    };
    let config = WorkerConfig { timing, ..config(WorkerKind::Prepare, Path::new(WORKER)) };
    let engine = pvf_worker::wasm::engine_id(config.baseline).unwrap();
    let mut heard = bus.subscribe(&subjects::all_worker_requests(&config.fleet)).await.unwrap();
    let worker = Worker::new(config, bus.clone(), store).unwrap();
    let worker = tokio::spawn(worker.run(std::future::pending()));
    let mut next = async || {
        let message = within("a message", heard.next()).await.unwrap();
        (wire::decode::<FromWorker>(&message.payload).unwrap(), message.reply.unwrap())
    };
    let (FromWorker::Hello(first), _) = next().await else { panic!("the first message is no registration") };
    assert_eq!((first.speaks, first.slots, &first.engine), (SPEAKS, 1, &engine));
    let (again, reply) = next().await;
    assert_eq!(again, FromWorker::Hello(first.clone()));
    bus.publish(&reply, wire::encode(&WorkerReply::Welcome { token: TOKEN })).await.unwrap();
    let reply = within("a heartbeat", async {
        loop {
            match next().await {
                (FromWorker::Heartbeat(_), reply) => {
                    break reply;
                }
                // One that was under way.
                (FromWorker::Hello(_), reply) => {
                    bus.publish(&reply, wire::encode(&WorkerReply::Welcome { token: TOKEN })).await.unwrap();
                }
                (other, _) => panic!("{other:?}"),
            }
        }
    })
    .await;
    bus.publish(&reply, wire::encode(&WorkerReply::SayHello)).await.unwrap();
    within("another registration", async { while !matches!(next().await.0, FromWorker::Hello(_)) {} }).await;
    worker.abort();
}

#[tokio::test]
async fn what_a_worker_refuses() {
    let mut worker = WorkerFixture::new(WorkerKind::Execute).await;
    let endless = worker.endless().await;
    let preparation = JobSpec::Prepare(Box::new(prepare_job(b"", ExecutorParams::default())));
    let why = worker.refused((TOKEN, 1), preparation).await;
    assert_eq!(why, CommandRefusal::WrongKind(WorkerKind::Execute));
    let mut other = execute_job(b"", ExecutorParams::default());
    other.artifact = ArtifactId { engine: EngineId::parse("another").unwrap(), ..other.artifact };
    let why = worker.refused((TOKEN, 1), JobSpec::Execute(Box::new(other))).await;
    assert!(matches!(why, CommandRefusal::WrongEngine(_)), "{why}");
    // For each slot and each staging place one job that has it, and one more that may be being fetched.
    let most = 2 * (1 + u64::from(MAX_STAGED));
    for job in 1..=most {
        assert_eq!(worker.dispatch((TOKEN, job), endless.clone()).await, DispatchReply::Taken);
    }
    assert_eq!(worker.refused((TOKEN, 1000), endless.clone()).await, CommandRefusal::NoFreeSlot);
    let why = worker.refused((FencingToken(6), 1001), endless.clone()).await;
    assert!(matches!(why, CommandRefusal::StaleToken { .. }), "{why}");
    // A coordinator with a higher token took over: from now on only its commands are obeyed.
    assert_eq!(worker.refused((FencingToken(8), 1002), endless.clone()).await, CommandRefusal::NoFreeSlot);
    let why = worker.refused((TOKEN, 1003), endless).await;
    assert!(matches!(why, CommandRefusal::StaleToken { .. }), "{why}");
    let cancel = ToWorker::Cancel { token: TOKEN, job: JobId(1), attempt: 1 };
    assert!(matches!(worker.tell(cancel).await, DispatchReply::Refused(_)));
    worker.heartbeat(|beat| beat.running.len() as u64 == most).await;
    worker.worker.abort();
}

#[tokio::test]
async fn malformed_messages_are_answered() {
    let worker = WorkerFixture::new(WorkerKind::Execute).await;
    let to = subjects::worker_commands(&FleetName::default(), &worker.id);
    let answer = worker.bus.request(&to, Bytes::from_static(b"rubbish"), AMPLE).await.unwrap();
    let answer = wire::decode(&answer).unwrap();
    assert!(matches!(answer, DispatchReply::Refused(CommandRefusal::NotUnderstood(_))), "{answer:?}");
    let nobody =
        subjects::worker_commands(&FleetName::default(), &WorkerId::new(WorkerKind::Execute, UserName::default()));
    assert!(worker.bus.request(&nobody, Bytes::new(), AMPLE).await.is_err());
}

/// Status line and body of one response.
async fn get(serving: &Serving, path: &str) -> String {
    let mut stream = TcpStream::connect(serving.local_addr()).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap();
    format!("{status} {body}")
}

#[tokio::test]
async fn the_worker_is_ready_while_it_is_registered_and_does_not_drain() {
    let http = Http::new();
    let serving = http.serve(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    assert_eq!(get(&serving, "/readyz").await, "503 starting\n");
    let config = config(WorkerKind::Execute, Path::new(WORKER));
    let mut worker = WorkerFixture::unregistered(config, LocalBus::new(), http).await;
    let until = async |response: &str| {
        within(response, async { while get(&serving, "/readyz").await != response {} }).await;
    };
    until("503 not registered with a coordinator\n").await;
    worker.welcome().await;
    until("200 ready\n").await;
    assert_eq!(get(&serving, "/livez").await, "200 live\n");
    let short = JobSpec::Execute(Box::new(worker.execution(&returns(RESULT)).await));
    assert_eq!(worker.tell(dispatch(1, 0, &short)).await, DispatchReply::Taken);
    worker.report().await;
    assert_eq!(worker.tell(dispatch(2, 0, &worker.endless().await)).await, DispatchReply::Taken);
    let stale = ToWorker::Cancel { token: FencingToken(1), job: JobId(2), attempt: 1 };
    assert!(matches!(worker.tell(stale).await, DispatchReply::Refused(_)));
    let metrics = get(&serving, "/metrics").await;
    for line in [
        r#"pvf_worker_slots{kind="execute"} 1"#,
        r#"pvf_worker_registered{kind="execute"} 1"#,
        r#"pvf_worker_jobs_taken_total{kind="execute"} 2"#,
        r#"pvf_worker_jobs_finished_total{kind="execute",outcome="valid"} 1"#,
        r#"pvf_worker_jobs{kind="execute",state="running"} 1"#,
        r#"pvf_worker_commands_refused_total{kind="execute",reason="stale-token"} 1"#,
        r#"pvf_worker_artifact_cache_misses_total{kind="execute"} "#,
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    worker.stop.take();
    until("503 draining\n").await;
    worker.worker.abort();
}
