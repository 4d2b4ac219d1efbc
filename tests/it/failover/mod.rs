//! Several coordinators of one fleet: one is active, and another one takes over whatever becomes of it. A witness sees
//! every message on the bus, in the order in which the server takes them. After the first message of a term there are
//! of an earlier one only those that were on their way when it ended (a busy machine, a process that is stopped between
//! its last look at the lease and the write): never one about a request that came later, and no announcement.

mod adoption;
mod single;
mod takeover;

use crate::attacks::raw::Raw;
use pvf_shared::{
    ids::{FencingToken, FleetName, Term},
    job::JobSpec,
    subjects,
    wire::{self, FromClient, ToClient, ToWorker, WorkerKind},
};
use pvf_testkit::until;
use pvf_tests::{
    fleet::{Fleet, FleetConfig},
    processes::Process,
};
use std::collections::{BTreeMap, BTreeSet};

/// A fleet with a witness of its bus.
struct Watched {
    fleet: Fleet,
    witness: Raw,
    /// The highest term that was seen.
    term: Option<Term>,
    /// Messages of an earlier term after the first one of a later term: their subjects.
    late: Vec<String>,
    /// Requests, with the token of the term in which each was submitted first.
    submitted: BTreeMap<String, FencingToken>,
    /// Verdicts by their request: the names of the different ones, and how often one was sent.
    verdicts: BTreeMap<String, (BTreeSet<String>, usize)>,
    /// Tokens that were announced.
    announced: BTreeSet<u64>,
    /// Attempts that were dispatched, each once: kind, job and number.
    dispatched: BTreeSet<(WorkerKind, u64, u32)>,
}

impl Watched {
    /// A fleet whose coordinator has the lease, with these settings.
    async fn start(settings: &str, execute: usize) -> Self {
        let config = FleetConfig { execute, settings: settings.into(), ..FleetConfig::default() };
        let fleet = Fleet::with(config).await;
        Self::watch(fleet)
    }

    /// Watches a fleet from now on.
    fn watch(fleet: Fleet) -> Self {
        let mut witness = Raw::connect(&fleet.nats.url, "witness", "").unwrap();
        assert_eq!(witness.subscribe(">"), [""; 0]);
        Self {
            fleet,
            witness,
            term: None,
            late: Vec::new(),
            submitted: BTreeMap::new(),
            verdicts: BTreeMap::new(),
            announced: BTreeSet::new(),
            dispatched: BTreeSet::new(),
        }
    }

    /// Starts one more coordinator, a standby.
    fn standby(&self) -> Process {
        Process::start(&mut self.fleet.coordinator_command())
    }

    /// Looks at everything that was said.
    fn look(&mut self) {
        for message in self.witness.received() {
            let latest = self.term.map_or(FencingToken(0), |term| term.token);
            if let Ok(FromClient::Submit(submission)) = wire::decode(&message.payload) {
                self.submitted.entry(submission.id.to_string()).or_insert(latest);
            }
            let term = wire::term_of(&message.payload);
            let is_announcement = message.subject == subjects::announcements(&FleetName::default()).as_str();
            if let Some(term) = term {
                let is_late = term.token < latest;
                assert!(!is_late || !is_announcement, "{term} is announced after {latest:?}");
                if let Some(before) = self.term.filter(|before| before.token == term.token) {
                    assert_eq!(before.id, term.id, "one token, two ids");
                }
                if is_announcement {
                    self.announced.insert(term.token.0);
                }
                match is_late {
                    true => self.late.push(message.subject.clone()),
                    false => self.term = Some(term),
                }
            }
            if let Ok(ToWorker::Dispatch(dispatch)) = wire::decode(&message.payload) {
                let kind = match dispatch.spec {
                    JobSpec::Prepare(_) => WorkerKind::Prepare,
                    JobSpec::Execute(_) => WorkerKind::Execute,
                };
                self.dispatched.insert((kind, dispatch.job.0, dispatch.attempt));
            }
            if let Ok(ToClient::Verdict(verdict)) = wire::decode(&message.payload) {
                let request = verdict.request.to_string();
                let (submitted, by) = (self.submitted.get(&request), term.expect("a verdict says its term").token);
                assert!(submitted.is_some_and(|since| *since <= by), "{request}: of {submitted:?}, answered by {by:?}");
                let (different, times) = self.verdicts.entry(request).or_default();
                different.insert(format!("{:?}", verdict.outcome));
                *times += 1;
            }
        }
    }

    /// Waits until a coordinator with a higher token than this one answers.
    async fn successor(&self, of: FencingToken) -> FencingToken {
        until("another coordinator is active", async || {
            self.fleet.host.status().await.ok().map(|status| status.token).filter(|token| *token > of)
        })
        .await
    }

    /// No request had two different verdicts.
    fn assert_not_contradicted(&self) {
        let contradicted: Vec<_> = self.verdicts.iter().filter(|(_, (different, _))| different.len() > 1).collect();
        assert!(contradicted.is_empty(), "{contradicted:?}");
    }
}
