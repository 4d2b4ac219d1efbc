//! Attacks of clients on each other, and of observers.

use super::*;
use pvf_guests::adder::{ADDER, Block, Head};
use pvf_shared::{
    Bytes,
    blob::BlobRef,
    content::Content,
    ids::{CodeHash, RelayHash, RequestId},
    priority::ExecuteKind,
    subjects,
    verdict::{Outcome, WireOutcome},
    wire::{
        ActiveLeaf, ActiveLeavesUpdate, AskReply, FromClient, FromOperator, FromWorker, Pull, StatusQuestion,
        SubmitReply, ToClient, Work,
    },
};
use pvf_testkit::fixtures;
use pvf_tests::requests::{adder, good_block};

/// The submission of a block of the adder.
fn submission(id: RequestId, block: &Block) -> Bytes {
    let mut execution = fixtures::execution(ExecuteKind::Backing, BlobRef::Inline(block.encode().into()));
    execution.context = fixtures::context(Head::genesis().encode());
    let work = Work::Execute(Box::new(execution));
    let submission = fixtures::submission(id, CodeHash::of(ADDER), work);
    wire::encode(&FromClient::Submit(Box::new(submission)))
}

const GOOD: Block = Block { state: 0, increment: 5 };
const BAD: Block = Block { state: 1, increment: 5 };

/// A client that speaks for itself, without the library.
struct RawClient {
    raw: Raw,
    id: ClientId,
}

impl RawClient {
    fn connect(server: &Server, name: &str) -> Self {
        let (mut raw, id) = (server.raw(name), session(name));
        assert_eq!(raw.subscribe(subjects::client_verdicts(&fleet(), &id).as_str()), [""; 0]);
        Self { raw, id }
    }

    fn ask(&mut self, message: &FromClient) -> Bytes {
        self.raw.ask(subjects::client_requests(&fleet(), &self.id).as_str(), &wire::encode(message))
    }

    /// Submits without waiting for the acceptance, which the verdict may replace.
    fn submit(&mut self, id: RequestId, block: &Block) {
        let to = subjects::client_requests(&fleet(), &self.id);
        assert_eq!(self.raw.publish(to.as_str(), None, &submission(id, block)), [""; 0]);
    }

    fn verdict(&mut self, id: RequestId) -> WireOutcome {
        self.raw.wait_for("verdict", |message| match wire::decode(&message.payload) {
            Ok(ToClient::Verdict(verdict)) if verdict.request == id => Some(verdict.outcome),
            _ => None,
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_speaks_in_a_clients_name() {
    let fleet_of_roles = SecuredFleet::start().await;
    let server = &fleet_of_roles.server;
    let mut witness = server.witness();
    let (victim, request) = (session("client"), RequestId::new());
    let to = subjects::client_requests(&fleet(), &victim);
    let leaf = ActiveLeaf { hash: RelayHash([9; 32]), ancestors: vec![] };
    let messages = [
        wire::encode(&FromClient::Cancel { request }),
        wire::encode(&FromClient::Ask { requests: vec![request], heard: vec![] }),
        wire::encode(&FromClient::Leaves {
            update: ActiveLeavesUpdate { activated: Some(leaf), deactivated: vec![RelayHash([8; 32])] },
        }),
        submission(request, &GOOD),
    ];
    for (_, mut other_user) in server.other_users() {
        for message in &messages {
            assert_refused(&mut other_user, &mut witness, &to, message);
        }
    }
    for name in ["prepare-worker", "execute-worker", "observer", "operator", "coordinator"] {
        assert_refused(&mut server.raw(name), &mut witness, &to, &messages[0]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_who_may_not_submit_cannot() {
    let fleet_of_roles = SecuredFleet::start().await;
    let server = &fleet_of_roles.server;
    let mut witness = server.witness();
    for (role, mut other_user) in server.other_users() {
        if role != Role::Client {
            let own = subjects::client_requests(&fleet(), &session(&other_user.user));
            assert_refused(&mut other_user, &mut witness, &own, &submission(RequestId::new(), &GOOD));
        }
    }
    let output = server.pvf("observer", &["--wait", "3s", "execute", "code.wasm", "--params", "good"]);
    assert!(output.status.code() != Some(0), "{output:?}");
    let text = String::from_utf8_lossy(&output.stderr).to_lowercase();
    assert!(text.contains("permissions violation"), "the reason is shown: {text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_id_of_anothers_request_is_worth_nothing() {
    let fleet_of_roles = SecuredFleet::start().await;
    // So that nobody needs the code of those who speak without the library.
    fleet_of_roles.host.precheck_pvf(adder()).await.unwrap();
    let server = &fleet_of_roles.server;
    let mut victim = RawClient::connect(server, "client");
    let mut mallory = RawClient::connect(server, "mallory");
    let request = RequestId::new();
    // A cancellation before the submission.
    let cancelled = mallory.ask(&FromClient::Cancel { request });
    assert_eq!(wire::decode(&cancelled), Ok(SubmitReply::Accepted));
    victim.submit(request, &GOOD);
    assert!(matches!(victim.verdict(request), Outcome::Valid(_)));
    // A question for it, and a cancellation after the verdict.
    let answer =
        wire::decode::<AskReply>(&mallory.ask(&FromClient::Ask { requests: vec![request], heard: vec![] })).unwrap();
    assert_eq!(answer.unknown, [request]);
    mallory.ask(&FromClient::Cancel { request });
    assert_eq!(mallory.raw.received(), []);
    // The same id again is a request of its own. (In another session: it was cancelled in this one.)
    let mut mallory = RawClient::connect(server, "mallory");
    mallory.submit(request, &BAD);
    assert!(matches!(mallory.verdict(request), Outcome::Invalid(_)));
    assert_eq!(victim.raw.received(), [], "the victim gets nothing of it");
}

/// A client that has learnt the id of a request before its submission arrives, or after that, uses it itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_cannot_be_used_up() {
    let fleet_of_roles = SecuredFleet::start().await;
    fleet_of_roles.host.precheck_pvf(adder()).await.unwrap();
    let server = &fleet_of_roles.server;
    let mut victim = RawClient::connect(server, "client");
    let mut mallory = RawClient::connect(server, "mallory");
    let request = RequestId::new();
    // Nobody holds the code, so the request is there for as long as it may be.
    let heads_up = Work::HeadsUp { wait_prepared: true };
    let endless = fixtures::submission(request, CodeHash::of(b"held by nobody"), heads_up);
    let accepted = mallory.ask(&FromClient::Submit(Box::new(endless)));
    assert_eq!(wire::decode(&accepted), Ok(SubmitReply::Accepted));
    victim.submit(request, &GOOD);
    assert!(matches!(victim.verdict(request), Outcome::Valid(_)));
    let cancelled = mallory.ask(&FromClient::Cancel { request });
    assert_eq!(wire::decode(&cancelled), Ok(SubmitReply::Accepted));
    // The victim's verdict is kept for the victim.
    let heard = FromClient::Ask { requests: vec![request], heard: vec![request] };
    let answer = wire::decode::<AskReply>(&mallory.ask(&heard)).unwrap();
    assert_eq!(answer.unknown, [request]);
    let ask = FromClient::Ask { requests: vec![request], heard: vec![] };
    let to = subjects::client_requests(&fleet(), &victim.id);
    assert_eq!(victim.raw.publish(to.as_str(), None, &wire::encode(&ask)), [""; 0]);
    assert!(matches!(victim.verdict(request), Outcome::Valid(_)));
    assert_eq!(mallory.raw.received(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_go_to_nobody_else() {
    let fleet_of_roles = SecuredFleet::start().await;
    let server = &fleet_of_roles.server;
    let mut witness = server.witness();
    let worker = fleet_of_roles.worker(WorkerKind::Execute).await;
    let ask = wire::encode(&FromClient::Ask { requests: vec![], heard: vec![] });
    for (role, mut other_user) in server.other_users() {
        let (to, message) = match role {
            Role::Client => (subjects::client_requests(&fleet(), &session(&other_user.user)), ask.clone()),
            Role::Worker(kind) => {
                let own = run(kind, &other_user.user);
                (subjects::worker_requests(&fleet(), &own), wire::encode(&FromWorker::Goodbye))
            }
            Role::Operator => {
                let own = UserName::parse(&other_user.user).unwrap();
                let nothing = FromOperator::Drain { workers: vec![] };
                (subjects::operator_requests(&fleet(), &own), wire::encode(&nothing))
            }
            _ => (subjects::status(&fleet()), wire::encode(&StatusQuestion::default())),
        };
        // The server lets a sender name any reply subject. The coordinator does not answer these.
        let of_client = String::from("_INBOX.client.@coordinator.x.0");
        let of_fleet = [
            subjects::worker_commands(&fleet(), &worker).to_string(),
            subjects::client_verdicts(&fleet(), &session("client")).to_string(),
            "pvf.v4.coordinator.x".into(),
        ];
        // Whoever may ask for the status may be answered in any inbox. The owner waits for no such answer.
        let inboxes = (to != subjects::status(&fleet())).then_some(of_client);
        for reply in inboxes.into_iter().chain(of_fleet) {
            assert_eq!(other_user.publish(to.as_str(), Some(&reply), &message), [""; 0]);
            // The coordinator reads the messages on one subject in their order, so it has read that one before this.
            other_user.ask(to.as_str(), &message);
            let seen = witness.received();
            assert!(seen.iter().any(|message| message.reply.as_deref() == Some(&reply)), "{reply}: {seen:?}");
            assert!(!seen.iter().any(|message| message.subject == reply), "{reply}: {seen:?}");
        }
    }
    let answer = fleet_of_roles.host.execute_pvf(adder(), good_block()).await.unwrap();
    assert!(matches!(answer.outcome, Outcome::Valid(_)), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_and_observers_pull_nothing_from_clients() {
    let server = Server::start().await;
    let mut witness = server.witness();
    let content = Content::of_blob(b"a PoV");
    let pull = wire::encode(&Pull { content, offset: 0, len: 1000 });
    let to = subjects::client_pulls(&fleet(), &session("client"));
    for name in ["mallory", "client", "observer", "mallory-observes", "operator", "coordinator"] {
        assert_refused(&mut server.raw(name), &mut witness, &to, &pull);
    }
}
