//! The bus as a coordinator may use it: nothing is sent once its tenure is over. The tenure is looked at before each
//! message, so a coordinator that was stopped for longer than its lease sends nothing after it wakes.

use crate::lease::Tenure;
use async_trait::async_trait;
use pvf_shared::{
    Bytes,
    bus::{Bus, BusError, BusStats, Offered, PendingAnswer, Service, SharedBus, Subscription},
    identity::UserName,
    subjects::Subject,
};
use std::time::Duration;

/// A bus on which one may only speak during a tenure.
pub(crate) struct GuardedBus {
    pub(crate) bus: SharedBus,
    pub(crate) tenure: Tenure,
}

impl GuardedBus {
    fn check(&self) -> Result<(), BusError> {
        if self.tenure.holds() {
            return Ok(());
        }
        Err(BusError::Connection { url: "this coordinator".into(), why: "it does not have the lease".into() })
    }
}

#[async_trait]
impl Bus for GuardedBus {
    async fn publish(&self, subject: &Subject, payload: Bytes) -> Result<(), BusError> {
        self.check()?;
        self.bus.publish(subject, payload).await
    }

    async fn send_request(
        &self,
        subject: &Subject,
        payload: Bytes,
        timeout: Duration,
    ) -> Result<PendingAnswer, BusError> {
        self.check()?;
        self.bus.send_request(subject, payload, timeout).await
    }

    async fn subscribe(&self, subject: &Subject) -> Result<Subscription, BusError> {
        self.bus.subscribe(subject).await
    }

    fn user(&self) -> UserName {
        self.bus.user()
    }

    fn max_payload(&self) -> usize {
        self.bus.max_payload()
    }

    async fn flush(&self) -> Result<(), BusError> {
        self.bus.flush().await
    }

    fn is_connected(&self) -> bool {
        self.bus.is_connected()
    }

    fn stats(&self) -> BusStats {
        self.bus.stats()
    }

    async fn offer(&self, service: Service) -> Result<Option<Offered>, BusError> {
        self.bus.offer(service).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{fleet, local_bus};
    use futures::{FutureExt as _, StreamExt as _};
    use pvf_shared::{
        ids::{FencingToken, Term},
        subjects,
    };
    use uuid::Uuid;

    #[tokio::test]
    async fn nothing_is_sent_after_the_tenure() {
        let bus = local_bus(1 << 20);
        let subject = subjects::status(&fleet());
        let mut heard = bus.subscribe(&subject).await.unwrap();
        let tenure = Tenure::unlimited(Term { token: FencingToken(1), id: Uuid::nil() });
        let guarded = GuardedBus { bus: bus.clone(), tenure: tenure.clone() };
        guarded.publish(&subject, Bytes::new()).await.unwrap();
        assert!(heard.next().now_or_never().is_some());
        tenure.end();
        assert!(guarded.publish(&subject, Bytes::new()).await.unwrap_err().to_string().contains("lease"));
        assert!(guarded.request(&subject, Bytes::new(), Duration::from_secs(1)).await.is_err());
        assert!(heard.next().now_or_never().is_none());
    }
}
