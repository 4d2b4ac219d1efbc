//! Several coordinators of one fleet: one is active, and another one takes over whatever becomes of it. A witness sees
//! every message on the bus, in the order in which the server takes them: after the first message of a term there is none
//! of an earlier one.

mod adoption;
mod single;
mod takeover;

use crate::attacks::raw::Raw;
use pvf_shared::{
    ids::{FencingToken, FleetName, Term},
    job::JobSpec,
    subjects,
    wire::{self, ToClient, ToWorker, WorkerKind},
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
            verdicts: BTreeMap::new(),
            announced: BTreeSet::new(),
            dispatched: BTreeSet::new(),
        }
    }

    /// Starts one more coordinator, a standby.
    fn standby(&self) -> Process {
        Process::start(&mut self.fleet.coordinator_command())
    }

    /// Looks at everything that was said: terms only grow.
    fn look(&mut self) {
        for message in self.witness.received() {
            if let Some(term) = wire::term_of(&message.payload) {
                if let Some(before) = self.term {
                    assert!(before.token <= term.token, "{} of {term} after {before}", message.subject);
                    assert!(
                        before.token < term.token || before.id == term.id,
                        "{term} and {before}: one token, two ids"
                    );
                }
                self.term = Some(term);
                if message.subject == subjects::announcements(&FleetName::default()).as_str() {
                    self.announced.insert(term.token.0);
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
                let (different, times) = self.verdicts.entry(verdict.request.to_string()).or_default();
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
