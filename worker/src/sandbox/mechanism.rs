//! The mechanisms by name, and what is known of each on this machine.

use pvf_shared::wire::SecurityStatus;
use serde::{Deserialize, Serialize};
use std::fmt;

/// One of the things that hold a job process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mechanism {
    /// Root of its own, so that the others can be had without privileges.
    UserNamespace,
    /// Sees no other processes, and leaves none behind.
    PidNamespace,
    /// Mounts of its own: what the empty root needs.
    MountNamespace,
    /// No network.
    NetworkNamespace,
    /// No shared memory or message queues of others.
    IpcNamespace,
    /// No host name of the machine.
    UtsNamespace,
    /// Does not see which cgroup it is in.
    CgroupNamespace,
    /// A root directory with nothing in it, which cannot be written.
    EmptyRoot,
    /// No set-user-id and the like.
    NoNewPrivileges,
    /// No file, no TCP, no signal or abstract socket to the outside.
    Landlock,
    /// No capabilities, not even in its own namespaces.
    Capabilities,
    /// Address space, file size, descriptors, processes, locked memory, core dumps.
    Limits,
    /// Only the system calls of a list.
    Seccomp,
}

impl Mechanism {
    /// All of them, in the order in which people read them.
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

    /// Its name.
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

    /// What an operator can do where it is missing.
    pub fn fix(self) -> &'static str {
        match self {
            Self::UserNamespace => {
                "allow unprivileged user namespaces: sysctl user.max_user_namespaces=10000, and where they exist \
                 kernel.unprivileged_userns_clone=1 and kernel.apparmor_restrict_unprivileged_userns=0; in a container \
                 use compose/seccomp.json as its seccomp profile (security_opt)"
            }
            Self::PidNamespace
            | Self::MountNamespace
            | Self::NetworkNamespace
            | Self::IpcNamespace
            | Self::UtsNamespace
            | Self::CgroupNamespace => {
                "it needs the user namespace, a kernel with it, and sysctl user.max_*_namespaces above 0; in a \
                 container use compose/seccomp.json as its seccomp profile (security_opt)"
            }
            Self::EmptyRoot => {
                "it needs the mount namespace, a / that is a mount point (not an initramfs, not a chroot), /proc, and in \
                 a container both compose/seccomp.json and apparmor=unconfined (security_opt)"
            }
            Self::Landlock => "Linux 6.12 or newer (landlock ABI 6) with landlock among the boot parameter lsm=…",
            Self::NoNewPrivileges => "Linux 3.5 or newer",
            Self::Capabilities => "it needs the user namespace, or a worker that is not root",
            Self::Limits => "raise the hard limits that are below what a job needs (ulimit -H)",
            Self::Seccomp => "a kernel with CONFIG_SECCOMP_FILTER on x86-64 or aarch64",
        }
    }
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The mechanisms that job processes are to use: each of them must take hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan(u16);

impl Plan {
    /// No mechanism at all.
    pub const NONE: Self = Self(0);

    /// Every mechanism.
    pub fn all() -> Self {
        Mechanism::ALL.into_iter().fold(Self::NONE, Self::with)
    }

    /// This and one more.
    #[must_use]
    pub fn with(self, mechanism: Mechanism) -> Self {
        Self(self.0 | 1 << mechanism as u16)
    }

    /// This without one.
    #[must_use]
    pub fn without(self, mechanism: Mechanism) -> Self {
        Self(self.0 & !(1 << mechanism as u16))
    }

    /// Whether a mechanism is of it.
    pub fn has(self, mechanism: Mechanism) -> bool {
        self.0 & 1 << mechanism as u16 != 0
    }
}

/// What is known of one mechanism.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Which.
    pub mechanism: Mechanism,
    /// Why it does not work; absent: it works, a child proved it.
    pub missing: Option<String>,
}

/// What a child found out about this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// One for each mechanism.
    pub findings: Vec<Finding>,
}

impl Report {
    /// All are missing for one reason.
    pub fn none(why: &str) -> Self {
        let missing = |mechanism| Finding { mechanism, missing: Some(why.to_owned()) };
        Self { findings: Mechanism::ALL.into_iter().map(missing).collect() }
    }

    /// Whether every mechanism works.
    pub fn is_complete(&self) -> bool {
        self.plan() == Plan::all()
    }

    /// What job processes are to use: all that works.
    pub fn plan(&self) -> Plan {
        let works = self.findings.iter().filter(|finding| finding.missing.is_none());
        works.fold(Plan::NONE, |plan, finding| plan.with(finding.mechanism))
    }

    /// As the coordinator is told.
    pub fn status(&self) -> SecurityStatus {
        let missing = self.findings.iter().filter_map(|f| Some(format!("{}: {}", f.mechanism, f.missing.as_ref()?)));
        SecurityStatus { secure: self.is_complete(), missing: missing.collect() }
    }

    /// What is missing, why, and what helps; what is missing for the same reason together.
    pub fn complaint(&self) -> String {
        let mut lines = Vec::new();
        for why in self.findings.chunk_by(|one, next| one.missing == next.missing) {
            let Some(Finding { mechanism: first, missing: Some(reason) }) = why.first() else { continue };
            let names: Vec<_> = why.iter().map(|finding| finding.mechanism.name()).collect();
            lines.push(format!("  {}: {reason}\n    fix: {}", names.join(", "), first.fix()));
        }
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_says_what_is_missing_and_plans_the_rest() {
        let mut report = Report::none("why");
        assert_eq!((report.plan(), report.is_complete()), (Plan::NONE, false));
        for finding in &mut report.findings {
            finding.missing = None;
        }
        assert!(report.is_complete() && report.status() == SecurityStatus { secure: true, missing: vec![] });
        report.findings[9].missing = Some("too old".into());
        assert_eq!(report.plan(), Plan::all().without(Mechanism::Landlock));
        assert_eq!(report.status(), SecurityStatus { secure: false, missing: vec!["landlock: too old".into()] });
        let complaint = report.complaint();
        assert!(complaint.contains("too old") && complaint.contains("lsm=") && !complaint.contains("seccomp"));
    }

    #[test]
    fn a_plan_is_a_set() {
        for one in Mechanism::ALL {
            let plan = Plan::NONE.with(one);
            assert!(Mechanism::ALL.into_iter().all(|other| plan.has(other) == (one == other)));
            assert_eq!(plan.without(one), Plan::NONE);
        }
    }
}
