//! Checks of the machine: kernel, processor, memory, resource limits, the folder for copies of artifacts, and whether
//! it can run a job.

use super::{Check, cgroup};
use pvf_shared::{params::DEFAULT_STACK_NATIVE_MAX, units::human_bytes};
use pvf_worker::{
    agent::TriedFolder,
    machine::{Caller, Limit, LimitedResource, MemoryIsolation, applied_limit},
    supervise::JobRunner,
    wasm::CpuBaseline,
};
use std::{fs, io};

/// The oldest kernel that the roles are made for. (The table of what they need is in docs/design/threat-model.md.)
const LEAST_KERNEL: (u32, u32) = (5, 15);
/// Available memory that preparing a large runtime and the worker itself need, bytes.
const LEAST_MEMORY: u64 = 2 << 30;
/// Open files of a worker: several for each slot, template and connection.
const LEAST_DESCRIPTORS: u64 = 1024;
/// Native stack of a guest with the default parameters, and of the host's own frames, bytes.
const LEAST_STACK: u64 = DEFAULT_STACK_NATIVE_MAX as u64 + (2 << 20);
/// Heap of a preparation of a large runtime, bytes.
const LEAST_DATA: u64 = 4 << 30;
/// Address space of an execution with the default parameters, bytes: wasmtime reserves it, and uses a fraction.
const LEAST_ADDRESS_SPACE: u64 = 16 << 30;
/// Processes and threads of a worker's user: a worker with a few slots.
const LEAST_PROCESSES: u64 = cgroup::LEAST_PROCESSES;
/// CPU time of a worker, seconds. It runs for as long as its fleet; at the limit the kernel ends it.
const LEAST_CPU_TIME: u64 = 10 * 365 * 86400;
/// The largest artifact, bytes.
const LEAST_FILE_SIZE: u64 = 1 << 30;
/// Free space for copies of artifacts, bytes.
const LEAST_CACHE: u64 = LEAST_FILE_SIZE;

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

/// Kernel, processor, memory, resource limits.
pub(super) fn checks(baseline: Option<&str>) -> Vec<Check> {
    vec![
        kernel(&read("/proc/sys/kernel/osrelease")),
        processor(baseline),
        memory(&read("/proc/meminfo")),
        cgroup::check(),
        resource_limits(applied_limit),
    ]
}

fn kernel(release: &str) -> Check {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    Check::of("kernel", version >= LEAST_KERNEL, format!("Linux {release}"), "upgrade to Linux 5.15 or newer")
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

/// What jobs with the default executor parameters need of each resource that the kernel limits for a process.
const LEAST_LIMITS: [(LimitedResource, &str, u64, &str); 7] = [
    (LimitedResource::OpenFiles, "open files", LEAST_DESCRIPTORS, "ulimit -n"),
    (LimitedResource::Stack, "stack", LEAST_STACK, "ulimit -s"),
    (LimitedResource::Data, "data", LEAST_DATA, "ulimit -d"),
    (LimitedResource::AddressSpace, "address space", LEAST_ADDRESS_SPACE, "ulimit -v"),
    (LimitedResource::FileSize, "file size", LEAST_FILE_SIZE, "ulimit -f"),
    (LimitedResource::Processes, "processes", LEAST_PROCESSES, "ulimit -u"),
    (LimitedResource::CpuTime, "CPU time", LEAST_CPU_TIME, "ulimit -t"),
];

/// The limits that jobs would have.
fn resource_limits(limit: impl Fn(LimitedResource) -> Limit) -> Check {
    let shown = |value: Option<u64>| value.map_or_else(|| "unlimited".into(), |value| value.to_string());
    let (mut found, mut fixes) = (Vec::new(), Vec::new());
    for (resource, name, least, command) in LEAST_LIMITS {
        let Limit { soft, hard } = limit(resource);
        // The worker raises these two itself; nothing raises the others.
        let effective =
            if matches!(resource, LimitedResource::OpenFiles | LimitedResource::Stack) { hard } else { soft };
        found.push(format!("{name} {}", shown(effective)));
        if effective.is_some_and(|value| value < least) {
            fixes.push(format!("{name} to at least {least} (`{command}`)"));
        }
    }
    let fix = format!("raise the hard and soft limit of {}, or `ulimits` of the container", fixes.join(", "));
    Check::of("resource limits", fixes.is_empty(), found.join(", "), &fix)
}

/// What keeps a job from taking the memory of others. Both ways are right, so this is for information only.
pub(super) fn memory_of_jobs() -> Check {
    Check::green("memory of jobs", MemoryIsolation::of_this_process(Caller::Worker).to_string())
}

/// The folder for copies of artifacts.
pub(super) fn cache_folder(tried: &io::Result<TriedFolder>) -> Check {
    let name = "cache folder";
    let fix = "--cache-dir (PVF_CACHE_DIR; default: TMPDIR): a writable folder that is not mounted noexec, with 1 GiB and \
               257 files (inodes) free at least, for the artifacts that a worker caches";
    let free = tried.as_ref().map_err(io::Error::to_string);
    let free = free.and_then(|tried| {
        let free = tried.free_space().and_then(|bytes| Ok((bytes, tried.free_files()?)));
        free.map(|free| (tried.base(), free)).map_err(|error| error.to_string())
    });
    match free {
        Ok((folder, (bytes, files))) => {
            let enough = bytes >= LEAST_CACHE && files.is_none_or(|files| files >= TriedFolder::FILES);
            let files = files.map_or_else(|| "any number of".into(), |files| files.to_string());
            let (folder, bytes) = (folder.display(), human_bytes(bytes));
            let found = format!("{folder} is writable, its files can be executed, {bytes} and {files} files free");
            Check::of(name, enough, found, fix)
        }
        Err(error) => Check::red(name, error, fix),
    }
}

/// Prepares and executes a small PVF as a worker does. A baseline that does not exist has a red check of its own.
pub(super) async fn self_test(baseline: Option<&str>, cache: &io::Result<TriedFolder>) -> Check {
    let name = "self-test";
    let fix = "see the other red checks; a worker on this machine could run no job";
    let Ok(cache) = cache else { return Check::red(name, "there is no folder for the copy of the artifact", fix) };
    let baseline = baseline.and_then(|name| name.parse().ok()).unwrap_or_else(CpuBaseline::of_this_machine);
    let tested = async {
        let runner = JobRunner::new(None, baseline).map_err(|error| error.to_string())?;
        runner.self_test(&cache.path()).await
    };
    match tested.await {
        Ok(()) => Check::green(name, "a small PVF was prepared and executed in the sandbox"),
        Err(why) => Check::red(name, why, fix),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_follow_the_values_of_the_kernel() {
        assert!(kernel("5.15.0-119-generic").fix.is_none() && kernel("7.0").fix.is_none());
        assert!(kernel("5.10.0-35-amd64").fix.is_some() && kernel("").fix.is_some());
        assert!(memory("MemTotal: 8000000 kB\nMemAvailable:  3000000 kB").fix.is_none());
        assert!(memory("MemTotal: 8000000 kB\nMemAvailable:  300000 kB").fix.is_some());
        assert!(processor(None).fix.is_none() && processor(Some("v1")).fix.is_none());
        assert!(processor(Some("v9")).fix.is_some());
    }

    #[test]
    fn a_resource_limit_that_is_too_low_is_red_with_its_name() {
        let unlimited = Limit { soft: None, hard: None };
        assert!(resource_limits(|_| unlimited).fix.is_none());
        for (resource, name, least, command) in LEAST_LIMITS {
            let lower = |value: u64| {
                move |of| if of == resource { Limit { soft: Some(value), hard: Some(value) } } else { unlimited }
            };
            assert!(resource_limits(lower(least)).fix.is_none(), "{name}");
            let check = resource_limits(lower(least - 1));
            let fix = check.fix.expect(name);
            assert!(
                fix.contains(name) && fix.contains(command) && check.found.contains(&(least - 1).to_string()),
                "{fix}"
            );
        }
        // The worker raises the soft limit of open files.
        let soft = |_| Limit { soft: Some(1 << 40), hard: None };
        assert!(resource_limits(soft).fix.is_none());
        let soft = |of| Limit { soft: (of == LimitedResource::OpenFiles).then_some(1), hard: None };
        assert!(resource_limits(soft).fix.is_none());
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_red() {
        let folder = tempfile::tempdir().unwrap();
        assert!(cache_folder(&TriedFolder::open(&folder.path().join("missing/here"))).fix.is_none());
        let check = cache_folder(&TriedFolder::open(std::path::Path::new("/dev/null/cache")));
        assert!(check.fix.unwrap().contains("--cache-dir") && check.found.contains("/dev/null/cache"));
    }
}
