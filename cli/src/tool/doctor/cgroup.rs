//! Whether the limits of the cgroups of this process are high enough.

use super::Check;
use pvf_shared::machine::CgroupLimits;

/// Memory that preparing a large runtime takes on two threads, bytes (measured).
const LEAST_MEMORY: u64 = 1 << 30;
/// Processes of a worker with a few slots: its threads, and a template, a spare and a job for each slot.
pub(super) const LEAST_PROCESSES: u64 = 128;

/// Looks at this process's cgroups.
pub(super) fn check() -> Check {
    judge(CgroupLimits::of_this_process())
}

fn judge(limits: Option<CgroupLimits>) -> Check {
    let Some(CgroupLimits { version, memory, processes, cpu }) = limits else {
        return Check::green("cgroup", "no limits");
    };
    let or_none = |limit: Option<String>| limit.unwrap_or_else(|| "no limit".into());
    let found = format!(
        "{version}: memory {}, processes {}, cores {}",
        or_none(memory.map(pvf_shared::units::human_bytes)),
        or_none(processes.map(|n| n.to_string())),
        or_none(cpu.map(|cores| format!("{cores:.1}"))),
    );
    let too_little = [
        memory.filter(|limit| *limit < LEAST_MEMORY).map(|_| "memory of at least 1 GiB"),
        processes.filter(|limit| *limit < LEAST_PROCESSES).map(|_| "at least 128 processes"),
        cpu.filter(|limit| *limit < 1.0).map(|_| "at least one core"),
    ];
    let too_little: Vec<_> = too_little.into_iter().flatten().collect();
    match too_little.is_empty() {
        true => Check::green("cgroup", found),
        false => {
            Check::red("cgroup", found, format!("raise the limits of the container: {}", too_little.join(" and ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn low_limits_are_red_with_the_limit_that_is_too_low() {
        let limits =
            CgroupLimits { version: "version 2", memory: Some(512 << 20), processes: Some(4096), cpu: Some(1.5) };
        let check = judge(Some(limits));
        assert!(check.fix.unwrap().contains("at least 1 GiB") && check.found.contains("cores 1.5"));
        let limits = CgroupLimits { version: "version 1", memory: None, processes: Some(64), cpu: None };
        assert!(judge(Some(limits)).fix.unwrap().contains("128 processes"));
        assert!(judge(None).fix.is_none());
    }
}
