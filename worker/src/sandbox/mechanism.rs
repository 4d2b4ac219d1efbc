//! The mechanisms of the sandbox, and the set of them that job processes apply.

use super::LandlockAbi;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// One mechanism of the sandbox that confines job processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mechanism {
    /// User namespace: lets an unprivileged worker create the other namespaces.
    UserNamespace,
    /// PID namespace: hides other processes, and its end kills every process in it.
    PidNamespace,
    /// Mount namespace: required by the empty root.
    MountNamespace,
    /// Network namespace without interfaces.
    NetworkNamespace,
    /// IPC namespace: hides System V shared memory and message queues.
    IpcNamespace,
    /// UTS namespace: separates the host name.
    UtsNamespace,
    /// Cgroup namespace: hides the cgroup of the worker.
    CgroupNamespace,
    /// Empty, read-only root directory.
    EmptyRoot,
    /// `no_new_privs`: set-user-ID bits and file capabilities have no effect.
    NoNewPrivileges,
    /// Landlock: no file access; depending on its ABI also no TCP, and no signals and abstract UNIX sockets across its
    /// domain.
    Landlock,
    /// Empty capability sets, in its own namespaces too.
    Capabilities,
    /// Resource limits: address space, file size, descriptors, processes, locked memory, core dumps.
    Limits,
    /// Seccomp: only the system calls of an allow-list.
    Seccomp,
}

impl Mechanism {
    /// Every mechanism, in the order of reports and of [`super::Report::findings`].
    pub const ALL: [Self; 13] = [
        Self::UserNamespace,
        Self::PidNamespace,
        Self::MountNamespace,
        Self::NetworkNamespace,
        Self::IpcNamespace,
        Self::UtsNamespace,
        Self::CgroupNamespace,
        Self::EmptyRoot,
        Self::NoNewPrivileges,
        Self::Landlock,
        Self::Capabilities,
        Self::Limits,
        Self::Seccomp,
    ];

    /// Name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::UserNamespace => "user namespace",
            Self::PidNamespace => "pid namespace",
            Self::MountNamespace => "mount namespace",
            Self::NetworkNamespace => "network namespace",
            Self::IpcNamespace => "ipc namespace",
            Self::UtsNamespace => "uts namespace",
            Self::CgroupNamespace => "cgroup namespace",
            Self::EmptyRoot => "empty root",
            Self::Landlock => "landlock",
            Self::NoNewPrivileges => "no new privileges",
            Self::Capabilities => "capabilities",
            Self::Limits => "limits",
            Self::Seccomp => "seccomp",
        }
    }

    /// Advice for the operator of a machine where the mechanism is missing.
    pub fn fix(self) -> &'static str {
        match self {
            Self::UserNamespace => {
                "allow unprivileged user namespaces: sysctl user.max_user_namespaces=10000, and where they exist \
                 kernel.unprivileged_userns_clone=1 and kernel.apparmor_restrict_unprivileged_userns=0; in a \
                 container, use compose/seccomp.json as its seccomp profile (security_opt)"
            }
            Self::PidNamespace
            | Self::MountNamespace
            | Self::NetworkNamespace
            | Self::IpcNamespace
            | Self::UtsNamespace
            | Self::CgroupNamespace => {
                "requires the user namespace, kernel support, and sysctl user.max_*_namespaces above 0; in a \
                 container, use compose/seccomp.json as its seccomp profile (security_opt)"
            }
            Self::EmptyRoot => {
                "requires the mount namespace, a / that is a mount point (neither an initramfs nor a chroot), /proc, \
                 and in a container both compose/seccomp.json and apparmor=unconfined (security_opt)"
            }
            Self::Landlock => {
                "requires Linux 5.13 or newer (landlock ABI 1) with landlock in the boot parameter lsm=; in a \
                 container, use compose/seccomp.json as its seccomp profile (security_opt)"
            }
            Self::NoNewPrivileges => "requires Linux 3.5 or newer",
            Self::Capabilities => "requires the user namespace, or a worker that has CAP_SETPCAP",
            Self::Limits => "raise the hard limits that are below the needs of a job (ulimit -H)",
            Self::Seccomp => "requires a kernel with CONFIG_SECCOMP_FILTER on x86-64 or aarch64",
        }
    }
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Mechanisms by their names, as command lines and variables have them: `landlock,user-namespace`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MechanismNames(pub Vec<Mechanism>);

impl FromStr for MechanismNames {
    type Err = String;

    fn from_str(names: &str) -> Result<Self, String> {
        let names = names.split(',').map(str::trim).filter(|name| !name.is_empty());
        let find = |name: &str| {
            let found = Mechanism::ALL.into_iter().find(|mechanism| written(*mechanism) == name);
            found.ok_or_else(|| format!("no mechanism of the sandbox; they are {}", Self(Mechanism::ALL.to_vec())))
        };
        names.map(find).collect::<Result<_, _>>().map(Self)
    }
}

impl fmt::Display for MechanismNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.iter().map(|mechanism| written(*mechanism)).collect::<Vec<_>>().join(","))
    }
}

/// The name of a mechanism as one word.
fn written(mechanism: Mechanism) -> String {
    mechanism.name().replace(' ', "-")
}

/// The set of mechanisms that every job process must apply. A job process that fails to apply one ends before it reads
/// its job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    mechanisms: u16,
    landlock: LandlockAbi,
}

impl Plan {
    /// The empty set.
    pub const NONE: Self = Self { mechanisms: 0, landlock: LandlockAbi::HIGHEST };

    /// Every mechanism, with the highest landlock ABI.
    pub fn all() -> Self {
        Mechanism::ALL.into_iter().fold(Self::NONE, Self::with)
    }

    /// The set with one more mechanism.
    #[must_use]
    pub fn with(self, mechanism: Mechanism) -> Self {
        Self { mechanisms: self.mechanisms | 1 << mechanism as u16, ..self }
    }

    /// The set without one mechanism.
    #[must_use]
    pub fn without(self, mechanism: Mechanism) -> Self {
        Self { mechanisms: self.mechanisms & !(1 << mechanism as u16), ..self }
    }

    /// Whether the set contains a mechanism.
    pub fn has(self, mechanism: Mechanism) -> bool {
        self.mechanisms & 1 << mechanism as u16 != 0
    }

    /// The same set with this landlock ABI.
    #[must_use]
    pub fn with_landlock_abi(self, landlock: LandlockAbi) -> Self {
        Self { landlock, ..self }
    }

    /// The landlock ABI that must take hold, if landlock is in the set.
    pub fn landlock_abi(self) -> LandlockAbi {
        self.landlock
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adding_and_removing_a_mechanism_leaves_the_others_alone() {
        for one in Mechanism::ALL {
            let plan = Plan::NONE.with(one);
            assert!(Mechanism::ALL.into_iter().all(|other| plan.has(other) == (one == other)));
            assert_eq!(plan.without(one), Plan::NONE);
            let old = plan.with_landlock_abi(LandlockAbi::V1);
            assert!(old.has(one) && old.landlock_abi() == LandlockAbi::V1 && old.without(one).with(one) == old);
        }
    }

    #[test]
    fn mechanisms_are_named_by_one_word_each() {
        let all = MechanismNames(Mechanism::ALL.to_vec());
        assert_eq!(all.to_string().parse(), Ok(all));
        let names = " landlock, no-new-privileges,,".parse();
        assert_eq!(names, Ok(MechanismNames(vec![Mechanism::Landlock, Mechanism::NoNewPrivileges])));
        assert_eq!("".parse(), Ok(MechanismNames::default()));
        for unknown in ["landlock-scope", "all", "Landlock"] {
            let error = unknown.parse::<MechanismNames>().unwrap_err();
            assert!(error.contains("user-namespace") && error.contains("landlock"), "{error}");
        }
    }
}
