//! Settings of the lease.

use std::time::Duration;

/// Who is active of several coordinators.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LeaseConfig {
    /// How long a coordinator that is not heard of stays the active one, 500 ms to 60 s.
    #[serde(with = "humantime_serde")]
    pub duration: Duration,
    /// Servers of a NATS cluster that keep the lease, 1 to 5.
    pub replicas: usize,
}

impl Default for LeaseConfig {
    fn default() -> Self {
        Self { duration: Duration::from_secs(2), replicas: 1 }
    }
}

impl LeaseConfig {
    /// Checks that every setting is in its range; the error names the setting and the range.
    pub(crate) fn check(&self) -> Result<(), String> {
        let millis = self.duration.as_millis();
        if !(500..=60_000).contains(&millis) {
            return Err(format!("duration (ms): {millis} is outside 500..=60000"));
        }
        if !(1..=5).contains(&self.replicas) {
            return Err(format!("replicas: {} is outside 1..=5", self.replicas));
        }
        Ok(())
    }
}
