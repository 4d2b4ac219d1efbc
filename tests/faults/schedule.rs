//! The faults of a run, chosen by its seed.

use super::{members::Role, store::StoreKind};
use fastrand::Rng;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What a fault is done to: a member, by the number among all members, and with its name for readers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// Its number among all members.
    pub member: usize,
    /// Its name.
    pub name: String,
}

/// A fault. Times are milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// SIGKILL; it starts again after a while.
    Kill { target: Target, down: u64 },
    /// SIGKILL of the server of the bus that leads the lease's stream; it starts again after a while.
    KillLeader { down: u64 },
    /// SIGTERM; it starts again when it has ended.
    Terminate { target: Target },
    /// SIGSTOP, and SIGCONT.
    Stop { target: Target, lasts: u64 },
    /// No packet reaches its host, leaves it, or both.
    Cut { target: Target, inward: bool, outward: bool, lasts: u64 },
    /// Packets from and to its host are late, and some are lost.
    Slow { target: Target, delay: u64, loss_permille: u32, lasts: u64 },
    /// Its CPU time is limited.
    Starve { target: Target, percent: u64, lasts: u64 },
    /// A job of a worker is killed.
    KillJob { target: Target },
    /// A job of a worker stands still.
    StopJob { target: Target, lasts: u64 },
    /// A process from which a worker forks jobs is killed.
    KillTemplate { target: Target },
    /// All files in its folder for temporary files are deleted.
    SweepTemporary { target: Target },
    /// Its clock of the time of day is set, by so many seconds.
    ClockJump { target: Target, seconds: i64, lasts: u64 },
    /// It is started again with too few descriptors for its jobs.
    Broken { target: Target, lasts: u64 },
    /// An artifact in the store is lost.
    LoseArtifact { which: usize },
    /// A bit of an artifact in the store flips.
    FlipBit { which: usize, bit: usize },
    /// The store is full.
    StoreFull { lasts: u64 },
}

/// One fault of a schedule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// How long after the one before it begins, milliseconds.
    pub after: u64,
    /// The fault.
    pub fault: Fault,
}

/// Kinds of faults, to choose from.
pub const KINDS: [&str; 16] = [
    "kill",
    "kill-leader",
    "terminate",
    "stop",
    "cut",
    "slow",
    "starve",
    "kill-job",
    "stop-job",
    "kill-template",
    "sweep",
    "clock",
    "broken",
    "lose",
    "flip",
    "full",
];

impl Fault {
    /// Its kind, one of [`KINDS`].
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Kill { .. } => "kill",
            Self::KillLeader { .. } => "kill-leader",
            Self::Terminate { .. } => "terminate",
            Self::Stop { .. } => "stop",
            Self::Cut { .. } => "cut",
            Self::Slow { .. } => "slow",
            Self::Starve { .. } => "starve",
            Self::KillJob { .. } => "kill-job",
            Self::StopJob { .. } => "stop-job",
            Self::KillTemplate { .. } => "kill-template",
            Self::SweepTemporary { .. } => "sweep",
            Self::ClockJump { .. } => "clock",
            Self::Broken { .. } => "broken",
            Self::LoseArtifact { .. } => "lose",
            Self::FlipBit { .. } => "flip",
            Self::StoreFull { .. } => "full",
        }
    }

    /// The member that it is done to, if the schedule names one.
    pub fn target(&self) -> Option<&Target> {
        match self {
            Self::Kill { target, .. }
            | Self::Terminate { target }
            | Self::Stop { target, .. }
            | Self::Cut { target, .. }
            | Self::Slow { target, .. }
            | Self::Starve { target, .. }
            | Self::KillJob { target }
            | Self::StopJob { target, .. }
            | Self::KillTemplate { target }
            | Self::SweepTemporary { target }
            | Self::ClockJump { target, .. }
            | Self::Broken { target, .. } => Some(target),
            Self::KillLeader { .. } | Self::LoseArtifact { .. } | Self::FlipBit { .. } | Self::StoreFull { .. } => None,
        }
    }

    /// How long it lasts, milliseconds; none if it is over at once.
    pub fn lasts(&self) -> Option<u64> {
        match self {
            Self::Stop { lasts, .. }
            | Self::Cut { lasts, .. }
            | Self::Slow { lasts, .. }
            | Self::Starve { lasts, .. }
            | Self::StopJob { lasts, .. }
            | Self::ClockJump { lasts, .. }
            | Self::Broken { lasts, .. }
            | Self::StoreFull { lasts } => Some(*lasts),
            _ => None,
        }
    }

    /// Whether it may end a job of a worker in a way that cannot be told from what a guest can do, or lose the worker
    /// with its jobs. Such a job is run once more; a second such end is answered as `possibly invalid`, which is right.
    /// So no request may live through two of these.
    pub fn may_end_jobs(&self, is_worker: impl Fn(usize) -> bool) -> bool {
        match self {
            Self::KillJob { .. } | Self::StopJob { .. } | Self::Broken { .. } => true,
            Self::Kill { target, .. }
            | Self::Stop { target, .. }
            | Self::Cut { target, .. }
            | Self::Slow { target, .. }
            | Self::Starve { target, .. } => is_worker(target.member),
            _ => false,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind())?;
        if let Some(target) = self.target() {
            write!(f, " {}", target.name)?;
        }
        match self {
            Self::Kill { down, .. } | Self::KillLeader { down } => write!(f, ", down {down} ms"),
            Self::Cut { inward, outward, lasts, .. } => {
                let way = match (inward, outward) {
                    (true, false) => "inward",
                    (false, true) => "outward",
                    _ => "both ways",
                };
                write!(f, " {way}, {lasts} ms")
            }
            Self::Slow { delay, loss_permille, lasts, .. } => {
                write!(f, " by {delay} ms, {loss_permille}/1000 lost, {lasts} ms")
            }
            Self::Starve { percent, lasts, .. } => write!(f, " to {percent} %, {lasts} ms"),
            Self::ClockJump { seconds, lasts, .. } => write!(f, " by {seconds} s, {lasts} ms"),
            other => other.lasts().map_or(Ok(()), |lasts| write!(f, ", {lasts} ms")),
        }
    }
}

/// What a schedule is chosen from.
#[derive(Debug, Clone)]
pub struct Choice {
    /// Members: role and name, in their order.
    pub members: Vec<(Role, String)>,
    /// Kinds of faults.
    pub kinds: Vec<String>,
    /// Kind of the store.
    pub store: StoreKind,
    /// The mean time between the beginnings of two faults, milliseconds.
    pub every: u64,
}

/// The endless schedule of a seed.
pub fn steps(seed: u64, choice: Choice) -> impl Iterator<Item = Step> {
    let mut rng = Rng::with_seed(seed ^ 0x5eed_fa17);
    std::iter::from_fn(move || {
        let after = rng.u64(choice.every / 4..choice.every * 7 / 4);
        // Not every kind can be done to every member.
        let fault = std::iter::repeat_with(|| fault(&mut rng, &choice)).flatten().next()?;
        Some(Step { after, fault })
    })
}

fn fault(rng: &mut Rng, choice: &Choice) -> Option<Fault> {
    let kind = &choice.kinds[rng.usize(..choice.kinds.len())];
    let member = rng.usize(..choice.members.len());
    let (role, name) = &choice.members[member];
    let target = Target { member, name: name.clone() };
    let lasts = rng.u64(2_000..20_000);
    let is_ours = matches!(role, Role::Coordinator | Role::Prepare | Role::Execute);
    Some(match kind.as_str() {
        "kill" => Fault::Kill { target, down: rng.u64(..5_000) },
        "kill-leader" if choice.members.iter().filter(|(role, _)| *role == Role::Nats).count() > 1 => {
            Fault::KillLeader { down: rng.u64(..5_000) }
        }
        "terminate" => Fault::Terminate { target },
        // A store that hangs is a server that stands still.
        "stop" => Fault::Stop { target, lasts: if rng.u8(..4) == 0 { rng.u64(20_000..60_000) } else { lasts } },
        "cut" => {
            let (inward, outward) = [(true, false), (false, true), (true, true)][rng.usize(..3)];
            Fault::Cut { target, inward, outward, lasts }
        }
        "slow" => Fault::Slow { target, delay: rng.u64(1..150), loss_permille: rng.u32(..100), lasts },
        "starve" => Fault::Starve { target, percent: rng.u64(5..50), lasts },
        "kill-job" if role.is_worker() => Fault::KillJob { target },
        "stop-job" if role.is_worker() => Fault::StopJob { target, lasts },
        "kill-template" if *role == Role::Execute => Fault::KillTemplate { target },
        "sweep" if is_ours => Fault::SweepTemporary { target },
        "clock" if is_ours => {
            let seconds = [3_600, -3_600, 90, -90, 86_400 * 400][rng.usize(..5)];
            Fault::ClockJump { target, seconds, lasts }
        }
        "broken" if *role == Role::Execute => Fault::Broken { target, lasts: lasts * 2 },
        "lose" => Fault::LoseArtifact { which: rng.usize(..) },
        "flip" => Fault::FlipBit { which: rng.usize(..), bit: rng.usize(..) },
        "full" if choice.store == StoreKind::Folder => Fault::StoreFull { lasts },
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_schedule_with_every_kind_and_no_fault_that_is_impossible() {
        let members = vec![
            (Role::Nats, "nats-0".into()),
            (Role::Nats, "nats-1".into()),
            (Role::Coordinator, "coordinator-0".into()),
            (Role::Execute, "execute-0".into()),
            (Role::Client, "client-0".into()),
        ];
        let kinds: Vec<String> = KINDS.iter().map(|kind| (*kind).into()).collect();
        let choice = Choice { members, kinds, store: StoreKind::Folder, every: 1000 };
        let of = |seed, store| steps(seed, Choice { store, ..choice.clone() }).take(1000).collect::<Vec<_>>();
        let folder = of(1, StoreKind::Folder);
        assert_eq!(folder, of(1, StoreKind::Folder));
        assert_ne!(folder, of(2, StoreKind::Folder));
        assert!(KINDS.iter().all(|kind| folder.iter().any(|step| step.fault.kind() == *kind)));
        assert!(of(1, StoreKind::S3).iter().all(|step| step.fault.kind() != "full"));
        let text = serde_json::to_string(&folder).unwrap();
        assert_eq!(serde_json::from_str::<Vec<Step>>(&text).unwrap(), folder);
    }
}
