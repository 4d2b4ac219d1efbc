//! Checks of the machine: kernel, processor, memory, descriptors, temporary files, sandbox.

use super::{Check, cgroup};
use pvf_shared::units::human_bytes;
use pvf_worker::{sandbox::Report, supervise::probe_sandbox, wasm::CpuBaseline};
use std::fs;

/// The oldest kernel with every mechanism of the sandbox (landlock ABI 6).
const LEAST_KERNEL: (u32, u32) = (6, 12);
/// Available memory that preparing a large runtime and the worker itself need, bytes.
const LEAST_MEMORY: u64 = 2 << 30;
/// Open files of a worker: several for each slot, template and connection.
const LEAST_DESCRIPTORS: u64 = 1024;

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

/// Kernel, processor, memory, descriptors, temporary files.
pub(super) fn checks(baseline: Option<&str>) -> Vec<Check> {
    vec![
        kernel(&read("/proc/sys/kernel/osrelease")),
        processor(baseline),
        memory(&read("/proc/meminfo")),
        cgroup::check(),
        descriptors(&read("/proc/self/limits")),
        temporary_files(),
    ]
}

fn kernel(release: &str) -> Check {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    Check::of(
        "kernel",
        version >= LEAST_KERNEL,
        format!("Linux {release}"),
        "upgrade to Linux 6.12 or newer (landlock ABI 6)",
    )
}

fn processor(wanted: Option<&str>) -> Check {
    let (best, arch) = (CpuBaseline::of_this_machine(), std::env::consts::ARCH);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let found = format!("{cores} cores, {arch}, baseline {best}");
    let Some(wanted) = wanted else { return Check::green("CPU baseline", found) };
    match wanted.parse::<CpuBaseline>() {
        Ok(wanted) => Check::green("CPU baseline", format!("{found}; set to {wanted}")),
        Err(error) => Check::red(
            "CPU baseline",
            format!("{found}; {error}"),
            format!("set --cpu-baseline {best} or lower (PVF_CPU_BASELINE) for all workers that share artifacts"),
        ),
    }
}

fn memory(info: &str) -> Check {
    let kib = |name: &str| {
        let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0)
    };
    let (total, available) = (kib("MemTotal") * 1024, kib("MemAvailable") * 1024);
    let found = format!("{} of {} available", human_bytes(available), human_bytes(total));
    Check::of(
        "memory",
        available >= LEAST_MEMORY,
        found,
        "2 GiB of available memory: a worker and one preparation need that much",
    )
}

fn descriptors(limits: &str) -> Check {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap_or_default();
    // The value is a number or "unlimited".
    let soft = line.split_whitespace().next().unwrap_or_default();
    let number = if soft == "unlimited" { u64::MAX } else { soft.parse().unwrap_or(0) };
    let found = format!("{soft} open files");
    Check::of(
        "descriptors",
        number >= LEAST_DESCRIPTORS,
        found,
        "raise the limit to 1024 or more: `ulimit -n`, or `ulimits` of the container",
    )
}

fn temporary_files() -> Check {
    let name = "temporary files";
    let dir = std::env::temp_dir();
    let written = tempfile::tempdir().and_then(|dir| fs::write(dir.path().join("probe"), b"probe"));
    match written {
        Ok(()) => Check::green(name, format!("{} is writable", dir.display())),
        Err(error) => Check::red(
            name,
            format!("{}: {error}", dir.display()),
            "set TMPDIR to a writable folder with space for up to 256 artifacts, which a worker caches",
        ),
    }
}

/// Each mechanism of the sandbox, as a probe in a child process finds it.
pub(super) fn sandbox() -> Vec<Check> {
    let report = probe_sandbox(None).unwrap_or_else(|error| Report::none(&format!("the probe failed: {error}")));
    let check = |finding: pvf_worker::sandbox::Finding| match finding.missing {
        None => Check::green(finding.mechanism.name(), "enforced (verified in a child process)"),
        Some(why) => Check::red(finding.mechanism.name(), why, finding.mechanism.fix()),
    };
    report.findings.into_iter().map(check).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_follow_the_values_of_the_kernel() {
        assert!(kernel("6.12.0-generic").fix.is_none() && kernel("7.0").fix.is_none());
        assert!(kernel("6.8.0-31").fix.is_some() && kernel("").fix.is_some());
        assert!(memory("MemTotal: 8000000 kB\nMemAvailable:  3000000 kB").fix.is_none());
        assert!(memory("MemTotal: 8000000 kB\nMemAvailable:  300000 kB").fix.is_some());
        assert!(descriptors("Max open files            1024     4096     files").fix.is_none());
        assert!(descriptors("Max open files            unlimited unlimited files").fix.is_none());
        assert!(descriptors("Max open files            256      4096     files").fix.is_some());
        assert!(processor(None).fix.is_none() && processor(Some("v1")).fix.is_none());
        assert!(processor(Some("v9")).fix.is_some());
    }
}
