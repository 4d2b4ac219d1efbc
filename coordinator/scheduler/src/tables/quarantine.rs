//! Validations that were running when workers were lost: after losses on a few machines they are answered, not tried on
//! another worker.

use crate::{
    keys::{AttemptKey, AttemptSite, EndedAttempt, HostKey, Origin},
    time::Timestamp,
};
use lru::LruCache;
use pvf_proto::{identity::WorkerId, ids::ValidationKey};
use smallvec::SmallVec;
use std::{num::NonZeroUsize, sync::Arc, time::Duration};

/// Validations that are remembered; the one whose last loss is the longest ago goes first.
const CAPACITY: NonZeroUsize = NonZeroUsize::new(4096).unwrap();
/// How long losses are remembered after the last one.
const MEMORY: Duration = Duration::from_secs(3600);
/// Machines that are remembered of one validation: the most that `max_deaths` may be.
const MAX_HOSTS: usize = 100;

/// The losses of one validation.
#[derive(Debug)]
struct Losses {
    /// Machines on which a worker was lost while it ran it, each once: one broken machine says nothing about a
    /// validation.
    hosts: SmallVec<[Arc<Origin>; 2]>,
    last: Timestamp,
}

/// Losses of workers, by the validation that they ran.
#[derive(Debug)]
pub(crate) struct Quarantine {
    by_validation: LruCache<ValidationKey, Losses>,
    /// The attempts that were lost last: a report of one of them, however late, shows that it has not killed its
    /// worker.
    by_attempt: LruCache<(AttemptKey, WorkerId), (ValidationKey, HostKey)>,
}

impl Default for Quarantine {
    fn default() -> Self {
        Self { by_validation: LruCache::new(CAPACITY), by_attempt: LruCache::new(CAPACITY) }
    }
}

impl Quarantine {
    /// A worker was lost while it ran this validation.
    pub(crate) fn note_death(&mut self, identity: ValidationKey, lost: &EndedAttempt, now: Timestamp) {
        let AttemptSite { worker, origin } = &lost.site;
        self.by_attempt.put((lost.at, *worker), (identity, origin.host));
        let losses = self.by_validation.get_or_insert_mut(identity, || Losses { hosts: SmallVec::new(), last: now });
        if now.since(losses.last) > MEMORY {
            losses.hosts.clear();
        }
        losses.last = now;
        if losses.hosts.len() < MAX_HOSTS && losses.hosts.iter().all(|other| other.host != origin.host) {
            losses.hosts.push(origin.clone());
        }
    }

    /// This validation ended by itself: the losses had another cause.
    pub(crate) fn clear(&mut self, identity: &ValidationKey) {
        if !self.by_validation.is_empty() {
            self.by_validation.pop(identity);
        }
    }

    /// A worker that was lost reports what it ran: it was not killed. If the run ended by itself, no loss counts any
    /// more.
    pub(crate) fn note_report(&mut self, at: AttemptKey, worker: WorkerId, ended_by_itself: bool) {
        let Some((identity, host)) = self.by_attempt.pop(&(at, worker)) else { return };
        if ended_by_itself {
            self.clear(&identity);
        } else if let Some(losses) = self.by_validation.peek_mut(&identity) {
            losses.hosts.retain(|other| other.host != host);
        }
    }

    /// The machines on which this validation lost workers, if it has lost as many as it may.
    pub(crate) fn holds(&self, identity: &ValidationKey, max_deaths: u32, now: Timestamp) -> Option<Vec<String>> {
        let Losses { hosts, last } = self.by_validation.peek(identity)?;
        let full = hosts.len() as u64 >= u64::from(max_deaths) && now.since(*last) <= MEMORY;
        full.then(|| hosts.iter().map(|host| host.host_name.to_string()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pvf_proto::identity::{UserName, WorkerKind};
    use pvf_proto::ids::{EngineId, JobId};

    /// An attempt that is lost with a worker of machine `n`.
    fn lost(n: u64) -> EndedAttempt {
        let site = AttemptSite {
            worker: WorkerId { kind: WorkerKind::Execute, user: UserName::default(), session: uuid::Uuid::nil() },
            origin: Arc::new(Origin {
                host: HostKey(n),
                host_name: format!("host{n}").into(),
                engine: EngineId::parse("e").unwrap(),
                version: "t".into(),
                host_functions: "f".into(),
            }),
        };
        EndedAttempt { at: AttemptKey { job: JobId(n), attempt: 1 }, site }
    }

    #[test]
    fn holds_after_deaths_on_as_many_machines_and_for_an_hour() {
        let mut quarantine = Quarantine::default();
        let (bad, other) = (ValidationKey([1; 32]), ValidationKey([2; 32]));
        let at = |s| Timestamp::at(Duration::from_secs(s));
        for n in 0..3 {
            assert_eq!(quarantine.holds(&bad, 3, at(n)), None);
            quarantine.note_death(bad, &lost(n), at(n));
            quarantine.note_death(bad, &lost(n), at(n));
        }
        let hosts: Vec<_> = (0..3).map(|n| lost(n).site.origin.host_name.to_string()).collect();
        assert_eq!((quarantine.holds(&bad, 3, at(3)), quarantine.holds(&other, 3, at(3))), (Some(hosts), None));
        assert_eq!(quarantine.holds(&bad, 3, at(3 + 3600)), None, "old losses do not count");
        quarantine.clear(&bad);
        assert_eq!(quarantine.holds(&bad, 3, at(3)), None);
        for n in 0..10_000_u32 {
            let mut key = [9; 32];
            key[..4].copy_from_slice(&n.to_le_bytes());
            quarantine.note_death(ValidationKey(key), &lost(n.into()), at(4));
        }
        assert_eq!([quarantine.by_validation.len(), quarantine.by_attempt.len()], [CAPACITY.get(); 2]);
    }

    #[test]
    fn a_report_takes_a_loss_back_once_and_a_verdict_takes_all() {
        let mut quarantine = Quarantine::default();
        let (key, now) = (ValidationKey([1; 32]), Timestamp::default());
        let deaths = |quarantine: &Quarantine| quarantine.holds(&key, 1, now).map_or(0, |hosts| hosts.len());
        (0..3).for_each(|n| quarantine.note_death(key, &lost(n), now));
        let report = |quarantine: &mut Quarantine, n, ended| {
            quarantine.note_report(lost(n).at, lost(n).site.worker, ended);
        };
        quarantine.note_report(
            lost(0).at,
            WorkerId { kind: WorkerKind::Execute, user: UserName::default(), session: uuid::Uuid::max() },
            true,
        );
        report(&mut quarantine, 7, true);
        assert_eq!(deaths(&quarantine), 3, "of another worker, of another job");
        report(&mut quarantine, 0, false);
        assert_eq!(deaths(&quarantine), 2);
        report(&mut quarantine, 0, true);
        assert_eq!(deaths(&quarantine), 2, "repeated");
        report(&mut quarantine, 1, true);
        assert_eq!(deaths(&quarantine), 0);
    }
}
