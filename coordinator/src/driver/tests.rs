use super::*;
use crate::testing::{
    Inbox, LIMIT, answer, artifact, execution, fleet, hello, in_time, local_bus, memory_store, new_client, new_worker,
    valid,
};
use pvf_shared::{
    blob::BlobRef,
    bus::{Bus as _, local::LocalBus},
    subjects::Subject,
    verdict::Outcome,
    wire::{
        self, DispatchReply, FromClient, FromWorker, Heartbeat, SubmitReply, ToClient, ToWorker, WireMessage,
        WorkerKind, WorkerReply,
    },
};
use tokio::{sync::oneshot, task::JoinHandle};

/// A coordinator that runs; the test stands in for clients and workers.
struct Running {
    bus: Arc<LocalBus>,
    counters: Arc<Counters>,
    http: Http,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Running {
    async fn start(bus: Arc<LocalBus>, store: BlobStore) -> Self {
        let (counters, http) = (Arc::<Counters>::default(), Http::new());
        let coordinator = Coordinator {
            fleet: fleet(),
            timing: ProtocolTimeouts::default(),
            config: CoordinatorConfig::default(),
            bus: bus.clone(),
            store,
            counters: counters.clone(),
            api: Api::default(),
        };
        let listening = coordinator.listen().await.unwrap().reporting_to(&http);
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(listening.run(async move {
            let _ = stopped.await;
        }));
        Self { bus, counters, http, stop, task }
    }

    async fn ask<T: WireMessage>(&self, to: Subject, message: &impl WireMessage) -> T {
        let answer = in_time(self.bus.request(&to, wire::encode(message), LIMIT)).await.unwrap();
        wire::decode(&answer).unwrap()
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        in_time(self.task).await.unwrap();
    }
}

#[tokio::test]
async fn a_request_goes_through_the_coordinator_and_comes_back_as_a_verdict() {
    let (bus, store) = (local_bus(1 << 20), memory_store());
    store.put_artifact(&artifact(), &crate::testing::compiled()).await.unwrap();
    let running = Running::start(bus.clone(), store).await;
    let (worker, client) = (new_worker(WorkerKind::Execute), new_client());
    let mut worker_inbox = Inbox::of_worker(&bus, &worker).await;
    let mut client_inbox = Inbox::of_client(&bus, &client).await;
    let to_coordinator = subjects::worker_requests(&fleet(), &worker);
    let welcome: WorkerReply = running.ask(to_coordinator.clone(), &FromWorker::Hello(Box::new(hello()))).await;
    assert!(matches!(welcome, WorkerReply::Welcome { .. }), "{welcome:?}");
    let submission = execution(b"block");
    let request = submission.id;
    let submission = FromClient::Submit(Box::new(submission));
    let submitting = running.ask(subjects::client_requests(&fleet(), &client), &submission);
    let working = async {
        let (command, message) = worker_inbox.next::<ToWorker>().await;
        let ToWorker::Dispatch(dispatch) = command else { panic!("{command:?}") };
        assert_eq!(dispatch.request, Some(request));
        // Longer than an acceptance is held back.
        answer(&bus, &message, &DispatchReply::Taken).await;
        dispatch
    };
    let (accepted, dispatch): (SubmitReply, _) = tokio::join!(submitting, working);
    assert_eq!(accepted, SubmitReply::Accepted);
    let report = FromWorker::Report(Box::new(valid(&dispatch)));
    assert_eq!(running.ask::<WorkerReply>(to_coordinator, &report).await, WorkerReply::Ack);
    let (ToClient::Verdict(verdict), _) = client_inbox.next().await;
    assert_eq!((verdict.request, verdict.worker), (request, Some(worker)));
    assert!(matches!(&verdict.outcome, Outcome::Valid(BlobRef::Inline(result)) if result == "result"));
    let metrics = running.counters.clone();
    running.stop().await;
    // The names of the existing host.
    let rendered = metrics.render();
    for line in ["polkadot_pvf_execute_enqueued 1\n", "polkadot_pvf_execute_finished 1\n"] {
        assert!(rendered.contains(line), "{rendered}");
    }
}

#[tokio::test(start_paused = true)]
async fn sizes_and_readiness_are_published_twice_a_second() {
    let running = Running::start(local_bus(1 << 20), memory_store()).await;
    let to_coordinator = subjects::worker_requests(&fleet(), &new_worker(WorkerKind::Prepare));
    let _: WorkerReply = running.ask(to_coordinator.clone(), &FromWorker::Hello(Box::new(hello()))).await;
    tokio::time::advance(OBSERVATION).await;
    // Answered after the observation that is due.
    let heartbeat = Heartbeat::default();
    let _: WorkerReply = running.ask(to_coordinator, &FromWorker::Heartbeat(heartbeat)).await;
    let rendered = running.counters.render();
    for line in ["pvf_workers{kind=\"prepare\"} 1\n", "pvf_bus_connected 1\n"] {
        assert!(rendered.contains(line), "{rendered}");
    }
    let serving = running.http.serve(([127, 0, 0, 1], 0).into()).await.unwrap();
    assert_eq!(get(&serving, "/readyz").await, "ready\n");
    let http = running.http.clone();
    running.stop().await;
    assert_eq!(get(&serving, "/readyz").await, "stopping\n");
    drop(http);
}

/// The body of a response.
async fn get(serving: &pvf_shared::http::Serving, path: &str) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(serving.local_addr()).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    response.split_once("\r\n\r\n").unwrap().1.to_owned()
}

#[tokio::test]
async fn each_coordinator_has_a_higher_token_than_the_one_before() {
    let (bus, store) = (local_bus(1 << 20), memory_store());
    let mut tokens = Vec::new();
    for _ in 0..2 {
        let running = Running::start(bus.clone(), store.clone()).await;
        let hello = FromWorker::Hello(Box::new(hello()));
        let to = subjects::worker_requests(&fleet(), &new_worker(WorkerKind::Execute));
        let WorkerReply::Welcome { token } = running.ask(to, &hello).await else { panic!("not welcome") };
        tokens.push(token);
        running.stop().await;
    }
    assert!(tokens[0] < tokens[1], "{tokens:?}");
}

#[tokio::test]
async fn a_coordinator_announces_its_term() {
    let (bus, store) = (local_bus(1 << 20), memory_store());
    let mut said = bus.subscribe(&subjects::announcements(&fleet())).await.unwrap();
    let running = Running::start(bus.clone(), store).await;
    let message = futures::StreamExt::next(&mut said);
    let message = in_time(message).await.unwrap();
    wire::decode::<Announcement>(&message.payload).unwrap();
    let to = subjects::worker_requests(&fleet(), &new_worker(WorkerKind::Execute));
    let WorkerReply::Welcome { token } = running.ask(to, &FromWorker::Hello(Box::new(hello()))).await else {
        panic!("not welcome")
    };
    assert_eq!(wire::term_of(&message.payload).map(|term| term.token), Some(token));
    running.stop().await;
}
