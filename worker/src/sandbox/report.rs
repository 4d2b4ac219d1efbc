//! What the probe found on this machine: the mechanisms that work, and with them the properties that are enforced.

use super::{Enforcer, LandlockFound, Mechanism, MechanismNames, Plan, Property};
use pvf_shared::wire::SecurityStatus;
use serde::{Deserialize, Serialize};

/// The probe's result for one mechanism.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The mechanism.
    pub mechanism: Mechanism,
    /// Why the mechanism is missing; `None` if a child process verified that it is enforced.
    pub missing: Option<String>,
}

/// The probe's results on this machine, and what the operator agreed to do without.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// One finding for each mechanism, in the order of [`Mechanism::ALL`].
    pub findings: Vec<Finding>,
    /// The landlock ABI that is used; `None` where landlock is missing.
    pub landlock: Option<LandlockFound>,
    /// Mechanisms that may be missing, by the operator's word.
    allowed: Plan,
}

impl Report {
    /// The report of these findings.
    pub(super) fn new(findings: Vec<Finding>, landlock: Option<LandlockFound>) -> Self {
        Self { findings, landlock, allowed: Plan::NONE }
    }

    /// A report in which every mechanism is missing, for one reason.
    pub fn none(why: &str) -> Self {
        let missing = |mechanism| Finding { mechanism, missing: Some(why.to_owned()) };
        Self::new(Mechanism::ALL.into_iter().map(missing).collect(), None)
    }

    /// The same report of a machine whose operator agrees to these mechanisms missing. Those that work are applied
    /// nevertheless.
    #[must_use]
    pub fn allowing(self, mechanisms: &[Mechanism]) -> Self {
        Self { allowed: mechanisms.iter().fold(self.allowed, |allowed, one| allowed.with(*one)), ..self }
    }

    /// Whether no mechanism is missing, and each property is enforced. The landlock ABI may be any.
    pub fn is_complete(&self) -> bool {
        self.missing().next().is_none() && self.unenforced().is_empty()
    }

    /// Whether no mechanism is missing but those that the operator named, and each property is enforced by another.
    pub fn is_secure(&self) -> bool {
        self.missing().all(|(mechanism, _)| self.is_allowed(mechanism)) && self.unenforced().is_empty()
    }

    /// Whether the operator agreed that this mechanism may be missing.
    pub fn is_allowed(&self, mechanism: Mechanism) -> bool {
        self.allowed.has(mechanism)
    }

    /// The missing mechanisms with the reasons.
    fn missing(&self) -> impl Iterator<Item = (Mechanism, &str)> {
        self.findings.iter().filter_map(|finding| Some((finding.mechanism, finding.missing.as_deref()?)))
    }

    /// The mechanisms that work; job processes apply these.
    pub fn plan(&self) -> Plan {
        let works = self.findings.iter().filter(|finding| finding.missing.is_none());
        let plan = works.fold(Plan::NONE, |plan, finding| plan.with(finding.mechanism));
        self.landlock.as_ref().map_or(plan, |landlock| plan.with_landlock_abi(landlock.used))
    }

    /// The mechanisms that work and enforce this property, each by itself: their number says how deep the defence is.
    pub fn enforcing(&self, property: Property) -> Vec<Enforcer> {
        let plan = self.plan();
        let works = |enforcer: &Enforcer| match *enforcer {
            Enforcer::By(mechanism) => plan.has(mechanism),
            Enforcer::Landlock(abi) => {
                let used = self.landlock.as_ref().is_some_and(|landlock| landlock.used >= abi);
                plan.has(Mechanism::Landlock) && used
            }
        };
        property.enforcers().iter().copied().filter(works).collect()
    }

    /// The properties that nothing enforces.
    pub fn unenforced(&self) -> Vec<Property> {
        Property::ALL.into_iter().filter(|property| self.enforcing(*property).is_empty()).collect()
    }

    /// The report in the form that workers send to the coordinator: `missing` lists also what the operator allowed to
    /// be missing, and says so.
    pub fn status(&self) -> SecurityStatus {
        let missing = self.missing().map(|(mechanism, why)| {
            let allowed = if self.is_allowed(mechanism) { " (allowed to be missing)" } else { "" };
            format!("{mechanism}: {why}{allowed}")
        });
        SecurityStatus { secure: self.is_secure(), missing: missing.collect() }
    }

    /// One line for the log.
    pub fn summary(&self) -> String {
        let depth = Property::ALL.into_iter().map(|property| self.enforcing(property).len()).min().unwrap_or(0);
        let landlock = match &self.landlock {
            Some(landlock) => format!("landlock ABI {} of {} offered", landlock.used, landlock.offered),
            None => "no landlock".into(),
        };
        let missing = MechanismNames(self.missing().map(|(mechanism, _)| mechanism).collect());
        let missing = if missing.0.is_empty() { String::new() } else { format!("; missing: {missing}") };
        format!("{landlock}; each property is enforced by at least {depth} mechanism(s){missing}")
    }

    /// What is missing without the operator's word, with reason and fix, and the properties that nothing enforces.
    /// Adjacent mechanisms that are missing for the same reason share an entry.
    pub fn complaint(&self) -> String {
        let mut lines = Vec::new();
        let unexpected: Vec<_> = self.missing().filter(|(mechanism, _)| !self.is_allowed(*mechanism)).collect();
        for same in unexpected.chunk_by(|(_, one), (_, next)| one == next) {
            let [(first, reason), ..] = same else { continue };
            let names: Vec<_> = same.iter().map(|(mechanism, _)| mechanism.name()).collect();
            lines.push(format!("  {}: {reason}\n    fix: {}", names.join(", "), first.fix()));
        }
        for property in self.unenforced() {
            lines.push(format!("  not enforced: {property}; it takes one of: {}", property.enforcers_named()));
        }
        lines.join("\n")
    }

    /// How to start a worker in spite of what is missing.
    pub fn way_out(&self) -> String {
        if !self.unenforced().is_empty() {
            return "No flag but the deprecated --insecure-best-effort starts a worker where a property is not enforced; \
                    only where all validation code is trusted"
                .into();
        }
        let missing = MechanismNames(self.missing().map(|(mechanism, _)| mechanism).collect());
        format!("Other mechanisms enforce each property. To start without these: --allow-missing {missing}")
    }
}

#[cfg(test)]
mod tests {
    use super::{super::LandlockAbi, *};

    /// A machine without these mechanisms, and with this landlock ABI.
    fn machine(missing: &[Mechanism], used: LandlockAbi) -> Report {
        let finding = |mechanism| {
            let why = missing.contains(&mechanism).then(|| "too old".to_owned());
            Finding { mechanism, missing: why }
        };
        let landlock = LandlockFound { used, offered: used.number().into(), higher: None };
        Report::new(Mechanism::ALL.into_iter().map(finding).collect(), Some(landlock))
    }

    #[test]
    fn a_report_names_missing_mechanisms_and_plans_the_others() {
        let report = Report::none("why");
        assert_eq!((report.plan(), report.is_complete(), report.is_secure()), (Plan::NONE, false, false));
        let report = machine(&[], LandlockAbi::V6);
        assert!(report.is_complete() && report.status() == SecurityStatus { secure: true, missing: vec![] });
        assert_eq!(report.plan(), Plan::all());
        let report = machine(&[Mechanism::Landlock], LandlockAbi::V6);
        assert_eq!(report.plan(), Plan::all().without(Mechanism::Landlock));
        assert_eq!(report.status(), SecurityStatus { secure: false, missing: vec!["landlock: too old".into()] });
        let complaint = report.complaint();
        assert!(complaint.contains("too old") && complaint.contains("lsm=") && !complaint.contains("seccomp:"));
        assert!(report.way_out().ends_with("--allow-missing landlock"), "{}", report.way_out());
    }

    #[test]
    fn the_oldest_landlock_leaves_a_sandbox_complete_with_less_depth() {
        for abi in LandlockAbi::ALL {
            let report = machine(&[], abi);
            assert!(report.is_complete() && report.is_secure() && report.plan().landlock_abi() == abi);
            for (property, without, since) in [
                (Property::FilesRead, 2, LandlockAbi::V1),
                (Property::FilesWritten, 2, LandlockAbi::V3),
                (Property::Tcp, 2, LandlockAbi::V4),
                (Property::AbstractSockets, 2, LandlockAbi::V6),
                (Property::Signals, 2, LandlockAbi::V6),
            ] {
                let deep = report.enforcing(property).len();
                assert_eq!(deep, without + usize::from(abi >= since), "{property} at ABI {abi}");
            }
        }
    }

    #[test]
    fn a_missing_mechanism_needs_consent_by_its_own_name() {
        for missing in Mechanism::ALL {
            let report = machine(&[missing], LandlockAbi::V1);
            assert!(!report.is_secure(), "{missing}");
            for other in Mechanism::ALL.into_iter().filter(|other| *other != missing) {
                assert!(!report.clone().allowing(&[other]).is_secure(), "{other} for {missing}");
            }
            let report = report.allowing(&[missing]);
            // What only this mechanism enforces.
            let lost = match missing {
                Mechanism::Limits => vec![Property::Resources],
                Mechanism::Seccomp => vec![Property::OtherJobs, Property::SystemCalls],
                _ => vec![],
            };
            assert_eq!((report.unenforced(), report.is_secure()), (lost.clone(), lost.is_empty()), "{missing}");
            assert!(!report.is_complete());
            let status = report.status();
            assert_eq!(status.secure, lost.is_empty());
            assert_eq!(status.missing, [format!("{missing}: too old (allowed to be missing)")]);
            for property in lost {
                assert!(report.complaint().contains(&format!("not enforced: {property}")), "{}", report.complaint());
                assert!(!report.way_out().contains("--allow-missing"));
            }
        }
    }

    #[test]
    fn consent_to_mechanisms_that_together_are_the_last_of_a_property_is_not_enough() {
        let both = [Mechanism::UserNamespace, Mechanism::Capabilities];
        for one in both {
            assert!(machine(&[one], LandlockAbi::V1).allowing(&both).is_secure());
        }
        let report = machine(&both, LandlockAbi::V1).allowing(&both);
        assert!(!report.is_secure() && report.unenforced() == [Property::Privileges]);
        assert!(report.complaint().contains("user namespace, capabilities"), "{}", report.complaint());
    }
}
