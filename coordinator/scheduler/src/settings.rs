//! Settings of the queues. Every duration and size has a default that suits a fleet of validators; [`Policy::check`]
//! refuses values out of range by name.

use pvf_proto::{
    config::ProtocolTimeouts,
    identity::UserName,
    ids::{FencingToken, ValidationKey},
    keys::KeyFingerprint,
    priority::ExecuteKind,
};
use std::{collections::BTreeMap, time::Duration};

/// What the scheduler must know from the start.
#[derive(Debug, Clone)]
pub struct SchedulerConfig {
    /// This coordinator's fencing token.
    pub token: FencingToken,
    /// Heartbeat, acknowledgement and retry intervals; the same in the whole fleet.
    pub timing: ProtocolTimeouts,
    /// Settings of the queues.
    pub policy: Policy,
    /// The coordinator's version, for people.
    pub version: String,
    /// The keys that artifacts may be signed with. A prepare worker must sign with one of them, and an execute worker
    /// must trust all of them; others are refused.
    pub trusted_keys: Vec<KeyFingerprint>,
}

/// How much may be here at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// Requests without a verdict.
    pub requests: u64,
    /// Bytes that they hold in the coordinator's memory; inputs that their clients hold do not count.
    pub bytes: u64,
}

/// Which kind is next when every kind with queued jobs has had its share.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Beyond {
    /// The most urgent one, as in the existing host: backing beside disputes gets one dispatch in twelve.
    #[default]
    MostUrgent,
    /// The least urgent one, which has no other to yield to: backing beside disputes gets the 30 % that they leave.
    LeastUrgent,
}

/// A part of all, in millionths.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize)]
#[serde(try_from = "f64")]
pub struct Rate(u32);

const MILLION: u32 = 1_000_000;

impl Rate {
    /// Whether a validation is of the part. Keys are hashes, so they are evenly distributed.
    pub(crate) fn takes(self, ValidationKey([a, b, c, d, ..]): &ValidationKey) -> bool {
        let number = u64::from(u32::from_le_bytes([*a, *b, *c, *d]));
        ((number * u64::from(MILLION)) >> 32) < u64::from(self.0)
    }
}

impl TryFrom<f64> for Rate {
    type Error = String;
    fn try_from(part: f64) -> Result<Self, String> {
        if (0.0..=1.0).contains(&part) {
            return Ok(Self((part * f64::from(MILLION)).round() as u32));
        }
        Err(format!("{part} is outside 0..=1"))
    }
}

impl std::str::FromStr for Rate {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        text.parse::<f64>().map_err(|_| format!("{text:?} is no number from 0 to 1"))?.try_into()
    }
}

/// Which executions run once more on another machine, so that no single machine decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CrossCheck {
    /// Every dispute that was found valid or invalid.
    pub dispute: bool,
    /// This part of the executions that were found invalid, 0 to 1.
    pub invalid: Rate,
    /// How long after the first opinion an attempt on another machine must have begun; then the first one stands.
    /// 100 ms to 1 h.
    #[serde(with = "humantime_serde")]
    pub wait: Duration,
}

impl Default for CrossCheck {
    fn default() -> Self {
        Self { dispute: false, invalid: Rate::default(), wait: Duration::from_secs(10) }
    }
}

/// The share window's settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Shares {
    /// Dispatches in the window, 1 to 1000.
    pub window: u32,
    /// Percent that a dispute, an approval, backing of a system parachain and other backing may have of what it
    /// and the less urgent kinds got, each 1 to 100. The last one has no other to yield to.
    pub percent: [u8; 4],
    /// `true`: the window starts again from nothing when it is full, as in the existing host. `false`: it
    /// slides, so that a dispute that comes after much backing goes ahead until it has had its share.
    pub restart: bool,
    /// Which kind is next when every kind with queued jobs has had its share.
    pub beyond: Beyond,
}

/// What one user of the bus may have here at once.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UserLimits {
    /// Requests without a verdict.
    pub requests: u64,
    /// Bytes that these hold in memory.
    pub bytes: u64,
    /// Sessions that have requests or have told of active leaves.
    pub sessions: u32,
    /// Executions that are at workers: in slots, staged or being fetched. One that is tried again is not held up.
    pub jobs: u32,
    /// Kinds that the user may ask for, by name; without this, all: `dispute`, `approval`, `backing-system`, `backing`,
    /// and `preparation` for prechecks and heads-ups.
    pub kinds: Option<Vec<String>>,
}

impl Default for UserLimits {
    fn default() -> Self {
        Self { requests: 20_000, bytes: 2 << 30, sessions: 4096, jobs: u32::MAX, kinds: None }
    }
}

impl UserLimits {
    /// The limit of requests and their bytes.
    pub(crate) fn limit(&self) -> Limit {
        Limit { requests: self.requests, bytes: self.bytes }
    }

    /// Whether the user may ask for this.
    pub(crate) fn allows(&self, kind: &str) -> bool {
        self.kinds.as_ref().is_none_or(|kinds| kinds.iter().any(|allowed| allowed == kind))
    }

    fn check(&self, name: &str) -> Result<(), String> {
        let at_least_one = |field: &str, value: u64| match value {
            0 => Err(format!("{name}.{field}: 0 is outside 1..={}", u64::MAX)),
            _ => Ok(()),
        };
        at_least_one("requests", self.requests)?;
        at_least_one("sessions", self.sessions.into())?;
        at_least_one("jobs", self.jobs.into())?;
        let known = |kind: &String| kind == "preparation" || kind.parse::<ExecuteKind>().is_ok();
        match self.kinds.iter().flatten().find(|kind| !known(kind)) {
            Some(kind) => Err(format!("{name}.kinds: {kind:?} is none of {KINDS}")),
            None => Ok(()),
        }
    }
}

const KINDS: &str = "dispute, approval, backing-system, backing, preparation";

impl Default for Shares {
    fn default() -> Self {
        Self { window: 12, percent: [70, 80, 100, 100], restart: false, beyond: Beyond::MostUrgent }
    }
}

/// The settings of the queues.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// Shares of the kinds of execution.
    pub shares: Shares,
    /// Percent of the prepare slots that preparations below critical may use, 1 to 100; at least one slot.
    pub prepare_soft_percent: u8,
    /// How long a preparation waits until it counts as one priority higher; zero switches this off.
    #[serde(with = "humantime_serde")]
    pub prepare_aging: Duration,
    /// Jobs that may be staged at an execute worker for each of its slots (at most 64 in all), 0 to 4.
    pub ahead: u32,
    /// Second opinions.
    pub cross_check: CrossCheck,
    /// Limit for all requests of one kind of execution, and for all preparations.
    pub per_kind: Limit,
    /// Limits of each user of the bus, for all its sessions together.
    pub per_user: UserLimits,
    /// Users with limits of their own, by name; a limit that is left out is the default, not that of `per_user`.
    pub users: BTreeMap<String, UserLimits>,
    /// How long a preparation waits for a prepare worker that compiles for its engine while none is registered; then it
    /// ends as an infrastructure failure.
    #[serde(with = "humantime_serde")]
    pub prepare_worker_grace: Duration,
    /// How long a worker may have an attempt beyond the wall-clock limit of its job, for fetching, uploading and
    /// reporting; then the attempt is cancelled and the job tried elsewhere.
    #[serde(with = "humantime_serde")]
    pub attempt_allowance: Duration,
    /// How long a coordinator that has just started dispatches nothing, so that the workers can say first which jobs of
    /// its predecessor they have; zero to a minute.
    #[serde(with = "humantime_serde")]
    pub dispatch_delay: Duration,
    /// How long an execution of an earlier coordinator goes on that no client has asked this one for; then it is
    /// cancelled. Longer than clients take until they ask for their verdicts and submit again.
    #[serde(with = "humantime_serde")]
    pub adoption_grace: Duration,
    /// Retry-after hint in a refusal because of a limit.
    #[serde(with = "humantime_serde")]
    pub retry_after: Duration,
    /// Bytes of verdicts that are kept for clients that may not have heard them. A verdict is kept until its client has
    /// it, or does not wait for it any more; if they take up more than this, those go first that are waited for the
    /// shortest. A request whose verdict is not kept is submitted again, and executed again.
    pub unheard_verdict_bytes: u64,
    /// A client that is silent for longer is gone: its queued work is not begun.
    #[serde(with = "humantime_serde")]
    pub client_silence: Duration,
    /// How often unused artifacts are dropped.
    #[serde(with = "humantime_serde")]
    pub prune_interval: Duration,
    /// Above this many bytes artifacts are dropped, least recently needed first.
    pub prune_above: u64,
    /// An artifact that was needed more recently than this is not dropped.
    #[serde(with = "humantime_serde")]
    pub prune_min_age: Duration,
    /// An artifact that was not needed for longer is dropped in any case.
    #[serde(with = "humantime_serde")]
    pub artifact_ttl: Duration,
    /// A preparation that failed for a reason that may pass is tried again when it is requested after this. One whose
    /// process or workers died is tried again sooner: after 10 s, then four times as long each time, up to this.
    #[serde(with = "humantime_serde")]
    pub failure_cool_down: Duration,
    /// Such a preparation is tried at most this many times; one with so many deaths in a row once an hour from then on.
    pub max_preparations: u32,
    /// A validation that was running when workers were lost on this many machines, with at most an hour between two
    /// losses and no run that ended by itself since, is answered as possibly invalid, unless a fresh execution is asked
    /// for; 1 to 100. A preparation that has lost this many workers has failed.
    pub max_deaths: u32,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            shares: Shares::default(),
            prepare_soft_percent: 75,
            prepare_aging: Duration::from_secs(600),
            ahead: 1,
            cross_check: CrossCheck::default(),
            per_kind: Limit { requests: 200_000, bytes: 8 << 30 },
            per_user: UserLimits::default(),
            users: BTreeMap::new(),
            prepare_worker_grace: Duration::from_secs(60),
            attempt_allowance: Duration::from_secs(120),
            dispatch_delay: Duration::from_millis(50),
            adoption_grace: Duration::from_secs(15),
            retry_after: Duration::from_millis(500),
            unheard_verdict_bytes: 256 << 20,
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
    /// The limits of a user.
    pub(crate) fn limits_of(&self, user: &UserName) -> &UserLimits {
        self.users.get(user.as_str()).unwrap_or(&self.per_user)
    }

    /// Checks that every setting is in its range; the error names the setting and the range.
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
        within("cross_check.wait (ms)", self.cross_check.wait.as_millis() as u64, 100, 3_600_000)?;
        within("max_deaths", self.max_deaths.into(), 1, 100)?;
        within("max_preparations", self.max_preparations.into(), 1, 1000)?;
        within("per_kind.requests", self.per_kind.requests, 1, u64::MAX)?;
        self.per_user.check("per_user")?;
        for (name, limits) in &self.users {
            UserName::parse(name).map_err(|e| format!("users: {e}"))?;
            limits.check(&format!("users.{name}"))?;
        }
        within("retry_after (ms)", self.retry_after.as_millis() as u64, 1, 3_600_000)?;
        within("unheard_verdict_bytes", self.unheard_verdict_bytes, 1 << 20, u64::MAX)?;
        seconds("prepare_worker_grace", self.prepare_worker_grace, 1)?;
        seconds("attempt_allowance", self.attempt_allowance, 1)?;
        within("dispatch_delay (ms)", self.dispatch_delay.as_millis() as u64, 0, 60_000)?;
        seconds("adoption_grace", self.adoption_grace, 1)?;
        seconds("client_silence", self.client_silence, 1)?;
        seconds("prune_interval", self.prune_interval, 1)?;
        if self.artifact_ttl < self.prune_min_age {
            return Err("artifact_ttl: shorter than prune_min_age".into());
        }
        Ok(())
    }
}
