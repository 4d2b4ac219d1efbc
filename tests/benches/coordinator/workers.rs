//! Workers that speak the protocol and do nothing else: each dispatch is answered at once with the report of its job.

use futures::StreamExt as _;
use pvf_shared::{
    Bytes,
    artifact::{ArtifactDigest, ArtifactInfo},
    blob::BlobRef,
    bus::{Bus as _, Message, Subscription, nats::NatsBus},
    config::ProtocolTimeouts,
    identity::{WorkerId, WorkerKind},
    ids::FleetName,
    job::{ExecuteOutcome, JobOutcome, JobSpec, JobUsage, PrepareOutcome},
    subjects,
    wire::{self, Dispatch, DispatchReply, FromWorker, Heartbeat, JobReport, ToWorker, WorkerHello, WorkerReply},
};
use pvf_testkit::fixtures;
use std::time::Duration;
use tokio::time::MissedTickBehavior;

/// CPU and wall-clock time that a worker claims for each job.
const CLAIMED: Duration = Duration::from_millis(1);

/// A registered worker.
pub struct Worker {
    bus: NatsBus,
    fleet: FleetName,
    id: WorkerId,
    commands: Subscription,
    /// The encoded result of every candidate.
    result: Bytes,
}

impl Worker {
    /// Registers a worker of this kind.
    pub async fn register(bus: NatsBus, kind: WorkerKind, slots: u32, result: Bytes) -> Self {
        let (fleet, id) = (FleetName::default(), WorkerId::new(kind, bus.user()));
        let commands = bus.subscribe(&subjects::worker_commands(&fleet, &id)).await.expect("a subscription");
        let worker = Self { bus, fleet, id, commands, result };
        let hello = WorkerHello { slots, host: id.to_string(), ..fixtures::hello() };
        let requests = subjects::worker_requests(&worker.fleet, &id);
        let hello = wire::encode(&FromWorker::Hello(Box::new(hello)));
        let answer = worker.bus.request(&requests, hello, ProtocolTimeouts::default().ack).await;
        let answer = wire::decode(&answer.expect("the coordinator answers")).expect("an answer to the registration");
        assert!(matches!(answer, WorkerReply::Welcome { .. }), "{answer:?}");
        worker
    }

    /// Answers commands, and sends heartbeats, for as long as it is polled.
    pub async fn run(mut self) {
        let mut heartbeat = tokio::time::interval(ProtocolTimeouts::default().heartbeat);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = heartbeat.tick() => self.beat().await,
                command = self.commands.next() => self.obey(command.expect("the bus is there")).await,
            }
        }
    }

    /// Sends a heartbeat; whether it is answered does not matter.
    async fn beat(&mut self) {
        let heartbeat = Heartbeat::default();
        let requests = subjects::worker_requests(&self.fleet, &self.id);
        let message = wire::encode(&FromWorker::Heartbeat(heartbeat));
        let sent = self.bus.send_request(&requests, message, ProtocolTimeouts::default().ack).await;
        drop(sent.expect("the bus is there"));
    }

    async fn obey(&mut self, command: Message) {
        let reply = match wire::decode(&command.payload).expect("a command") {
            ToWorker::Dispatch(dispatch) => DispatchReply::Done(Box::new(self.report(&dispatch))),
            ToWorker::Acknowledge { .. } => return,
            // Every job has ended when it is answered.
            ToWorker::Recall { .. } | ToWorker::Cancel { .. } => DispatchReply::Taken,
        };
        let to = command.reply.expect("the command wants an answer");
        self.bus.publish(&to, wire::encode(&reply)).await.expect("the bus is there");
    }

    fn report(&self, dispatch: &Dispatch) -> JobReport {
        let Dispatch { token, job, attempt, spec, .. } = dispatch;
        let (outcome, limits) = match spec {
            JobSpec::Prepare(prepare) => {
                let artifact = ArtifactInfo { bytes: 1 << 20, digest: ArtifactDigest([1; 32]) };
                (JobOutcome::Prepare(PrepareOutcome::Prepared(artifact)), prepare.limits())
            }
            JobSpec::Execute(execute) => {
                let result = BlobRef::Inline(self.result.clone());
                (JobOutcome::Execute(ExecuteOutcome::Valid(result)), execute.limits())
            }
        };
        let usage = JobUsage { cpu: CLAIMED, wall: CLAIMED, max_rss_kib: 1024, ..limits };
        JobReport { token: *token, job: *job, attempt: *attempt, outcome, usage }
    }
}
