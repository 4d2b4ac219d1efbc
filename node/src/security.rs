//! What a node asks its worker executables about the security of the machine, answered for the fleet: a mechanism is
//! there if no worker that runs untrusted code misses it.

use pvf_shared::wire::{FleetStatus, WorkerKind};
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
    fn mechanisms(self) -> &'static [&'static str] {
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
    /// Each missing mechanism with a machine that misses it.
    missing: Vec<(String, String)>,
    /// Workers that run though their sandbox does not have every property, by their machines.
    insecure: Vec<String>,
    /// How many workers there are.
    workers: usize,
}

impl FleetSecurity {
    /// Of a fleet in this state.
    ///
    /// # Errors
    /// It has no execute worker, so nothing is known.
    pub fn of(status: &FleetStatus) -> Result<Self, String> {
        if !status.workers.iter().any(|worker| worker.kind == WorkerKind::Execute) {
            return Err("the fleet has no execute worker at present".into());
        }
        let mut security = Self { workers: status.workers.len(), ..Self::default() };
        for worker in &status.workers {
            if !worker.security.secure {
                security.insecure.push(worker.host.clone());
            }
            for mechanism in &worker.security.missing {
                if !security.missing.iter().any(|(name, _)| name == mechanism) {
                    security.missing.push((mechanism.clone(), worker.host.clone()));
                }
            }
        }
        Ok(security)
    }

    /// How many workers there are.
    pub fn workers(&self) -> usize {
        self.workers
    }

    /// Answers a question.
    ///
    /// # Errors
    /// What is missing, and where.
    pub fn answer(&self, probe: Probe) -> Result<(), String> {
        let missing: Vec<_> = self
            .missing
            .iter()
            .filter(|(name, _)| probe.mechanisms().contains(&name.as_str()))
            .map(|(name, host)| format!("{name} is missing on {host}"))
            .collect();
        if missing.is_empty() { Ok(()) } else { Err(format!("a worker of the fleet: {}", missing.join(", "))) }
    }

    /// The machines with a worker that does not enforce every property of the sandbox.
    pub fn insecure(&self) -> &[String] {
        &self.insecure
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn security(missing: &[&str]) -> FleetSecurity {
        let missing = missing.iter().map(|name| ((*name).to_owned(), "machine".to_owned())).collect();
        FleetSecurity { missing, insecure: vec![], workers: 1 }
    }

    #[test]
    fn a_mechanism_is_there_if_no_worker_misses_it() {
        for probe in Probe::ALL {
            assert_eq!(security(&[]).answer(probe), Ok(()));
            assert_eq!(security(&["limits", "something new"]).answer(probe), Ok(()));
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
