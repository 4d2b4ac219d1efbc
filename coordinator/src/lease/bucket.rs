//! The bucket of the lease, its epoch, and the tokens of its terms.

use pvf_shared::{
    bus::{
        Bus as _, BusError,
        nats::{LeaseBucket, LeaseError, LeaseSettings, NatsBus},
    },
    ids::{FencingToken, FleetName},
    store::BlobStore,
    subjects,
    wire::{self, StatusQuestion},
};
use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// How long another coordinator may take to answer.
pub(crate) const ANSWER_LIMIT: Duration = Duration::from_secs(2);

/// A bucket that was opened.
pub(super) struct Opened {
    pub(super) bucket: LeaseBucket,
    /// The bucket was not there, and somebody answers as coordinator nevertheless.
    pub(super) taken: bool,
}

/// Opens the bucket; makes it if it is not there.
pub(super) async fn open(
    bus: Arc<NatsBus>,
    store: BlobStore,
    fleet: FleetName,
    settings: LeaseSettings,
) -> Result<Opened, LeaseError> {
    if let Some(bucket) = bus.open_lease(&settings).await? {
        return Ok(Opened { bucket, taken: false });
    }
    let last = store.last_token().await.map_err(|error| LeaseError::Unavailable(error.to_string()))?;
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let epoch = seconds.max((last >> 32) + 1);
    let epoch = u32::try_from(epoch).map_err(|_| LeaseError::Unavailable("no higher epoch is left".into()))?;
    tracing::info!(bucket = settings.bucket, epoch, "making the bucket of the lease");
    match bus.create_lease(&settings, epoch).await {
        // Another coordinator made it at the same time.
        Ok(()) | Err(LeaseError::Conflict) => {}
        Err(error) => return Err(error),
    }
    let bucket = bus.open_lease(&settings).await?;
    let bucket = bucket.ok_or_else(|| LeaseError::Unavailable("the bucket was removed again".into()))?;
    Ok(Opened { taken: !matches!(beside(&bus, &fleet, ANSWER_LIMIT).await, Beside::Nobody), bucket })
}

/// Whether there is another coordinator on the bus, lease or not.
pub(crate) enum Beside {
    /// Nobody listens as coordinator.
    Nobody,
    /// Somebody listens and does not answer: a process that stands still, or the server does not know that it has
    /// ended.
    Silent,
    /// Somebody answers.
    Answers,
}

/// Asks whether there is another coordinator, and waits this long for its answer.
pub(crate) async fn beside(bus: &NatsBus, fleet: &FleetName, limit: Duration) -> Beside {
    let question = wire::encode(&StatusQuestion { host: Some(String::new()) });
    match bus.request(&subjects::status(fleet), question, limit).await {
        Ok(_) => Beside::Answers,
        Err(BusError::NoResponders(_)) => Beside::Nobody,
        Err(_) => Beside::Silent,
    }
}

/// The fencing token of a term; `None` if no number is left for it.
pub(super) fn token_of(epoch: u32, revision: u64) -> Option<FencingToken> {
    let revision = u32::try_from(revision).ok()?;
    Some(FencingToken(u64::from(epoch) << 32 | u64::from(revision)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_above_those_of_an_earlier_bucket_and_of_earlier_versions() {
        let of = |epoch, revision| token_of(epoch, revision).unwrap();
        assert_eq!(of(1, 2), FencingToken(1 << 32 | 2));
        assert!(of(7, u32::MAX.into()) < of(8, 1));
        // Earlier versions had milliseconds since 1970.
        let (seconds, millis) = (1_800_000_000, 1_800_000_000_000);
        assert!(of(seconds, 1) > FencingToken(millis + 1000 * 365 * 24 * 3600 * 1000));
        assert_eq!(token_of(1, 1 << 32), None);
    }
}
