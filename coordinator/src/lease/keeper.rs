//! The shell of the lease: carries out what [`core`](super::core) decides, and says whether this coordinator is active.
//!
//! A coordinator becomes active only after its token was found to be higher than every earlier one and was written to
//! the store.

use super::{
    bucket::{ANSWER_LIMIT, Beside, beside, open, token_of},
    core::{Action, Event, Lease, Loss, Operation, Outcome},
    settings::LeaseConfig,
    tenure::{Tenure, now},
};
use futures::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::BoxStream};
use pvf_shared::{
    Bytes,
    bus::nats::{LeaseBucket, LeaseError, LeaseSettings, NatsBus, Sighting},
    ids::{FleetName, Term},
    retry::{self, Retryable as _},
    store::BlobStore,
    subjects,
    time::Timestamp,
};
use std::{sync::Arc, time::Duration};
use tokio::sync::{oneshot, watch};
use uuid::Uuid;

/// How long a coordinator with the lease waits for the answer of one that does not know of leases.
const OTHERS_ANSWER: Duration = Duration::from_millis(100);

/// Whether this coordinator is active.
#[derive(Debug, Clone)]
pub(crate) enum Standing {
    /// It waits for the lease. `reachable`: it knows that it can get it.
    Standby { reachable: bool },
    /// It is active for as long as this holds.
    Active(Tenure),
}

/// The lease of one coordinator, kept by a task of its own.
pub(crate) struct Keeper {
    standing: watch::Receiver<Standing>,
    resign: Option<oneshot::Sender<()>>,
    task: tokio::task::JoinHandle<()>,
}

/// What the task works with.
struct Shell {
    bus: Arc<NatsBus>,
    store: BlobStore,
    fleet: FleetName,
    config: LeaseConfig,
    settings: LeaseSettings,
    core: Lease,
    bucket: Option<LeaseBucket>,
    /// Of this term, or the next one.
    id: Uuid,
    standing: watch::Sender<Standing>,
    /// Why the last operation failed; it is logged once.
    trouble: Option<String>,
}

/// The end of an operation, with the bucket if it was opened.
type Done = (Outcome, Option<LeaseBucket>, Option<String>);

/// Whether a token can be used.
enum Verified {
    Usable(Term),
    /// The store has one that is not lower.
    NotHigher,
    Unknown(String),
}

impl Keeper {
    /// Checks that there is JetStream, and begins to look for the lease.
    pub(crate) async fn start(
        bus: Arc<NatsBus>,
        store: BlobStore,
        fleet: FleetName,
        config: LeaseConfig,
    ) -> Result<Self, LeaseError> {
        let settings = LeaseSettings {
            bucket: subjects::lease_bucket(&fleet),
            key: subjects::LEASE_KEY.into(),
            max_age: config.duration,
            replicas: config.replicas,
            timeout: config.duration / 3,
        };
        let opening = || open(bus.clone(), store.clone(), fleet.clone(), settings.clone());
        // A cluster that has just been started has no JetStream for a while.
        let opened =
            opening.retry(retry::LEASE_OPENING).when(|error| matches!(error, LeaseError::Unavailable(_))).await?;
        drop(opened);
        let hints = bus.watch_lease(&settings).await?;
        let (standing, receiver) = watch::channel(Standing::Standby { reachable: true });
        let core = Lease::new(config.duration, now());
        let id = Uuid::now_v7();
        let (bucket, trouble) = (None, None);
        let shell = Shell { bus, store, fleet, config, settings, core, bucket, id, standing, trouble };
        let (resign, resigned) = oneshot::channel();
        let task = tokio::spawn(shell.run(hints, resigned));
        Ok(Self { standing: receiver, resign: Some(resign), task })
    }

    /// Whether this coordinator is active; changes are seen by `changed`.
    pub(crate) fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.clone()
    }

    /// Gives the lease up. The coordinator must have ceased to act.
    pub(crate) async fn resign(mut self) {
        drop(self.resign.take());
        let _ = (&mut self.task).await;
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shell {
    async fn run(mut self, mut hints: BoxStream<'static, Sighting>, mut resigned: oneshot::Receiver<()>) {
        let mut operation: Option<BoxFuture<'static, Done>> = None;
        let mut verifying: Option<BoxFuture<'static, Verified>> = None;
        let mut tenure: Option<Tenure> = None;
        let mut resigning = false;
        self.core.handle_timeout(now());
        loop {
            while let Some(action) = self.core.poll_action() {
                match action {
                    Action::Start(next) => operation = Some(self.perform(next)),
                    Action::Acquired { revision, .. } => verifying = Some(self.verify(revision)),
                    Action::Extended { until } => {
                        if tenure.as_ref().is_some_and(|tenure| !tenure.extend(until)) {
                            self.core.handle(Event::Useless, now());
                        }
                    }
                    Action::Lost(why) => {
                        verifying = None;
                        self.lose(tenure.take(), why);
                    }
                }
            }
            if self.core.has_ended() {
                return;
            }
            let due = self.core.poll_timeout();
            tokio::select! {
                biased;
                _ = &mut resigned, if !resigning => {
                    resigning = true;
                    self.core.handle(Event::Resign, now());
                }
                done = ready(&mut operation) => {
                    operation = None;
                    self.done(done);
                }
                verified = ready(&mut verifying) => {
                    verifying = None;
                    tenure = self.begin(verified).await;
                }
                Some(hint) = hints.next() => self.core.handle(match hint {
                    Sighting::Renewal => Event::RenewalSeen,
                    Sighting::Release => Event::ReleaseSeen,
                }, now()),
                () = reach(due), if due.is_some() => self.core.handle_timeout(now()),
            }
        }
    }

    fn perform(&mut self, operation: Operation) -> BoxFuture<'static, Done> {
        let limit = self.settings.timeout;
        let value = Bytes::from(format!("{{\"coordinator\":\"{}\"}}", self.id.simple()));
        let Some(bucket) = self.bucket.clone().filter(|_| operation != Operation::Open) else {
            let opening = open(self.bus.clone(), self.store.clone(), self.fleet.clone(), self.settings.clone());
            // It has several steps.
            return within(limit * 4 + ANSWER_LIMIT, async move {
                let opened = opening.await?;
                let outcome = Outcome::Opened { duration: opened.bucket.max_age(), taken: opened.taken };
                Ok((outcome, Some(opened.bucket)))
            });
        };
        within(limit, async move {
            let outcome = match operation {
                Operation::Open | Operation::Claim => Outcome::Written(bucket.claim(value).await?),
                Operation::Renew { revision } => Outcome::Written(bucket.renew(value, revision).await?),
                Operation::Inspect => {
                    let own = bucket.entry().await?.filter(|entry| entry.value == value);
                    Outcome::Read(own.map(|entry| entry.revision))
                }
                Operation::Release { revision } => {
                    bucket.release(revision).await?;
                    Outcome::Removed
                }
            };
            Ok((outcome, None))
        })
    }

    fn done(&mut self, (outcome, bucket, why): Done) {
        let mut outcome = outcome;
        if let (Outcome::Opened { duration, .. }, Some(bucket)) = (&mut outcome, bucket) {
            // Until this coordinator has changed the bucket's, the shorter time counts.
            *duration = (*duration).min(self.config.duration);
            self.bucket = Some(bucket);
        }
        match &why {
            Some(why) if self.trouble.as_ref() != Some(why) => tracing::warn!(%why, "the lease cannot be renewed"),
            _ => {}
        }
        let reachable = why.is_none();
        self.trouble = why;
        self.standing.send_if_modified(|standing| match standing {
            Standing::Standby { reachable: known } => std::mem::replace(known, reachable) != reachable,
            Standing::Active(_) => false,
        });
        self.core.handle(Event::Done(outcome), now());
    }

    /// Finds out whether the token of a new term is higher than all before, and writes it to the store.
    fn verify(&self, revision: u64) -> BoxFuture<'static, Verified> {
        let (store, id) = (self.store.clone(), self.id);
        let token = self.bucket.as_ref().and_then(|bucket| token_of(bucket.epoch(), revision));
        let (bus, fleet, limit) = (self.bus.clone(), self.fleet.clone(), self.config.duration);
        let verified = async move {
            let Some(token) = token else { return Verified::NotHigher };
            if matches!(beside(&bus, &fleet, OTHERS_ANSWER).await, Beside::Answers) {
                return Verified::Unknown("a coordinator without a lease (--single) answers on this bus".into());
            }
            match store.last_token().await {
                Ok(last) if last >= token.0 => Verified::NotHigher,
                Ok(_) => match store.put_token(token.0).await {
                    Ok(()) => Verified::Usable(Term { token, id }),
                    Err(error) => Verified::Unknown(format!("the store: {error}")),
                },
                Err(error) => Verified::Unknown(format!("the store: {error}")),
            }
        };
        async move {
            let late = || Verified::Unknown(format!("the store: no answer within the lease's duration, {limit:?}"));
            tokio::time::timeout(limit, verified).await.unwrap_or_else(|_| late())
        }
        .boxed()
    }

    /// The token of the lease was looked at: the coordinator becomes active, or its bucket is made anew.
    async fn begin(&mut self, verified: Verified) -> Option<Tenure> {
        match verified {
            Verified::Usable(term) => {
                self.adjust_max_age().await;
                let tenure = self.core.held_until().map(|until| Tenure::until(term, until));
                let Some(tenure) = tenure.filter(Tenure::holds) else {
                    tracing::warn!("the lease was over before this coordinator could act");
                    self.core.handle(Event::Useless, now());
                    return None;
                };
                tracing::info!(token = term.token.0, coordinator = %term.id.simple(), "this coordinator is active");
                self.standing.send_replace(Standing::Active(tenure.clone()));
                Some(tenure)
            }
            Verified::NotHigher => {
                tracing::warn!("the bucket of the lease was put back to an earlier state: it is made anew");
                if let Some(bucket) = self.bucket.take()
                    && let Err(error) = bucket.remove().await
                {
                    tracing::warn!(%error, "the bucket of the lease cannot be removed");
                }
                self.core.handle(Event::Useless, now());
                None
            }
            Verified::Unknown(why) => {
                tracing::warn!(%why, "this coordinator has the lease and does not become active");
                self.core.handle(Event::Useless, now());
                None
            }
        }
    }

    /// The holder gives the bucket the duration of its settings. Another coordinator may have changed it since this one
    /// opened the bucket.
    async fn adjust_max_age(&mut self) {
        let bucket = match self.bus.open_lease(&self.settings).await {
            Ok(Some(bucket)) => bucket,
            Ok(None) => return,
            Err(error) => return tracing::warn!(%error, "the duration of the lease is not known"),
        };
        let own = self.config.duration;
        let duration = if bucket.max_age() == own {
            own
        } else if let Err(error) = bucket.set_max_age(own).await {
            tracing::warn!(%error, "the duration of the lease stays as it was");
            bucket.max_age().min(own)
        } else {
            own
        };
        self.bucket = Some(bucket);
        self.core.handle(Event::Duration(duration), now());
    }

    fn lose(&mut self, tenure: Option<Tenure>, why: Loss) {
        // A new term has a new id, so that what was written in this one is not taken for it.
        self.id = Uuid::now_v7();
        let Some(tenure) = tenure else { return };
        tenure.end();
        match why {
            Loss::Resigned => tracing::info!("this coordinator gives the lease up"),
            Loss::Expired => tracing::error!("the lease ran out: this coordinator is not active any more"),
            Loss::Taken | Loss::Useless => {
                tracing::error!(?why, "the lease was lost: this coordinator is not active any more")
            }
        }
        self.standing.send_replace(Standing::Standby { reachable: true });
    }
}

/// An operation that ends in time.
fn within(
    limit: Duration,
    operation: impl Future<Output = Result<(Outcome, Option<LeaseBucket>), LeaseError>> + Send + 'static,
) -> BoxFuture<'static, Done> {
    async move {
        match tokio::time::timeout(limit, operation).await {
            Ok(Ok((outcome, bucket))) => (outcome, bucket, None),
            Ok(Err(LeaseError::Conflict)) => (Outcome::Conflict, None, None),
            Ok(Err(error)) => (Outcome::Failed, None, Some(error.to_string())),
            Err(_) => (Outcome::Failed, None, Some("JetStream does not answer".into())),
        }
    }
    .boxed()
}

/// Completes with the future, if there is one.
async fn ready<T>(future: &mut Option<BoxFuture<'static, T>>) -> T {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

/// Completes at this time on the clock of the lease.
async fn reach(due: Option<Timestamp>) {
    if let Some(due) = due {
        tokio::time::sleep(due.since(now())).await;
    }
}
