//! Settings of a simulated fleet.

use pvf_scheduler::{Beyond, CrossCheck, Policy, Rate, Scheduler, SchedulerConfig};
use pvf_shared::{
    config::ProtocolTimeouts,
    host::HostIdentity,
    ids::{EngineId, FencingToken},
    keys::KeyFingerprint,
    time::Timestamp,
    wire::{SPEAKS, SecurityStatus, WorkerHello, WorkerKind},
};
use pvf_worker_core::{Agent, AgentConfig};
use std::time::Duration;

/// Clients of a run.
pub const CLIENTS: usize = 4;
/// How long after the last fault every request must be answered at the latest.
pub const SETTLED: Duration = Duration::from_secs(400);
/// How long a draining worker may go on with its jobs.
const DRAIN: Duration = Duration::from_secs(10);

/// Intervals and time-outs of the fleet.
pub fn timing() -> ProtocolTimeouts {
    ProtocolTimeouts {
        heartbeat: Duration::from_secs(2),
        worker_silence: Duration::from_secs(8),
        ack: Duration::from_secs(1),
        ask_again: Duration::from_secs(3),
    }
}

/// How long the coordinator hears nothing of itself until it knows that it is deaf, as in its shell.
pub fn deaf_after() -> Duration {
    timing().worker_silence / 3
}

/// A policy: mostly the defaults, with times that a run can reach.
pub fn policy(rng: &mut fastrand::Rng) -> Policy {
    let mut policy = Policy {
        ahead: rng.u32(0..3),
        prepare_aging: Duration::from_secs([0, 5, 30][rng.usize(0..3)]),
        prune_interval: Duration::from_secs(7),
        prune_above: 2500,
        prune_min_age: Duration::from_secs(5),
        artifact_ttl: Duration::from_secs(60),
        failure_cool_down: Duration::from_secs(30),
        dispatch_delay: Duration::from_millis([0, 250][rng.usize(0..2)]),
        adoption_grace: Duration::from_secs(rng.u64(4..8)),
        attempt_allowance: Duration::from_secs(rng.u64(10..60)),
        ..Policy::default()
    };
    policy.shares.restart = rng.u8(0..4) == 0;
    policy.shares.beyond = if rng.bool() { Beyond::MostUrgent } else { Beyond::LeastUrgent };
    if rng.u8(0..4) == 0 {
        policy.per_user.requests = 60;
        policy.per_kind.requests = 100;
    }
    if rng.u8(0..4) == 0 {
        policy.per_user.jobs = rng.u32(1..4);
    }
    if rng.u8(0..3) == 0 {
        policy.cross_check = CrossCheck {
            dispute: true,
            invalid: Rate::try_from(0.3).expect("a rate"),
            wait: Duration::from_secs(rng.u64(1..12)),
        };
    }
    policy
}

/// A machine whose workers judge some candidates wrongly, if the run has one: only where disputes have second opinions.
pub fn liar(policy: &Policy, rng: &mut fastrand::Rng) -> Option<u32> {
    (policy.cross_check.dispute && rng.u8(0..3) > 0).then(|| rng.u32(0..3))
}

/// A scheduler that knows nothing.
pub fn scheduler(policy: &Policy, token: FencingToken, now: Timestamp) -> Scheduler {
    let config = SchedulerConfig {
        token,
        timing: timing(),
        policy: policy.clone(),
        version: "sim".into(),
        trusted_keys: vec![KeyFingerprint::Unsigned],
    };
    Scheduler::new(config, now)
}

/// The name of machine `n`.
pub fn host_name(n: u32) -> String {
    format!("host{n}")
}

/// What a worker is.
#[derive(Debug, Clone)]
pub struct WorkerSetup {
    pub kind: WorkerKind,
    pub slots: u32,
    pub engine: EngineId,
    pub host: u32,
}

impl WorkerSetup {
    /// The core of a worker that has just started.
    pub fn core(&self, now: Timestamp) -> Agent {
        let registration = WorkerHello {
            speaks: SPEAKS,
            slots: self.slots,
            engine: self.engine.clone(),
            host: host_name(self.host),
            identity: HostIdentity::default(),
            version: "sim".into(),
            host_functions: "f".into(),
            cpu_baseline: "v3".into(),
            security: SecurityStatus::default(),
            holds: vec![],
            running: vec![],
            also_compiles_for: vec![],
            signs_with: Some(KeyFingerprint::Unsigned),
            trusts: vec![KeyFingerprint::Unsigned],
            held: vec![],
        };
        Agent::new(AgentConfig { kind: self.kind, registration, timing: timing(), drain: DRAIN }, now)
    }
}
