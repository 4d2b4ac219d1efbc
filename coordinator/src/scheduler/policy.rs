//! What an operator may decide about the queues. Every duration and size has a default that suits a fleet of
//! validators; [`Policy::check`] refuses what makes no sense, by name.

use super::{clients::Limit, shares::Shares};
use std::time::Duration;

/// How the queues are run.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// Shares of the kinds of execution.
    pub shares: Shares,
    /// Percent of the prepare slots that work below critical may use, 1 to 100; at least one slot.
    pub prepare_soft_percent: u8,
    /// How long a preparation waits until it counts as one priority higher; zero: never.
    #[serde(with = "humantime_serde")]
    pub prepare_aging: Duration,
    /// Jobs that an execute worker may hold ahead of each of its slots (at most 64 in all), 0 to 4.
    pub ahead: u32,
    /// How much of one kind may be here at once (all executions of a kind, or all preparations).
    pub per_kind: Limit,
    /// How much of one client may be here at once.
    pub per_client: Limit,
    /// When somebody who is turned away should come again.
    #[serde(with = "humantime_serde")]
    pub retry_after: Duration,
    /// A client that is silent for longer has gone: what it asked for is not begun.
    #[serde(with = "humantime_serde")]
    pub client_silence: Duration,
    /// How often artifacts that nobody needs are dropped.
    #[serde(with = "humantime_serde")]
    pub prune_interval: Duration,
    /// Above this many bytes artifacts are dropped, least recently needed first.
    pub prune_above: u64,
    /// But never one that was needed more recently than this.
    #[serde(with = "humantime_serde")]
    pub prune_min_age: Duration,
    /// An artifact that nobody needed for longer is dropped in any case.
    #[serde(with = "humantime_serde")]
    pub artifact_ttl: Duration,
    /// A preparation that failed for a reason that may pass is tried again when it is asked for after this.
    #[serde(with = "humantime_serde")]
    pub failure_cool_down: Duration,
    /// And at most this many times.
    pub max_preparations: u32,
    /// A job that killed this many workers is not tried on another, 1 to 100.
    pub max_deaths: u32,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            shares: Shares::default(),
            prepare_soft_percent: 75,
            prepare_aging: Duration::from_secs(600),
            ahead: 1,
            per_kind: Limit { requests: 200_000, bytes: 8 << 30 },
            per_client: Limit { requests: 20_000, bytes: 2 << 30 },
            retry_after: Duration::from_millis(500),
            client_silence: Duration::from_secs(30),
            prune_interval: Duration::from_secs(3600),
            prune_above: 10 << 30,
            prune_min_age: Duration::from_secs(24 * 3600),
            artifact_ttl: Duration::from_secs(30 * 24 * 3600),
            failure_cool_down: Duration::from_secs(15 * 60),
            max_preparations: 5,
            max_deaths: 3,
        }
    }
}

impl Policy {
    /// Whether every setting is in its range; the error names the setting and the range.
    pub fn check(&self) -> Result<(), String> {
        let within = |name: &str, value: u64, min: u64, max: u64| {
            if (min..=max).contains(&value) { Ok(()) } else { Err(format!("{name}: {value} is outside {min}..={max}")) }
        };
        let seconds = |name: &str, value: Duration, min: u64| {
            within(&format!("{name} (seconds)"), value.as_secs(), min, 10 * 365 * 24 * 3600)
        };
        within("shares.window", self.shares.window.into(), 1, 1000)?;
        for percent in self.shares.percent {
            within("shares.percent", percent.into(), 1, 100)?;
        }
        within("prepare_soft_percent", self.prepare_soft_percent.into(), 1, 100)?;
        within("ahead", self.ahead.into(), 0, 4)?;
        within("max_deaths", self.max_deaths.into(), 1, 100)?;
        within("max_preparations", self.max_preparations.into(), 1, 1000)?;
        within("per_kind.requests", self.per_kind.requests, 1, u64::MAX)?;
        within("per_client.requests", self.per_client.requests, 1, u64::MAX)?;
        within("retry_after (ms)", self.retry_after.as_millis() as u64, 1, 3_600_000)?;
        seconds("client_silence", self.client_silence, 1)?;
        seconds("prune_interval", self.prune_interval, 1)?;
        if self.artifact_ttl < self.prune_min_age {
            return Err("artifact_ttl: shorter than prune_min_age".into());
        }
        Ok(())
    }
}
