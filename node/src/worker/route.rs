//! The way of a call to the fleet: by the node service of this machine, or by a connection of this process where the
//! service cannot be reached.

use crate::{
    calls::{ExecuteCall, PrepareCall},
    config::Config,
    fleet::Fleet,
    protocol::{ExecuteAnswer, PrepareAnswer},
    security::FleetSecurity,
    service::{Lost, ServiceCaller},
};
use bytes::Bytes;
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::{Instant, sleep};

/// The pause before another attempt where there is no way.
const PAUSE: Duration = Duration::from_millis(50);

/// The times of an execution.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    /// When its answer must be there.
    pub(super) deadline: Instant,
    /// When the fallback begins, if there is one.
    pub(super) fallback_at: Instant,
}

/// What is left of the time until then; the least that a call can have if it is over.
fn left(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
}

/// The ways of this process.
pub(super) struct Route {
    config: Arc<Config>,
    ways: tokio::sync::Mutex<Ways>,
    /// Why the last attempt failed, since the last call that did not.
    trouble: Mutex<Option<String>>,
}

#[derive(Default)]
struct Ways {
    service: Option<ServiceCaller>,
    direct: Option<Fleet>,
}

/// A way that is open.
enum Way<'a> {
    Service(&'a mut Option<ServiceCaller>),
    Direct(Fleet),
}

impl Route {
    pub(super) fn new(config: Arc<Config>) -> Self {
        Self { config, ways: tokio::sync::Mutex::default(), trouble: Mutex::default() }
    }

    /// Why a call has no answer within this time, as far as it is known.
    pub(super) fn no_answer(&self, within: Duration) -> String {
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let why = trouble.map(|why| format!(": {why}")).unwrap_or_default();
        format!("no answer of the fleet within {:.1} s{why}", within.as_secs_f64())
    }

    /// Notes why an attempt failed. It is logged once, not with each attempt.
    fn note(&self, why: String) {
        // A log that blocks must not be in the way of an answer that asks for the trouble.
        let before = self.trouble.lock().unwrap_or_else(PoisonError::into_inner).replace(why.clone());
        if before.as_ref() != Some(&why) {
            tracing::warn!(%why, "the fleet cannot be reached, trying again");
        }
    }

    fn clear_trouble(&self) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Opens a way before there is a call.
    pub(super) async fn warm_up(&self) {
        let mut ways = self.ways.lock().await;
        if let Err(why) = self.open(&mut ways).await {
            self.note(why);
        }
    }

    /// A way: the service if it can be reached.
    async fn open<'a>(&self, ways: &'a mut Ways) -> Result<Way<'a>, String> {
        if ways.service.is_none() {
            match ServiceCaller::connect(&self.config.service.socket).await {
                Ok(caller) => ways.service = Some(caller),
                Err(error) if !self.config.service.direct => return Err(error.to_string()),
                Err(error) => return self.open_directly(ways, &error).await,
            }
        }
        // It is needed no longer, and would be one more connection of this node.
        ways.direct = None;
        Ok(Way::Service(&mut ways.service))
    }

    async fn open_directly<'a>(&self, ways: &mut Ways, service: &Lost) -> Result<Way<'a>, String> {
        if let Some(fleet) = &ways.direct {
            self.clear_trouble();
            return Ok(Way::Direct(fleet.clone()));
        }
        tracing::warn!(why = %service, "connecting to the fleet without the node service");
        let fleet = Fleet::connect(&self.config.connection()?, &self.config.fleet.name).await;
        let fleet = fleet.map_err(|error| format!("{error}, and {service}"))?;
        ways.direct = Some(fleet.clone());
        self.clear_trouble();
        Ok(Way::Direct(fleet))
    }

    /// Executes a candidate. Tries until there is an answer; the caller gives up at the deadline.
    pub(super) async fn execute(
        &self,
        mut call: ExecuteCall,
        code: &Bytes,
        block_data: &Bytes,
        times: Times,
    ) -> ExecuteAnswer {
        let mut ways = self.ways.lock().await;
        loop {
            let way = self.open(&mut ways).await;
            (call.answer_within, call.fallback_after) = (left(times.deadline), left(times.fallback_at));
            match way {
                Ok(Way::Direct(fleet)) => return fleet.execute(&call, code.clone(), block_data.clone()).await,
                Ok(Way::Service(service)) => {
                    // Taken: a connection whose call is dropped is of no use.
                    if let Some(mut caller) = service.take() {
                        let answer = caller.execute(&call, code, block_data).await;
                        if let Some(answer) = self.answered(answer, service, caller) {
                            return answer;
                        }
                    }
                }
                Err(why) => self.note(why),
            }
            sleep(PAUSE).await;
        }
    }

    /// Prepares a code, as [`Self::execute`] executes.
    pub(super) async fn prepare(&self, mut call: PrepareCall, code: &Bytes, deadline: Instant) -> PrepareAnswer {
        let mut ways = self.ways.lock().await;
        loop {
            let way = self.open(&mut ways).await;
            call.answer_within = left(deadline);
            match way {
                Ok(Way::Direct(fleet)) => return fleet.prepare(&call, code).await,
                Ok(Way::Service(service)) => {
                    if let Some(mut caller) = service.take() {
                        let answer = caller.prepare(&call, code).await;
                        if let Some(answer) = self.answered(answer, service, caller) {
                            return answer;
                        }
                    }
                }
                Err(why) => self.note(why),
            }
            sleep(PAUSE).await;
        }
    }

    /// An answer of the service, whose connection is kept then.
    fn answered<A>(
        &self,
        answer: Result<A, Lost>,
        service: &mut Option<ServiceCaller>,
        caller: ServiceCaller,
    ) -> Option<A> {
        match answer {
            Ok(answer) => {
                *service = Some(caller);
                self.clear_trouble();
                Some(answer)
            }
            Err(lost) => {
                self.note(lost.to_string());
                None
            }
        }
    }

    /// What is true of the security of the fleet's workers.
    pub(super) async fn security(&self) -> Result<FleetSecurity, String> {
        let mut ways = self.ways.lock().await;
        match self.open(&mut ways).await? {
            Way::Direct(fleet) => fleet.security().await,
            Way::Service(service) => {
                let Some(mut caller) = service.take() else { return Err("the node service is gone".into()) };
                let security = caller.security().await.map_err(|lost| lost.to_string())?;
                *service = Some(caller);
                security
            }
        }
    }
}
