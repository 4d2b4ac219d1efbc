//! What a node asks its worker executables about the security of the machine, answered for the fleet: a mechanism is
//! there if no worker that runs untrusted code misses it.

use pvf_shared::wire::{FleetStatus, MissingMechanism, SandboxSummary};
use serde::{Deserialize, Serialize};

/// A question of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probe {
    /// `--check-can-enable-landlock`
    Landlock,
    /// `--check-can-enable-seccomp`
    Seccomp,
    /// `--check-can-unshare-user-namespace-and-change-root`
    ChangeRoot,
    /// `--check-can-do-secure-clone`
    SecureClone,
}

impl Probe {
    /// All questions.
    pub const ALL: [Self; 4] = [Self::Landlock, Self::Seccomp, Self::ChangeRoot, Self::SecureClone];

    /// The option by which a node asks.
    pub fn option(self) -> &'static str {
        match self {
            Self::Landlock => "--check-can-enable-landlock",
            Self::Seccomp => "--check-can-enable-seccomp",
            Self::ChangeRoot => "--check-can-unshare-user-namespace-and-change-root",
            Self::SecureClone => "--check-can-do-secure-clone",
        }
    }

    /// The mechanisms of a worker's sandbox that the question is about, by their names in a worker's status.
    pub fn mechanisms(self) -> &'static [&'static str] {
        match self {
            Self::Landlock => &["landlock"],
            Self::Seccomp => &["seccomp"],
            Self::ChangeRoot => &["user namespace", "mount namespace", "empty root"],
            Self::SecureClone => {
                &["pid namespace", "network namespace", "ipc namespace", "uts namespace", "cgroup namespace"]
            }
        }
    }
}

/// What the workers of a fleet miss.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetSecurity {
    sandboxes: SandboxSummary,
    /// How many workers there are.
    workers: u64,
}

impl FleetSecurity {
    /// Of a fleet in this state.
    ///
    /// # Errors
    /// It has no execute worker, or not all of its workers are known, so nothing is.
    pub fn of(status: &FleetStatus) -> Result<Self, String> {
        let workers = status.prepare.workers + status.execute.workers;
        if status.execute.workers == 0 {
            return Err("the fleet has no execute worker at present".into());
        }
        let sandboxes = match &status.sandboxes {
            Some(sandboxes) => sandboxes.clone(),
            None => {
                let (version, least) = (&status.version, env!("CARGO_PKG_VERSION"));
                return Err(format!("the coordinator, of version {version}, does not say it; {least} does"));
            }
        };
        Ok(Self { sandboxes, workers })
    }

    /// How many workers there are.
    pub fn workers(&self) -> u64 {
        self.workers
    }

    /// Answers a question.
    ///
    /// # Errors
    /// What is missing, and where.
    pub fn answer(&self, probe: Probe) -> Result<(), String> {
        let missing = self
            .sandboxes
            .missing
            .iter()
            .filter(|entry| probe.mechanisms().contains(&entry.mechanism.as_str()))
            .map(|MissingMechanism { mechanism, host }| format!("{mechanism} is missing on {host}"));
        // No mechanism stands for the whole sandbox. Seccomp is the one that a node in secure mode never does without.
        let incomplete = (probe == Probe::Seccomp && !self.insecure().is_empty())
            .then(|| format!("the sandbox is not complete on {}", self.insecure().join(", ")));
        let missing: Vec<_> = missing.into_iter().chain(incomplete).collect();
        if missing.is_empty() { Ok(()) } else { Err(format!("a worker of the fleet: {}", missing.join(", "))) }
    }

    /// The machines with a worker that does not enforce every property of the sandbox.
    pub fn insecure(&self) -> &[String] {
        &self.sandboxes.insecure
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pvf_testkit::fixtures::fleet_status;

    fn security(missing: &[&str]) -> FleetSecurity {
        let missing =
            missing.iter().map(|name| MissingMechanism { mechanism: (*name).into(), host: "machine".into() }).collect();
        FleetSecurity { sandboxes: SandboxSummary { missing, insecure: vec![] }, workers: 1 }
    }

    fn status(execute: u64, sandboxes: Option<SandboxSummary>) -> FleetStatus {
        FleetStatus { prepare: (1, 1).into(), execute: (execute, execute).into(), sandboxes, ..fleet_status() }
    }

    #[test]
    fn nothing_is_known_of_a_fleet_that_does_not_say_it() {
        let summary = security(&["seccomp"]).sandboxes;
        let known = FleetSecurity::of(&status(300, Some(summary))).unwrap();
        assert_eq!((known.workers(), known.answer(Probe::Seccomp).is_err()), (301, true));
        assert!(
            FleetSecurity::of(&status(0, Some(SandboxSummary::default()))).unwrap_err().contains("no execute worker")
        );
        assert!(FleetSecurity::of(&status(1, None)).unwrap_err().contains("version test"));
    }

    #[test]
    fn a_mechanism_is_there_if_no_worker_misses_it() {
        for probe in Probe::ALL {
            assert_eq!(security(&[]).answer(probe), Ok(()));
            assert_eq!(security(&["limits", "something new"]).answer(probe), Ok(()));
            let insecure = SandboxSummary { missing: vec![], insecure: vec!["machine".into()] };
            let incomplete = FleetSecurity { sandboxes: insecure, workers: 1 };
            assert_eq!(incomplete.answer(probe).is_err(), probe == Probe::Seccomp);
            for mechanism in probe.mechanisms() {
                let error = security(&[mechanism]).answer(probe).unwrap_err();
                assert!(error.contains(mechanism) && error.contains("machine"), "{error}");
                for other in Probe::ALL.into_iter().filter(|other| *other != probe) {
                    assert_eq!(security(&[mechanism]).answer(other), Ok(()));
                }
            }
        }
    }
}
