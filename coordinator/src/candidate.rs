//! One of several coordinators: it waits for the lease, coordinates as long as it has it, and waits again. What it knew
//! is forgotten with the lease: clients and workers tell the next coordinator what they need.

use crate::{
    api,
    driver::{Coordinator, CoordinatorError},
    lease::{Keeper, Standing, Tenure},
    metrics::Sizes,
};
use pvf_shared::http::{Condition, Http, connection};
use std::time::Duration;
use tokio::sync::watch;

/// How often a standby shows that it is there.
const OBSERVATION: Duration = Duration::from_millis(500);

/// A coordinator that waits for the lease.
pub(crate) struct Candidate {
    pub(crate) coordinator: Coordinator,
    pub(crate) keeper: Keeper,
    pub(crate) http: Http,
}

impl Candidate {
    /// Waits and coordinates until `shutdown` completes, then gives the lease up.
    ///
    /// # Errors
    /// This process can do neither.
    pub(crate) async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), CoordinatorError> {
        tokio::pin!(shutdown);
        let mut standing = self.keeper.standing();
        let mut stops = false;
        while !stops {
            // Others find it on the bus. A server that does not permit that does not keep it from its work.
            let service = api::standby(&self.coordinator.fleet);
            let offered = self.coordinator.bus.offer(service).await.unwrap_or_default();
            let tenure = tokio::select! {
                biased;
                () = &mut shutdown => break,
                tenure = self.tenure(&mut standing) => tenure.ok_or(CoordinatorError::LeaseTask)?,
            };
            drop(offered);
            let listening = match self.coordinator.clone().listen_during(tenure.clone()).await {
                Ok(listening) => listening.reporting_to(&self.http),
                Err(error) => {
                    tracing::warn!(%error, "this coordinator has the lease and cannot act yet");
                    tokio::time::sleep(OBSERVATION).await;
                    continue;
                }
            };
            let until_it_ends = async {
                tokio::select! {
                    () = &mut shutdown => stops = true,
                    () = ended(&mut standing, &tenure) => {}
                }
            };
            listening.run(until_it_ends).await;
        }
        self.keeper.resign().await;
        Ok(())
    }

    /// Waits for the lease; `None` if nothing looks after it any more.
    async fn tenure(&self, standing: &mut watch::Receiver<Standing>) -> Option<Tenure> {
        loop {
            match &*standing.borrow_and_update() {
                Standing::Active(tenure) if tenure.holds() => return Some(tenure.clone()),
                Standing::Active(_) => {}
                Standing::Standby { reachable } => self.show(*reachable),
            }
            tokio::select! {
                changed = standing.changed() => changed.ok()?,
                () = tokio::time::sleep(OBSERVATION) => {}
            }
        }
    }

    /// A standby that can get the lease is ready: it does what it is there for.
    fn show(&self, reachable: bool) {
        self.http.liveness.tick();
        let connected = self.coordinator.bus.is_connected();
        let lease = if reachable { "standby: another coordinator has it" } else { "JetStream does not answer" };
        self.http.readiness.show(vec![
            Condition { name: "bus", is_met: connected, detail: connection(connected).into() },
            Condition { name: "lease", is_met: reachable, detail: lease.into() },
        ]);
        match (connected, reachable) {
            (true, true) => self.http.readiness.ready(),
            (false, _) => self.http.readiness.not_ready("bus disconnected"),
            (true, false) => self.http.readiness.not_ready("standby, and JetStream does not answer"),
        }
        let sizes = Sizes { bus_connected: connected, ..Sizes::default() };
        self.coordinator.counters.publish_sizes(sizes);
    }
}

/// Waits for the end of a tenure.
async fn ended(standing: &mut watch::Receiver<Standing>, tenure: &Tenure) {
    let is_over = |standing: &Standing| match standing {
        Standing::Active(active) => active.term() != tenure.term(),
        Standing::Standby { .. } => true,
    };
    // Without a task that looks after the lease it is over as well.
    let _ = standing.wait_for(is_over).await;
}
