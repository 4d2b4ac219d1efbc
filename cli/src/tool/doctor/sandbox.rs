//! Checks of the sandbox: each mechanism, and each property that they enforce together, with its depth.

use super::Check;
use pvf_worker::{
    sandbox::{Enforcer, Finding, LandlockAbi, Mechanism, MechanismNames, Property, Report},
    supervise::probe_sandbox,
};

/// As a probe in a child process finds it; these mechanisms may be missing.
pub(super) fn checks(allowed: &[MechanismNames]) -> Vec<Check> {
    let report = probe_sandbox(None).unwrap_or_else(|error| Report::none(&format!("the probe failed: {error}")));
    let allowed: Vec<_> = allowed.iter().flat_map(|names| names.0.iter().copied()).collect();
    judge(&report.allowing(&allowed))
}

fn judge(report: &Report) -> Vec<Check> {
    let mechanisms = report.findings.iter().map(|finding| mechanism(report, finding));
    mechanisms.chain(Property::ALL.into_iter().map(|one| property(report, one))).collect()
}

fn mechanism(report: &Report, Finding { mechanism, missing }: &Finding) -> Check {
    let name = mechanism.name();
    match missing {
        None => Check::green(name, format!("enforced (verified in a child process){}", landlock(report, *mechanism))),
        Some(why) if report.is_allowed(*mechanism) => Check::green(name, format!("missing, and allowed to be: {why}")),
        Some(why) => {
            let consent = match report.unenforced().as_slice() {
                [] => format!("; or start workers with --allow-missing {}", MechanismNames(vec![*mechanism])),
                _ => String::new(),
            };
            Check::red(name, why, format!("{}{consent}", mechanism.fix()))
        }
    }
}

/// Which landlock ABI it is.
fn landlock(report: &Report, mechanism: Mechanism) -> String {
    let Some(found) = report.landlock.as_ref().filter(|_| mechanism == Mechanism::Landlock) else {
        return String::new();
    };
    let (used, highest) = (found.used, LandlockAbi::HIGHEST);
    let higher = found.higher.as_ref().map(|why| format!("; not higher: {why}")).unwrap_or_default();
    format!(", ABI {used} of the {highest} that a sandbox can use; the kernel offers {}{higher}", found.offered)
}

fn property(report: &Report, property: Property) -> Check {
    let enforcing = report.enforcing(property);
    let named = enforcing.iter().map(Enforcer::to_string).collect::<Vec<_>>().join(", ");
    match enforcing.len() {
        0 => Check::red(
            property.name(),
            "not enforced by any mechanism",
            format!("see the fix of one of: {}", property.enforcers_named()),
        ),
        depth => Check::green(property.name(), format!("{depth} deep: {named}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by_name<'a>(checks: &'a [Check], name: &str) -> &'a Check {
        checks.iter().find(|check| check.name == name).unwrap()
    }

    #[test]
    fn mechanisms_and_properties_have_a_check_of_their_own_each() {
        let checks = judge(&Report::none("a test"));
        assert_eq!(checks.len(), Mechanism::ALL.len() + Property::ALL.len());
        let names: std::collections::BTreeSet<_> = checks.iter().map(|check| &check.name).collect();
        assert_eq!(names.len(), checks.len(), "{names:?}");
        assert!(checks.iter().all(|check| check.fix.is_some()));
        let fix = by_name(&checks, "no network").fix.clone().unwrap();
        assert_eq!(fix, "see the fix of one of: network namespace, seccomp");
    }

    #[test]
    fn a_mechanism_that_may_be_missing_is_green_and_a_property_that_no_mechanism_enforces_stays_red() {
        let checks = judge(&Report::none("a test").allowing(&Mechanism::ALL));
        let red: Vec<_> = checks.iter().filter(|check| check.fix.is_some()).map(|check| check.name.clone()).collect();
        assert_eq!(red, Property::ALL.map(|property| property.name().to_owned()));
        assert_eq!(by_name(&checks, "landlock").found, "missing, and allowed to be: a test");
    }
}
