//! The mechanisms of the sandbox, and whether this machine supports each.

use pvf_shared::wire::SecurityStatus;
use serde::{Deserialize, Serialize};
use std::fmt;

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
    /// Landlock: no file access, TCP, or signals and abstract UNIX sockets across its domain.
    Landlock,
    /// Empty capability sets, in its own namespaces too.
    Capabilities,
    /// Resource limits: address space, file size, descriptors, processes, locked memory, core dumps.
    Limits,
    /// Seccomp: only the system calls of an allow-list.
    Seccomp,
}

impl Mechanism {
    /// Every mechanism, in the order of reports and of [`Report::findings`].
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
            Self::Landlock => "requires Linux 6.12 or newer (landlock ABI 6) with landlock in the boot parameter lsm=",
            Self::NoNewPrivileges => "requires Linux 3.5 or newer",
            Self::Capabilities => "requires the user namespace, or a worker that does not run as root",
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

/// The set of mechanisms that every job process must apply. A job process that fails to apply one ends before it reads
/// its job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan(u16);

impl Plan {
    /// The empty set.
    pub const NONE: Self = Self(0);

    /// Every mechanism.
    pub fn all() -> Self {
        Mechanism::ALL.into_iter().fold(Self::NONE, Self::with)
    }

    /// The set with one more mechanism.
    #[must_use]
    pub fn with(self, mechanism: Mechanism) -> Self {
        Self(self.0 | 1 << mechanism as u16)
    }

    /// The set without one mechanism.
    #[must_use]
    pub fn without(self, mechanism: Mechanism) -> Self {
        Self(self.0 & !(1 << mechanism as u16))
    }

    /// Whether the set contains a mechanism.
    pub fn has(self, mechanism: Mechanism) -> bool {
        self.0 & 1 << mechanism as u16 != 0
    }
}

/// The probe's result for one mechanism.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The mechanism.
    pub mechanism: Mechanism,
    /// Why the mechanism is missing; `None` if a child process verified that it is enforced.
    pub missing: Option<String>,
}

/// The probe's results on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// One finding for each mechanism, in the order of [`Mechanism::ALL`].
    pub findings: Vec<Finding>,
}

impl Report {
    /// A report in which every mechanism is missing, for one reason.
    pub fn none(why: &str) -> Self {
        let missing = |mechanism| Finding { mechanism, missing: Some(why.to_owned()) };
        Self { findings: Mechanism::ALL.into_iter().map(missing).collect() }
    }

    /// Whether no mechanism is missing.
    pub fn is_complete(&self) -> bool {
        self.plan() == Plan::all()
    }

    /// The mechanisms that work; job processes apply these.
    pub fn plan(&self) -> Plan {
        let works = self.findings.iter().filter(|finding| finding.missing.is_none());
        works.fold(Plan::NONE, |plan, finding| plan.with(finding.mechanism))
    }

    /// The report in the form that workers send to the coordinator.
    pub fn status(&self) -> SecurityStatus {
        let missing = self.findings.iter().filter_map(|f| Some(format!("{}: {}", f.mechanism, f.missing.as_ref()?)));
        SecurityStatus { secure: self.is_complete(), missing: missing.collect() }
    }

    /// The missing mechanisms with reason and fix, for the operator. Adjacent mechanisms that are missing for the same
    /// reason share an entry.
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
    fn a_report_names_missing_mechanisms_and_plans_the_others() {
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
    fn adding_and_removing_a_mechanism_leaves_the_others_alone() {
        for one in Mechanism::ALL {
            let plan = Plan::NONE.with(one);
            assert!(Mechanism::ALL.into_iter().all(|other| plan.has(other) == (one == other)));
            assert_eq!(plan.without(one), Plan::NONE);
        }
    }
}
