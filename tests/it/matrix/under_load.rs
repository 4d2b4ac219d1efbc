//! The cells in which a resource is taken from workers that run jobs, and given back.

use super::{
    cgroups::Cgroup,
    denials::{Denial, enter},
    load::{Load, PATIENCE, Phase},
    observe::Logged,
};
use pvf_tests::{
    fleet::Fleet,
    processes::{binary_on_path, has_ended, until_within},
};
use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

/// The workers of a cell: one that prepares and one that executes.
struct Workers {
    prepare: Logged,
    execute: Logged,
}

impl Workers {
    fn both(&self) -> [i32; 2] {
        [self.prepare.pid(), self.execute.pid()]
    }

    fn logs(&self) -> [usize; 2] {
        [&self.prepare, &self.execute].map(|worker| worker.said().len())
    }

    /// Whether each has paused since its log was so long.
    fn have_paused(&self, since: [usize; 2]) -> [bool; 2] {
        [self.prepare.has_paused_since(since[0]), self.execute.has_paused_since(since[1])]
    }

    fn has_any_ended(&self) -> bool {
        [&self.prepare, &self.execute].iter().any(|worker| has_ended(worker.process.pid()))
    }
}

/// Gives a resource back.
type Give<'a> = Box<dyn FnOnce() + 'a>;

/// What is to be seen while the resource is denied.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    /// No candidate fails.
    NothingFails,
    /// Candidates may fail as `internal`, and workers may pause.
    Internal,
}

/// Takes a resource from workers that run jobs, and gives it back.
async fn cell<'a>(
    fleet: &Fleet,
    name: &str,
    workers: &'a Workers,
    then: Then,
    take: impl FnOnce(&'a Workers) -> Give<'a>,
) {
    let load = Load::start(&fleet.host).await;
    let logs = workers.logs();
    let give = take(workers);
    load.enter(Phase::Denied);
    until_within(PATIENCE, &format!("{name}: requests end, or a worker pauses"), async || {
        let paused = workers.have_paused(logs).contains(&true);
        (load.has_enough() || paused || workers.has_any_ended()).then_some(())
    })
    .await;
    load.enter(Phase::GivenBack);
    give();
    for worker in [&workers.prepare, &workers.execute] {
        assert!(!has_ended(worker.process.pid()), "{name}: a worker has ended: {}", worker.said());
    }
    load.until_valid(Phase::GivenBack).await;
    let counts = load.end(name).await;
    let paused = workers.have_paused(logs);
    println!("{name}: (valid, internal) before, denied, given back: {counts:?}; paused: {paused:?}");
    assert!(then == Then::Internal || counts[1..].iter().all(|(_, internal)| *internal == 0), "{name}: {counts:?}");
}

/// Starts the workers of a cell, each changed in the same way.
async fn workers(fleet: &Fleet, mut change: impl FnMut(&mut Command) -> Option<Cgroup>) -> Workers {
    let prepare = Logged::start(fleet, "prepare-worker", fleet.folder(), &mut change);
    let execute = Logged::start(fleet, "execute-worker", fleet.folder(), &mut change);
    fleet.complete(1, 1).await;
    Workers { prepare, execute }
}

async fn end(fleet: &Fleet, workers: Workers) {
    let Workers { prepare, execute } = workers;
    prepare.end().await;
    execute.end().await;
    fleet.complete(0, 0).await;
}

/// Sets a limit of a running process; the one before.
fn limit(pid: i32, resource: libc::__rlimit_resource_t, new: libc::rlimit) -> libc::rlimit {
    let mut old = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: a plain system call on live values.
    let set = unsafe { libc::prlimit(pid, resource, &raw const new, &raw mut old) };
    assert_eq!(set, 0, "prlimit: {}", std::io::Error::last_os_error());
    old
}

fn current(pid: i32, resource: libc::__rlimit_resource_t) -> libc::rlimit {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: a plain system call on a live value.
    let read = unsafe { libc::prlimit(pid, resource, std::ptr::null(), &raw mut limit) };
    assert_eq!(read, 0, "prlimit: {}", std::io::Error::last_os_error());
    limit
}

/// Sets this soft limit of both workers to what `value` gives for each.
fn lower(workers: &Workers, resource: libc::__rlimit_resource_t, value: impl Fn(i32) -> u64) -> Give<'_> {
    let old = workers.both().map(|pid| {
        // Only the soft limit: root of a container may not raise the hard one again.
        let hard = current(pid, resource).rlim_max;
        (pid, limit(pid, resource, libc::rlimit { rlim_cur: value(pid).min(hard), rlim_max: hard }))
    });
    Box::new(move || {
        for (pid, old) in old {
            if !has_ended(pid) {
                limit(pid, resource, old);
            }
        }
    })
}

/// A line of `/proc/PID/status`, bytes.
fn status(pid: i32, name: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("a line of the status");
    let kib: u64 =
        line.trim_start_matches(':').split_whitespace().next().and_then(|n| n.parse().ok()).expect("a number");
    kib << 10
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_under_load() {
    let fleet = Fleet::start(0, 0).await;
    let workers = workers(&fleet, |_| None).await;
    let of = |name, then, resource, value: fn(i32) -> u64| {
        let (fleet, workers) = (&fleet, &workers);
        async move { cell(fleet, name, workers, then, |workers| lower(workers, resource, value)).await }
    };
    let open = |pid| fs::read_dir(format!("/proc/{pid}/fd")).expect("a process").count() as u64;
    of("open files", Then::Internal, libc::RLIMIT_NOFILE, open).await;
    of("data", Then::Internal, libc::RLIMIT_DATA, |pid| status(pid, "VmData") + (8 << 20)).await;
    of("address space", Then::Internal, libc::RLIMIT_AS, |pid| status(pid, "VmSize") + (64 << 20)).await;
    // What a job or worker needs of it, it raises again.
    of("soft limit of the stack", Then::NothingFails, libc::RLIMIT_STACK, |_| 1 << 20).await;
    of("file size", Then::Internal, libc::RLIMIT_FSIZE, |_| 1024).await;
    for (name, resource) in [
        ("locked memory", libc::RLIMIT_MEMLOCK),
        ("pending signals", libc::RLIMIT_SIGPENDING),
        ("message queues", libc::RLIMIT_MSGQUEUE),
        ("locks", libc::RLIMIT_LOCKS),
    ] {
        of(name, Then::NothingFails, resource, |_| 0).await;
    }
    end(&fleet, workers).await;
}

/// Both workers in one cgroup of this controller.
async fn in_cgroup(fleet: &Fleet, controller: &str) -> (Workers, Cgroup) {
    let cgroup = Cgroup::new(controller);
    if controller == "cpuset" {
        cgroup.write("cpuset.cpus", "0-1");
    }
    let workers = workers(fleet, |command| {
        enter(command, &cgroup);
        None
    });
    (workers.await, cgroup)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cgroups_under_load() {
    let fleet = Fleet::start(0, 0).await;
    let of = |name, controller, then, take: fn(&Cgroup), give: fn(&Cgroup)| {
        let fleet = &fleet;
        async move {
            let (workers, cgroup) = in_cgroup(fleet, controller).await;
            cell(fleet, name, &workers, then, |_| {
                take(&cgroup);
                Box::new(|| give(&cgroup)) as Give<'_>
            })
            .await;
            end(fleet, workers).await;
            drop(cgroup);
        }
    };
    let processes = |cgroup: &Cgroup| cgroup.write("pids.max", &cgroup.read("pids.current"));
    of("cgroup: processes", "pids", Then::Internal, processes, |cgroup| cgroup.write("pids.max", "max")).await;
    let memory = |cgroup: &Cgroup| {
        // What is used cannot always be taken away at once.
        let least = cgroup.number("memory.usage_in_bytes") + (1 << 20);
        cgroup.write("memory.limit_in_bytes", &least.to_string());
    };
    of("cgroup: memory", "memory", Then::Internal, memory, |cgroup| cgroup.write("memory.limit_in_bytes", "-1")).await;
    let quota = |cgroup: &Cgroup| cgroup.write("cpu.cfs_quota_us", "20000");
    of("cgroup: CPU quota", "cpu", Then::Internal, quota, |cgroup| cgroup.write("cpu.cfs_quota_us", "-1")).await;
    let one_core = |cgroup: &Cgroup| cgroup.write("cpuset.cpus", "1");
    of("cgroup: one core", "cpuset", Then::NothingFails, one_core, |cgroup| cgroup.write("cpuset.cpus", "0-1")).await;
    let none = |cgroup: &Cgroup| cgroup.write("devices.deny", "a");
    of("cgroup: devices", "devices", Then::NothingFails, none, |cgroup| cgroup.write("devices.allow", "a")).await;
    frozen(&fleet).await;
}

/// Workers that stand still are lost, and are heard when they go on.
async fn frozen(fleet: &Fleet) {
    let (workers, cgroup) = in_cgroup(fleet, "freezer").await;
    let load = Load::start(&fleet.host).await;
    cgroup.write("freezer.state", "FROZEN");
    load.enter(Phase::Denied);
    fleet.complete(0, 0).await;
    load.enter(Phase::GivenBack);
    cgroup.write("freezer.state", "THAWED");
    load.until_valid(Phase::GivenBack).await;
    let counts = load.end("cgroup: frozen").await;
    println!("cgroup: frozen: {counts:?}");
    end(fleet, workers).await;
}

/// Runs a shell in the user and mount namespaces of a process.
fn inside(pid: i32, commands: &str) {
    assert!(binary_on_path("nsenter").is_some(), "this test needs nsenter of util-linux");
    let target = pid.to_string();
    let mut command = Command::new("nsenter");
    command.args(["--target", &target, "--user", "--mount", "--preserve-credentials", "sh", "-ec", commands]);
    let output = command.output().expect("nsenter");
    assert!(output.status.success(), "{commands}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Runs the first commands in the namespaces of both workers, and the other ones to give the resource back.
fn commands<'a>(workers: &'a Workers, take: &str, give: &'a str) -> Give<'a> {
    workers.both().iter().for_each(|pid| inside(*pid, take));
    Box::new(move || workers.both().iter().for_each(|pid| inside(*pid, give)))
}

/// Fills the file system of the worker's folder for copies with `fill`, which gets a folder in it.
fn fill<'a>(workers: &'a Workers, fill: impl Fn(&Path)) -> Give<'a> {
    let folders = workers.both().map(|pid| PathBuf::from(format!("/proc/{pid}/root/mnt/full")));
    for folder in &folders {
        fs::create_dir(folder).expect("the file system has room");
        fill(folder);
    }
    Box::new(move || folders.iter().for_each(|folder| fs::remove_dir_all(folder).expect("the files can be removed")))
}

fn with_bytes(folder: &Path) {
    let mut file = fs::File::create(folder.join("file")).expect("a file");
    while file.write(&[0; 4096]).is_ok_and(|n| n > 0) {}
}

fn with_files(folder: &Path) {
    let mut names = (0..).map(|n: u32| folder.join(n.to_string()));
    while names.next().is_some_and(|name| fs::write(name, "").is_ok()) {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn folders_under_load() {
    let fleet = Fleet::start(0, 0).await;
    let mounts = Denial::Shell("mount -t tmpfs -o size=48m,nr_inodes=400 tmpfs /mnt; export PVF_CACHE_DIR=/mnt/c");
    let folder = fleet.folder().to_owned();
    let workers = workers(&fleet, |command| mounts.apply(command, &folder)).await;
    let of = |name, then, take, give| {
        let (fleet, workers) = (&fleet, &workers);
        async move { cell(fleet, name, workers, then, |workers| commands(workers, take, give)).await }
    };
    use Then::{Internal, NothingFails};
    cell(&fleet, "cache folder full", &workers, Internal, |workers| fill(workers, with_bytes)).await;
    cell(&fleet, "cache folder without inodes", &workers, Internal, |workers| fill(workers, with_files)).await;
    of("cache folder read-only", Internal, "mount -o remount,ro /mnt", "mount -o remount,rw /mnt").await;
    of("cache folder noexec", Internal, "mount -o remount,noexec /mnt", "mount -o remount,exec /mnt").await;
    of("cache folder removed", NothingFails, "rm -rf /mnt/c", "true").await;
    of("cache folder a file", Internal, "rm -rf /mnt/c; touch /mnt/c", "rm /mnt/c").await;
    of("cache folder not mounted", Internal, "mount -t tmpfs -o ro tmpfs /mnt", "umount /mnt").await;
    of("no /dev, /sys", NothingFails, "mount -t tmpfs tmpfs /dev; mount -t tmpfs tmpfs /sys", "true").await;
    of("no /proc", Internal, "mount -t tmpfs tmpfs /proc", "umount /proc").await;
    let sysctl = ("echo 0 > /proc/sys/user/max_user_namespaces", "echo 10000 > /proc/sys/user/max_user_namespaces");
    of("max_user_namespaces", Internal, sysctl.0, sysctl.1).await;
    end(&fleet, workers).await;
}
