//! Whether the coordinator hears: it sends messages to itself over the bus. While none arrives, the silence of others
//! means nothing: the bus may stand still although its connection is up, or this process may have stood still.

use futures::StreamExt as _;
use pvf_shared::{
    Bytes,
    bus::{BusError, SharedBus},
    ids::FleetName,
    subjects,
};
use std::{future::Future, time::Duration};
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior},
};
use uuid::Uuid;

/// The coordinator's messages to itself.
pub(crate) struct Hearing {
    heard: watch::Receiver<Instant>,
    deaf_after: Duration,
}

impl Hearing {
    /// Begins to listen. The returned future sends and receives the messages, six in the time after which a silent
    /// worker is lost; the coordinator counts as deaf after a third of that time. `took` is told how long each was
    /// on its way.
    pub(crate) async fn start<F: Fn(Duration) + Send + Sync>(
        (bus, took): (SharedBus, F),
        fleet: &FleetName,
        worker_silence: Duration,
    ) -> Result<(Self, impl Future<Output = ()> + Send + use<F>), BusError> {
        let subject = subjects::echo(fleet, &Uuid::now_v7());
        let mut echoes = bus.subscribe(&subject).await?;
        let (sender, heard) = watch::channel(Instant::now());
        let mut interval = tokio::time::interval(worker_silence / 6);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut sent = None;
        let echo = async move {
            loop {
                tokio::select! {
                    echo = echoes.next() => match echo {
                        Some(_) => {
                            let now = Instant::now();
                            // One that comes when a later one was sent already says little.
                            if let Some(sent) = sent.take() {
                                took(now.duration_since(sent));
                            }
                            sender.send_replace(now);
                        }
                        None => return,
                    },
                    _ = interval.tick() => {
                        sent = Some(Instant::now());
                        if let Err(error) = bus.publish(&subject, Bytes::new()).await {
                            tracing::debug!(%error, "a message to the coordinator itself was not sent");
                        }
                    },
                }
            }
        };
        Ok((Self { heard, deaf_after: worker_silence / 3 }, echo))
    }

    /// The coordinator is deaf if it has not heard itself for longer than this.
    pub(crate) fn deaf_after(&self) -> Duration {
        self.deaf_after
    }

    /// Whether the coordinator has heard itself lately.
    pub(crate) fn hears(&self) -> bool {
        self.heard.borrow().elapsed() <= self.deaf_after
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{fleet, local_bus};

    const SILENCE: Duration = Duration::from_secs(6);

    #[tokio::test(start_paused = true)]
    async fn the_coordinator_is_deaf_while_its_messages_do_not_arrive() {
        let (hearing, echo) = Hearing::start((local_bus(1 << 20), |_| ()), &fleet(), SILENCE).await.unwrap();
        assert!(hearing.hears());
        tokio::time::advance(Duration::from_millis(2001)).await;
        assert!(!hearing.hears(), "nothing carries the messages");
        let echo = tokio::spawn(echo);
        tokio::time::sleep(Duration::from_secs(1)).await;
        for _ in 0..20 {
            assert!(hearing.hears());
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        echo.abort();
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert!(!hearing.hears());
    }
}
