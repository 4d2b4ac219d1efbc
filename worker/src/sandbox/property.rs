//! What the sandbox promises, and which mechanisms keep each promise. A property that more than one mechanism enforces
//! still holds if one of them is missing or has a hole.

use super::{
    LandlockAbi,
    Mechanism::{
        self, Capabilities, CgroupNamespace, EmptyRoot, IpcNamespace, Limits, NetworkNamespace, NoNewPrivileges,
        PidNamespace, Seccomp, UserNamespace, UtsNamespace,
    },
};
use std::fmt;

/// A property that the sandbox gives to each job process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Property {
    /// It opens no file for reading and lists no directory.
    FilesRead,
    /// It changes the content of no file, and creates, renames or removes none.
    FilesWritten,
    /// It does not learn which files exist or what their attributes are, and changes no attribute.
    FilesSeen,
    /// It neither connects by TCP nor accepts connections.
    Tcp,
    /// It reaches no network by any other protocol.
    Network,
    /// It connects to no UNIX socket that has a path.
    PathSockets,
    /// It connects to no UNIX socket that has an abstract name.
    AbstractSockets,
    /// Its signals reach no process outside of its template and the template's forks.
    Signals,
    /// It sees no such process.
    Processes,
    /// It does not touch another job of the same artifact, or the template.
    OtherJobs,
    /// No process that it makes outlives its template.
    LeftProcesses,
    /// It shares no System V memory, semaphore or message queue with another process.
    SharedMemory,
    /// It gains no privilege by executing a file.
    PrivilegesGained,
    /// It has no capability over anything outside of its own namespaces.
    Privileges,
    /// It cannot change the name of the machine.
    HostName,
    /// It does not see its own cgroups.
    Cgroups,
    /// Its address space, descriptors and files are bounded; the supervisor bounds its time.
    Resources,
    /// It makes only the system calls that a job needs.
    SystemCalls,
}

/// A mechanism that enforces a property by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enforcer {
    /// Any mechanism but landlock.
    By(Mechanism),
    /// Landlock from this ABI on.
    Landlock(LandlockAbi),
}

impl Enforcer {
    /// The mechanism.
    pub fn mechanism(self) -> Mechanism {
        match self {
            Self::By(mechanism) => mechanism,
            Self::Landlock(_) => Mechanism::Landlock,
        }
    }
}

impl fmt::Display for Enforcer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::By(mechanism) => mechanism.fmt(f),
            Self::Landlock(abi) => write!(f, "landlock ABI {abi}"),
        }
    }
}

impl Property {
    /// Every property, in the order of reports.
    pub const ALL: [Self; 18] = [
        Self::FilesRead,
        Self::FilesWritten,
        Self::FilesSeen,
        Self::Tcp,
        Self::Network,
        Self::PathSockets,
        Self::AbstractSockets,
        Self::Signals,
        Self::Processes,
        Self::OtherJobs,
        Self::LeftProcesses,
        Self::SharedMemory,
        Self::PrivilegesGained,
        Self::Privileges,
        Self::HostName,
        Self::Cgroups,
        Self::Resources,
        Self::SystemCalls,
    ];

    /// Name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::FilesRead => "no file read",
            Self::FilesWritten => "no file written",
            Self::FilesSeen => "no file seen",
            Self::Tcp => "no TCP",
            Self::Network => "no network",
            Self::PathSockets => "no path sockets",
            Self::AbstractSockets => "no abstract sockets",
            Self::Signals => "no signals out",
            Self::Processes => "no processes seen",
            Self::OtherJobs => "no job touched",
            Self::LeftProcesses => "no process left",
            Self::SharedMemory => "no shared memory",
            Self::PrivilegesGained => "no privilege gain",
            Self::Privileges => "no capability",
            Self::HostName => "no name changed",
            Self::Cgroups => "no cgroup seen",
            Self::Resources => "resources bounded",
            Self::SystemCalls => "few system calls",
        }
    }

    /// The mechanisms of which each enforces the property by itself. Left out are those that enforce a part of it only:
    /// the limit of descriptors stops a job from opening a file, but not from removing one.
    pub fn enforcers(self) -> &'static [Enforcer] {
        use Enforcer::{By, Landlock};
        match self {
            Self::FilesRead => &[By(EmptyRoot), Landlock(LandlockAbi::V1), By(Seccomp)],
            Self::FilesWritten => &[By(EmptyRoot), Landlock(LandlockAbi::V3), By(Seccomp)],
            Self::FilesSeen | Self::PathSockets => &[By(EmptyRoot), By(Seccomp)],
            Self::Tcp => &[By(NetworkNamespace), Landlock(LandlockAbi::V4), By(Seccomp)],
            Self::Network => &[By(NetworkNamespace), By(Seccomp)],
            Self::AbstractSockets => &[By(NetworkNamespace), Landlock(LandlockAbi::V6), By(Seccomp)],
            Self::Signals => &[By(PidNamespace), Landlock(LandlockAbi::V6), By(Seccomp)],
            Self::Processes | Self::LeftProcesses => &[By(PidNamespace), By(Seccomp)],
            // They are in the same namespaces and the same landlock domain.
            Self::OtherJobs | Self::SystemCalls => &[By(Seccomp)],
            Self::SharedMemory => &[By(IpcNamespace), By(Seccomp)],
            Self::PrivilegesGained => &[By(NoNewPrivileges), By(Seccomp)],
            Self::Privileges => &[By(UserNamespace), By(Capabilities)],
            Self::HostName => &[By(UtsNamespace), By(Capabilities), By(Seccomp)],
            Self::Cgroups => &[By(CgroupNamespace), By(EmptyRoot), Landlock(LandlockAbi::V1), By(Seccomp)],
            Self::Resources => &[By(Limits)],
        }
    }

    /// The mechanisms that enforce it, with the landlock ABI where it matters, for people.
    pub fn enforcers_named(self) -> String {
        self.enforcers().iter().map(Enforcer::to_string).collect::<Vec<_>>().join(", ")
    }
}

impl fmt::Display for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mechanism_enforces_a_property_or_makes_another_possible() {
        for mechanism in Mechanism::ALL {
            let enforces = |property: &Property| property.enforcers().iter().any(|e| e.mechanism() == mechanism);
            // The empty root is made of it.
            let used = mechanism == Mechanism::MountNamespace || Property::ALL.iter().any(enforces);
            assert!(used, "{mechanism}");
        }
    }

    #[test]
    fn the_threat_model_lists_each_property_with_its_mechanisms() {
        let text = include_str!("../../../docs/design/threat-model.md");
        for property in Property::ALL {
            let row = format!("| {property} | {} |", property.enforcers_named());
            assert!(text.contains(&row), "docs/design/threat-model.md has no row {row:?}");
        }
    }
}
