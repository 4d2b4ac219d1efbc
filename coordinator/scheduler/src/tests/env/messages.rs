//! Messages to the scheduler, as clients, workers and the bus send them.

use super::*;
use pvf_proto::{
    identity::{ClientId, UserName},
    ids::RequestId,
    job::{ExecuteOutcome, JobOutcome, JobUsage, PrepareOutcome},
    wire::{
        ActiveLeavesUpdate, AskReply, CompilingRequest, DrainState, FleetStatus, FromClient, FromOperator, FromWorker,
        Heartbeat, JobReport, OperatorReply, Submission, SubmitReply, Work, WorkerHello, WorkerKind, WorkerReply,
        WorkerStatus,
    },
};

fn decoded_from_worker(message: FromWorker) -> FromWorker {
    decode(&encode(&message)).unwrap()
}

fn decoded_from_client(message: FromClient) -> FromClient {
    decode(&encode(&message)).unwrap()
}

/// A message of the operator `ops`.
fn operator_asks(message: &FromOperator, reply: Option<Subject>) -> Event {
    let operator = UserName::parse("ops").unwrap();
    Event::Operator { operator, message: decode(&encode(message)).unwrap(), reply }
}

impl Env {
    /// The answer to a bus request.
    fn answer_to(&mut self, event: impl FnOnce(Option<Subject>) -> Event) -> Answer {
        let before = self.effects.len();
        self.event(event(Some(reply_subject())));
        let at = self.effects.iter().skip(before).position(|effect| matches!(effect, Effect::Reply { .. }));
        let at = before + at.expect("an answer was expected");
        let Some(Effect::Reply { to, answer }) = self.effects.remove(at) else { unreachable!() };
        assert_eq!(to, reply_subject());
        answer
    }

    fn worker_reply_to(&mut self, event: impl FnOnce(Option<Subject>) -> Event) -> WorkerReply {
        match self.answer_to(event) {
            Answer::Worker(reply) => reply,
            other => panic!("an answer to a worker was expected, not {other:?}"),
        }
    }

    /// A worker registers.
    pub(crate) fn worker(&mut self, n: u64, kind: WorkerKind, slots: u32) {
        self.register(n, WorkerHello { slots, ..hello(n, kind) });
    }

    pub(crate) fn worker_of_engine(&mut self, n: u64, kind: WorkerKind, name: &str) {
        self.register(n, WorkerHello { engine: engine(name), ..hello(n, kind) });
    }

    pub(crate) fn register(&mut self, n: u64, hello: WorkerHello) {
        let token = self.token;
        assert_eq!(self.say_hello(n, hello), WorkerReply::Welcome { token });
    }

    pub(crate) fn say_hello(&mut self, n: u64, hello: WorkerHello) -> WorkerReply {
        let FromWorker::Hello(hello) = decoded_from_worker(FromWorker::Hello(Box::new(hello))) else { unreachable!() };
        let listed = self.attempts.entry(worker(n)).or_default();
        listed.extend(hello.running.iter().filter(|attempt| attempt.token != self.token));
        listed.sort_by_key(|attempt| (attempt.token, attempt.job, attempt.attempt));
        listed.dedup();
        self.worker_reply_to(|reply| Event::Hello { worker: worker(n), hello, reply })
    }

    pub(crate) fn goodbye(&mut self, n: u64) {
        let reply = self.worker_reply_to(|reply| Event::Goodbye { worker: worker(n), reply });
        assert_eq!(reply, WorkerReply::Ack);
    }

    /// A worker's heartbeat, with the jobs that it has.
    pub(crate) fn heartbeat(&mut self, n: u64) {
        let running = self.attempts_at(n);
        self.heartbeat_of(n, running, vec![]);
    }

    /// The same of a worker at which these jobs are only being fetched.
    pub(crate) fn heartbeat_fetching(&mut self, n: u64, jobs: &[&Job]) {
        let running = self.attempts_at(n);
        self.heartbeat_of(n, running, jobs.iter().map(|job| job.listed()).collect());
    }

    fn heartbeat_of(&mut self, n: u64, running: Vec<RunningJob>, fetching: Vec<RunningJob>) {
        self.heartbeat_with(n, Heartbeat { running, fetching, ..Heartbeat::default() });
    }

    /// The same of a worker that takes nothing new.
    pub(crate) fn heartbeat_draining(&mut self, n: u64) {
        let running = self.attempts_at(n);
        let (holdings, fetching) = (vec![], vec![]);
        self.heartbeat_with(n, Heartbeat { running, draining: true, holdings, fetching, ..Heartbeat::default() });
    }

    /// The same of a worker that has lost its jobs.
    pub(crate) fn heartbeat_without_jobs(&mut self, n: u64) {
        self.attempts.remove(&worker(n));
        self.heartbeat(n);
    }

    pub(crate) fn heartbeat_with(&mut self, n: u64, heartbeat: Heartbeat) -> WorkerReply {
        let FromWorker::Heartbeat(heartbeat) = decoded_from_worker(FromWorker::Heartbeat(heartbeat)) else {
            unreachable!()
        };
        self.worker_reply_to(|reply| Event::Heartbeat { worker: worker(n), heartbeat, reply })
    }

    /// What became of a command to a worker.
    pub(crate) fn delivered(&mut self, job: &Job, command: Command, delivery: Delivery) {
        let still_there = match command {
            Command::Dispatch => matches!(delivery, Delivery::Taken | Delivery::Unknown(_)),
            Command::Recall => !matches!(delivery, Delivery::Taken),
            Command::Cancel => false,
        };
        if !still_there {
            self.attempt_is_over(job);
        }
        let (worker, attempt, job) = (job.worker, job.attempt, job.job);
        self.event(Event::Delivered { worker, job, attempt, command, delivery });
    }

    /// A job's report, which is answered.
    pub(crate) fn report(&mut self, job: &Job, outcome: JobOutcome) {
        let report = self.report_of(job, outcome, JobUsage::default());
        let reply = self.worker_reply_to(|reply| Event::Report { worker: job.worker, report, reply });
        assert_eq!(reply, WorkerReply::Ack);
    }

    /// A job's report, which gets no answer: its worker repeats it.
    pub(crate) fn report_unanswered(&mut self, job: &Job, outcome: JobOutcome) {
        let listed = self.attempts.clone();
        let report = self.report_of(job, outcome, JobUsage::default());
        self.attempts = listed;
        self.event(Event::Report { worker: job.worker, report, reply: Some(reply_subject()) });
        let answered = self.effects.iter().any(|effect| matches!(effect, Effect::Reply { .. }));
        assert!(!answered, "the report is acknowledged: {:?}", self.effects);
    }

    /// A job's report that is the answer to its dispatch.
    pub(crate) fn report_as_answer(&mut self, job: &Job, outcome: JobOutcome) {
        let report = self.report_of(job, outcome, JobUsage::default());
        self.event(Event::Report { worker: job.worker, report, reply: None });
    }

    /// The same, and nothing of what is to be done after it. Returns whether something is.
    pub(crate) fn report_alone(&mut self, job: &Job, outcome: JobOutcome) -> bool {
        let report = self.report_of(job, outcome, JobUsage::default());
        let more = self.event_alone(Event::Report { worker: job.worker, report, reply: None });
        let Some(acknowledgement) = self.effects.pop_back() else { panic!("an acknowledgement was expected") };
        let message = ToWorker::Acknowledge { reports: vec![job.listed()] };
        assert_eq!(acknowledgement, Effect::ToWorker { worker: job.worker, message });
        more
    }

    pub(crate) fn report_with_usage(&mut self, job: &Job, outcome: JobOutcome, usage: JobUsage) {
        let report = self.report_of(job, outcome, usage);
        let reply = self.worker_reply_to(|reply| Event::Report { worker: job.worker, report, reply });
        assert_eq!(reply, WorkerReply::Ack);
    }

    fn report_of(&mut self, job: &Job, outcome: JobOutcome, usage: JobUsage) -> Box<JobReport> {
        self.attempt_is_over(job);
        let report = JobReport { token: job.token, job: job.job, attempt: job.attempt, outcome, usage };
        let FromWorker::Report(report) = decoded_from_worker(FromWorker::Report(Box::new(report))) else {
            unreachable!()
        };
        report
    }

    /// A report of a preparation that succeeded; see [`info`] for `n`.
    pub(crate) fn prepared(&mut self, job: &Job, n: u8) {
        self.report(job, JobOutcome::Prepare(PrepareOutcome::Prepared(info(n))));
    }

    pub(crate) fn preparation_ended(&mut self, job: &Job, outcome: PrepareOutcome) {
        self.report(job, JobOutcome::Prepare(outcome));
    }

    pub(crate) fn executed(&mut self, job: &Job, outcome: ExecuteOutcome) {
        self.report(job, JobOutcome::Execute(outcome));
    }

    /// Client 1 submits a request, and is told that it is accepted.
    pub(crate) fn submit(&mut self, n: u64, code: u8, work: Work) {
        assert_eq!(self.send(submission(n, code, work)), SubmitReply::Accepted);
    }

    /// A client submits a request about code 1.
    pub(crate) fn submit_as(&mut self, client: u64, n: u64, work: Work) -> SubmitReply {
        self.send_as(client, submission(n, 1, work))
    }

    /// Client 1 submits a request.
    pub(crate) fn send(&mut self, submission: Submission) -> SubmitReply {
        self.send_as(1, submission)
    }

    pub(crate) fn send_as(&mut self, from: u64, submission: Submission) -> SubmitReply {
        self.send_from(client(from), submission)
    }

    pub(crate) fn send_from(&mut self, from: ClientId, submission: Submission) -> SubmitReply {
        let id = submission.id;
        let message = decoded_from_client(FromClient::Submit(Box::new(submission)));
        let FromClient::Submit(submission) = message else { unreachable!() };
        let identity = submission.validation_key();
        match self.answer_to(|reply| Event::Submit { client: from, submission, identity, reply }) {
            Answer::Accepted { client, request } if (client, request) == (from, id) => SubmitReply::Accepted,
            Answer::Submit(reply) => reply,
            other => panic!("an answer to a submission was expected, not {other:?}"),
        }
    }

    /// A client cancels a request.
    pub(crate) fn cancel(&mut self, from: u64, n: u64) {
        let message = decoded_from_client(FromClient::Cancel { request: request(n) });
        let FromClient::Cancel { request } = message else { unreachable!() };
        let answer = self.answer_to(|reply| Event::Cancel { client: client(from), request, reply });
        assert_eq!(answer, Answer::Submit(SubmitReply::Accepted));
    }

    /// A client asks for verdicts that it misses. Returns the requests that are not known.
    pub(crate) fn ask(&mut self, from: u64, requests: &[u64]) -> Vec<RequestId> {
        self.question(from, requests, &[])
    }

    /// A client says that it has the verdicts of these requests.
    pub(crate) fn heard(&mut self, from: u64, requests: &[u64]) {
        assert_eq!(self.question(from, &[], requests), []);
    }

    /// What a client that asks for verdicts learns of its preparations.
    pub(crate) fn compiling(&mut self, from: u64, requests: &[u64]) -> Vec<CompilingRequest> {
        self.asked(from, requests, &[]).compiling
    }

    fn question(&mut self, from: u64, requests: &[u64], heard: &[u64]) -> Vec<RequestId> {
        self.asked(from, requests, heard).unknown
    }

    fn asked(&mut self, from: u64, requests: &[u64], heard: &[u64]) -> AskReply {
        let ids = |of: &[u64]| of.iter().map(|n| request(*n)).collect();
        let message = decoded_from_client(FromClient::Ask { requests: ids(requests), heard: ids(heard) });
        let FromClient::Ask { requests, heard } = message else { unreachable!() };
        match self.answer_to(|reply| Event::Ask { client: client(from), requests, heard, reply }) {
            Answer::Ask(reply) => reply,
            other => panic!("an answer to a question was expected, not {other:?}"),
        }
    }

    /// A client's view of the relay chain changes.
    pub(crate) fn leaves(&mut self, from: u64, update: ActiveLeavesUpdate) {
        let message = decoded_from_client(FromClient::Leaves { update });
        let FromClient::Leaves { update } = message else { unreachable!() };
        let answer = self.answer_to(|reply| Event::Leaves { client: client(from), update, reply });
        assert_eq!(answer, Answer::Submit(SubmitReply::Accepted));
    }

    /// An operator asks a worker to drain, or what has become of it.
    pub(crate) fn drain(&mut self, n: u64) -> DrainState {
        match self.operator(FromOperator::Drain { workers: vec![worker(n)] }) {
            OperatorReply::Drains(drains) => {
                let [drain] = drains[..] else { panic!("one worker was asked for: {drains:?}") };
                assert_eq!(drain.worker, worker(n));
                drain.state
            }
            other => panic!("what has become of a worker was expected, not {other:?}"),
        }
    }

    /// An operator asks for something, and is answered at once.
    pub(crate) fn operator(&mut self, message: FromOperator) -> OperatorReply {
        match self.answer_to(|reply| operator_asks(&message, reply)) {
            Answer::Operator(answer) => answer,
            other => panic!("an answer to an operator was expected, not {other:?}"),
        }
    }

    /// An operator asks for something, and is answered later.
    pub(crate) fn operator_waits(&mut self, message: FromOperator) {
        self.event(operator_asks(&message, Some(reply_subject())));
        assert!(!self.effects.iter().any(|effect| matches!(effect, Effect::Reply { .. })), "{:?}", self.effects);
    }

    /// The answer to an operator, which is the next effect.
    pub(crate) fn operator_reply(&mut self) -> OperatorReply {
        match self.next() {
            Effect::Reply { answer: Answer::Operator(answer), .. } => answer,
            other => panic!("an answer to an operator was expected, not {other:?}"),
        }
    }

    pub(crate) fn status(&mut self) -> FleetStatus {
        self.status_of(None)
    }

    /// The status with the workers of one machine.
    pub(crate) fn status_of(&mut self, host: Option<&str>) -> FleetStatus {
        let host = host.map(str::to_owned);
        match self.answer_to(|reply| Event::Status { host, reply }) {
            Answer::Status(status) => *status,
            other => panic!("a status was expected, not {other:?}"),
        }
    }

    /// Slots of a worker that are taken.
    pub(crate) fn running_at(&mut self, n: u64) -> u32 {
        let status = self.status();
        let of = |status: &WorkerStatus| status.id == worker(n);
        status.workers.into_iter().find(of).expect("the worker is registered").running
    }
}
