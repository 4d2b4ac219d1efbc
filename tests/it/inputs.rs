//! Code, PoVs and results of any size, on a bus with small messages, between clients and workers that share no store;
//! and clients and workers that are gone before their bytes were pulled, or have others.

use async_trait::async_trait;
use futures::{StreamExt as _, stream};
use parity_scale_codec::Encode as _;
use pvf_guests::corpus::{echo_like, large, returns};
use pvf_shared::{
    Bytes, ValidationHost,
    blob::BlobRef,
    bus::{Bus, BusError, PendingAnswer, SharedBus, Subscription},
    candidate::ValidationResult,
    client::ClientConfig,
    identity::{ClientId, UserName},
    ids::{BlobHash, CodeHash, FleetName, RequestId},
    params::ExecutorParams,
    priority::ExecuteKind,
    subjects::{self, Subject},
    verdict::Outcome,
    wire::{self, ExecuteSubmission, FromClient, Pull, PullReply, SPEAKS, Submission, SubmitReply, Work},
};
use pvf_testkit::fixtures;
use pvf_tests::{
    fleet::{Fleet, FleetConfig, Role, client},
    processes::{signal, until},
    requests::{backing, good_block, padded, pvf_of},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicI32, Ordering},
    },
    time::Duration,
};
use tokio::task::JoinHandle;

const MIB: usize = 1 << 20;
/// Time to answer a request of the test.
const PATIENCE: Duration = Duration::from_secs(60);

/// Bytes that cannot be compressed.
fn noise(len: usize) -> Vec<u8> {
    std::iter::repeat_with(|| fastrand::u8(..)).take(len).collect()
}

fn large_result() -> ValidationResult {
    ValidationResult {
        head_data: vec![1],
        new_validation_code: Some(noise(3 * MIB).into()),
        upward_messages: vec![],
        horizontal_messages: vec![],
        processed_downward_messages: 0,
        hrmp_watermark: 0,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inputs_and_results_of_any_size_need_no_store() {
    let fleet = Fleet::with(FleetConfig { max_payload: 64 * 1024, ..FleetConfig::default() }).await;
    let result = large_result();
    let code = padded(returns(&result.encode()), 5_000_000);
    let answer = fleet.host.execute_pvf(pvf_of(code), backing(b"head".to_vec(), noise(10 * MIB))).await.unwrap();
    assert_eq!(answer.outcome, Outcome::Valid(Box::new(result)));
    let mut folders: Vec<_> =
        std::fs::read_dir(fleet.store()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    folders.sort_unstable();
    // `probe` is what a process leaves that has tried whether it can write.
    folders.retain(|folder| folder != "probe");
    assert_eq!(folders, ["artifacts", "meta"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_large_povs_at_once_make_nobody_a_slow_consumer() {
    let mut fleet = Fleet::start(1, 1).await;
    fleet.add_with_slots(Role::Execute, 2);
    fleet.complete(1, 2).await;
    let pvf = pvf_of(echo_like());
    // PVF_TEST_POVS=200 makes it longer.
    let povs = std::env::var("PVF_TEST_POVS").map_or(16, |n| n.parse::<usize>().expect("a number"));
    let run = |_| fleet.host.execute_pvf(pvf.clone(), backing(b"head".to_vec(), noise(10 * MIB)));
    let answers: Vec<_> = stream::iter(0..povs).map(run).buffer_unordered(16).collect().await;
    assert_eq!(answers.len(), povs);
    for answer in answers {
        let answer = answer.unwrap();
        assert!(matches!(answer.outcome, Outcome::Valid(_)), "{answer:?}");
    }
    assert_eq!(fleet.nats.varz("slow_consumers"), 0);
}

/// A client that the test plays: it submits, and does not do what it should with the bytes.
struct BadClient {
    bus: SharedBus,
    id: ClientId,
    pulls: Subscription,
}

impl BadClient {
    async fn connect(fleet: &Fleet) -> Self {
        let bus: SharedBus = Arc::new(crate::bus::connect(&fleet.nats.url).await);
        let id = ClientId::new(bus.user());
        let pulls = bus.subscribe(&subjects::client_pulls(&FleetName::default(), &id)).await.unwrap();
        Self { bus, id, pulls }
    }

    async fn submit(&self, code: CodeHash, work: Work) -> RequestId {
        let id = RequestId::new();
        let submission = Submission {
            speaks: SPEAKS,
            executor_params: ExecutorParams::default(),
            ..fixtures::submission(id, code, work)
        };
        let to = subjects::client_requests(&FleetName::default(), &self.id);
        let message = wire::encode(&FromClient::Submit(Box::new(submission)));
        let answer = self.bus.request(&to, message, PATIENCE).await.unwrap();
        assert_eq!(wire::decode::<SubmitReply>(&answer).unwrap(), SubmitReply::Accepted);
        id
    }

    /// Is heard from all the time, so that it is asked first for what it should have.
    fn keep_asking(&self) -> JoinHandle<()> {
        let (bus, to) = (self.bus.clone(), subjects::client_requests(&FleetName::default(), &self.id));
        let mut pace = tokio::time::interval(Duration::from_millis(20));
        tokio::spawn(async move {
            loop {
                pace.tick().await;
                let message = wire::encode(&FromClient::Ask { requests: vec![], heard: vec![] });
                // The coordinator may be gone at the end of the test.
                let _ = bus.request(&to, message, PATIENCE).await;
            }
        })
    }

    /// The next request for a chunk, and where the answer goes.
    async fn asked(&mut self) -> (Pull, Subject) {
        let request = tokio::time::timeout(PATIENCE, self.pulls.next()).await.expect("a pull").unwrap();
        (wire::decode(&request.payload).unwrap(), request.reply.unwrap())
    }

    /// Answers pulls with these bytes, whatever is asked for.
    fn serve(self, bytes: Bytes) -> JoinHandle<()> {
        tokio::spawn(pvf_shared::pull::serve(self.bus, self.pulls, move |_| Some(bytes.clone())))
    }
}

/// The same as [`backing`] makes, as it is submitted.
fn held(block_data: &[u8]) -> Work {
    let pov = BlobRef::Held { hash: BlobHash::of(block_data), len: block_data.len() as u64 };
    let mut work: ExecuteSubmission = fixtures::execution(ExecuteKind::Backing, pov);
    work.context = backing(b"head".to_vec(), Bytes::new()).context;
    Work::Execute(Box::new(work))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_client_goes_on_when_the_first_is_gone_in_the_middle() {
    let mut fleet = Fleet::start(1, 0).await;
    let (code, pov) = (echo_like(), noise(3 * MIB));
    assert_eq!(fleet.host.precheck_pvf(pvf_of(code.clone())).await.unwrap().outcome, Outcome::PrecheckOk);
    let mut first = BadClient::connect(&fleet).await;
    first.submit(CodeHash::of(&code), held(&pov)).await;
    let (host, request) = (client(&fleet.nats.url).await, backing(b"head".to_vec(), pov.clone()));
    let second = tokio::spawn(async move { host.execute_pvf(pvf_of(code), request).await });
    until("the second client has joined", async || (fleet.status().await.coalesced == 1).then_some(())).await;
    let asking = first.keep_asking();
    fleet.add(Role::Execute);
    // It has given a chunk, and is gone.
    let (pull, reply) = first.asked().await;
    let begin = pull.offset as usize;
    let bytes = Bytes::copy_from_slice(&pov[begin..pov.len().min(begin + pull.len as usize)]);
    first.bus.publish(&reply, wire::encode(&PullReply::Chunk { total: pov.len() as u64, bytes })).await.unwrap();
    asking.abort();
    drop(first);
    let answer = second.await.unwrap().unwrap();
    assert!(matches!(answer.outcome, Outcome::Valid(_)), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_whose_only_holder_is_gone_is_not_begun_and_blames_nobody() {
    let settings = "[policy]\nclient_silence = \"3s\"\n".into();
    let mut fleet = Fleet::with(FleetConfig { execute: 0, settings, ..FleetConfig::default() }).await;
    let (code, pov) = (echo_like(), noise(MIB));
    assert_eq!(fleet.host.precheck_pvf(pvf_of(code.clone())).await.unwrap().outcome, Outcome::PrecheckOk);
    let gone = BadClient::connect(&fleet).await;
    gone.submit(CodeHash::of(&code), held(&pov)).await;
    gone.submit(CodeHash::of(b"a code that nobody has"), Work::HeadsUp { wait_prepared: false }).await;
    drop(gone);
    fleet.add(Role::Execute);
    fleet.complete(1, 1).await;
    until("its requests are dropped", async || (fleet.status().await.requests == 0).then_some(())).await;
    let status = fleet.status().await;
    assert_eq!((status.executed, status.prepare_queue), (0, [0; 3]));
    assert!(status.workers.iter().all(|worker| worker.trouble.is_none()), "{status:?}");
    let answer = fleet.host.execute_pvf(pvf_of(code), backing(b"head".to_vec(), pov)).await.unwrap();
    assert!(matches!(answer.outcome, Outcome::Valid(_)), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_with_other_bytes_for_its_code_harms_only_itself() {
    let mut fleet = Fleet::start(0, 1).await;
    let code = large(100);
    let liar = BadClient::connect(&fleet).await;
    liar.submit(CodeHash::of(&code), Work::Precheck).await;
    let (host, pvf) = (fleet.host.clone(), pvf_of(code.clone()));
    let honest = tokio::spawn(async move { host.precheck_pvf(pvf).await });
    until("both wait", async || (fleet.status().await.requests == 2).then_some(())).await;
    liar.keep_asking();
    let lies = liar.serve(noise(code.len()).into());
    fleet.add(Role::Prepare);
    let answer = honest.await.unwrap().unwrap();
    assert_eq!(answer.outcome, Outcome::PrecheckOk);
    let status = fleet.status().await;
    assert!(status.workers.iter().all(|worker| worker.trouble.is_none()), "{status:?}");
    lies.abort();
}

/// A connection over which a process is killed before the first pull.
struct KillsAtPull {
    inner: SharedBus,
    pid: AtomicI32,
}

#[async_trait]
impl Bus for KillsAtPull {
    async fn publish(&self, subject: &Subject, payload: Bytes) -> Result<(), BusError> {
        self.inner.publish(subject, payload).await
    }

    async fn send_request(
        &self,
        subject: &Subject,
        payload: Bytes,
        timeout: Duration,
    ) -> Result<PendingAnswer, BusError> {
        if subject.as_str().ends_with(".pull") {
            let pid = self.pid.swap(0, Ordering::Relaxed);
            if pid != 0 {
                signal(pid, libc::SIGKILL);
            }
        }
        self.inner.send_request(subject, payload, timeout).await
    }

    async fn subscribe(&self, subject: &Subject) -> Result<Subscription, BusError> {
        self.inner.subscribe(subject).await
    }

    fn user(&self) -> UserName {
        self.inner.user()
    }

    fn max_payload(&self) -> usize {
        self.inner.max_payload()
    }

    async fn flush(&self) -> Result<(), BusError> {
        self.inner.flush().await
    }

    fn is_connected(&self) -> bool {
        self.inner.is_connected()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_that_died_with_its_worker_is_made_again() {
    let mut fleet = Fleet::start(1, 1).await;
    let inner: SharedBus = Arc::new(crate::bus::connect(&fleet.nats.url).await);
    let worker = fleet.execute[0].pid();
    let bus = Arc::new(KillsAtPull { inner, pid: AtomicI32::new(worker) });
    let host = ValidationHost::connect(bus.clone(), ClientConfig::default()).await.unwrap();
    let result = large_result();
    let code = pvf_of(returns(&result.encode()));
    let answer = tokio::spawn(async move { host.execute_pvf(code, good_block()).await });
    until("the worker is killed", async || (bus.pid.load(Ordering::Relaxed) == 0).then_some(())).await;
    fleet.add(Role::Execute);
    let answer = answer.await.unwrap().unwrap();
    assert_eq!(answer.outcome, Outcome::Valid(Box::new(result)));
}
