//! Reading ahead. With a million requests whatever an event needs lies in memory and in no cache. Piece by piece the
//! processor would wait for each; asked for at the beginning, all in a row, they come at the same time. Nothing here
//! changes or decides anything.

use super::{
    Moment, Scheduler,
    artifacts::ArtifactKey,
    executions::{Execution, tag},
};
use pvf_shared::{
    ids::{JobId, ValidationKey},
    wire::{JobReport, Submission},
};
use std::hint::black_box;

impl Execution {
    /// Reads from all over it.
    fn fetch(&self) {
        let work = &self.work;
        black_box((self.errand.since, self.deadline, self.attempts, self.waiters.len()));
        black_box((self.identity.0[0], self.bytes, self.used.is_some(), self.avoid.len()));
        black_box((work.context.parent_head.len(), work.context.extension.is_some(), work.pov_bomb_limit));
        black_box((work.block_data.len(), work.relay_leaf.is_some(), work.context.relay_parent_storage_root.0[0]));
    }
}

impl Scheduler {
    fn fetch_execution(&self, job: &JobId) -> Option<&Execution> {
        let execution = self.executions.get(job)?;
        execution.fetch();
        Some(execution)
    }

    fn fetch_artifact(&self, key: Option<ArtifactKey>) {
        if let Some(artifact) = key.and_then(|key| self.artifacts.get(key)) {
            black_box((artifact.engine, artifact.users, artifact.last_needed, artifact.holders.len()));
            black_box((artifact.precheck, artifact.waiters.is_empty(), artifact.bytes, artifact.program.is_some()));
        }
    }

    /// What a submission is looked up in.
    pub(super) fn fetch_for_submission(&self, submission: &Submission, identity: Option<&ValidationKey>, now: Moment) {
        black_box(identity.is_some_and(|identity| self.identities.contains_key(&tag(identity))));
        black_box(self.requests.contains_key(&submission.id));
        if let Some(program) = self.programs.find(&submission.code.hash) {
            self.fetch_artifact(program.found_last());
            black_box((program.prep_hash.0[0], program.code.blob.len()));
        }
        black_box(self.deadlines.last_before(now.after(submission.answer_within), now));
        black_box(self.clients.find(&submission.node).is_some_and(|client| self.clients.is_gone(client)));
    }

    /// What a report is about, and what is dispatched next, most likely into the slot that becomes free.
    pub(super) fn fetch_for_report(&self, report: &JobReport) {
        let ended = self.fetch_execution(&report.job);
        let worker = self.fleet.workers.get(&report.worker);
        black_box(worker.is_some_and(|worker| worker.suspect || worker.jobs.is_empty()));
        for engine in self.fleet.engines() {
            let kind = self.execute_queue.order(engine).next();
            let next = kind.and_then(|kind| self.execute_queue.next(engine, kind));
            if let Some(next) = next.and_then(|job| self.fetch_execution(&job)) {
                black_box(next.errand.program.prep_hash.0[0]);
                self.fetch_artifact(next.errand.artifact);
            }
        }
        if let Some(ended) = ended {
            self.fetch_artifact(ended.errand.artifact);
            black_box(ended.errand.program.prep_hash.0[0]);
            black_box(self.identities.contains_key(&tag(&ended.identity)));
            let request = ended.waiters.first().and_then(|id| self.requests.get(id));
            black_box(request.is_some_and(|request| self.deadlines.is_known(request.entry)));
        }
    }
}
