//! The table of what is denied from the start of a process, and what follows.

use super::denials::Denial;
use std::io::{Error, Result};

use Denial::{Call, Cgroup, Limit, LimitOfUser, RootShell, Shell, SystemCalls};

/// What `pvf doctor` says.
#[derive(Clone, Copy)]
pub(super) enum Doctor {
    Green,
    /// These checks are red, perhaps among others.
    Red(&'static [&'static str]),
    /// It ends without a report and says this.
    NoReport(&'static str),
}

/// What an execution of a valid candidate by `pvf` ends with.
#[derive(Clone, Copy)]
pub(super) enum Execution {
    Valid,
    /// With this in its reason.
    Internal(&'static str),
    /// Without a verdict, and says this.
    NoVerdict(&'static str),
}

/// What an execute worker of a fleet does.
#[derive(Clone, Copy)]
pub(super) enum Worker {
    /// It registers, and a valid candidate is valid.
    Works,
    /// It does not register, and its log names this.
    Waits(&'static str),
    /// It ends with an exit code other than 0, and says this; nothing where the kernel ends it before its first line.
    Ends(&'static str),
}

/// A resource, how it is denied, and what follows.
pub(super) type Cell = (&'static str, Denial, Doctor, Execution, Worker);

fn prctl(option: libc::c_int, value: libc::c_ulong) -> Result<()> {
    // SAFETY: a plain system call with numbers.
    if unsafe { libc::prctl(option, value, 0, 0, 0) } == 0 { Ok(()) } else { Err(Error::last_os_error()) }
}

fn ignore_children() -> Result<()> {
    // SAFETY: a plain system call.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
    Ok(())
}

fn block_signals() -> Result<()> {
    // SAFETY: plain system calls on a live value.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for signal in [libc::SIGCHLD, libc::SIGXCPU, libc::SIGPIPE, libc::SIGSEGV, libc::SIGALRM] {
            libc::sigaddset(&raw mut set, signal);
        }
        libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
    }
    Ok(())
}

fn close_input() -> Result<()> {
    // SAFETY: a plain system call.
    unsafe { libc::close(0) };
    Ok(())
}

fn on_one_core() -> Result<()> {
    // SAFETY: plain system calls on a live value.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::CPU_SET(0, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set);
        libc::nice(19);
    }
    Ok(())
}

fn no_capabilities_for_root() -> Result<()> {
    const NOROOT_LOCKED_AND_NO_SETUID_FIXUP: libc::c_ulong = 0xf;
    prctl(libc::PR_SET_SECUREBITS, NOROOT_LOCKED_AND_NO_SETUID_FIXUP)
}

const EAGAIN: &str = "Resource temporarily unavailable";
const LIMITS: &[&str] = &["resource limits"];
const LIMITS_AND_TEST: &[&str] = &["resource limits", "self-test"];
const FOLDER_AND_TEST: &[&str] = &["cache folder", "self-test"];

pub(super) fn limits() -> Vec<Cell> {
    use {Doctor::*, Execution::*, Worker as W};
    vec![
        ("nothing", Denial::Nothing, Green, Valid, W::Works),
        (
            "10 open files",
            Limit(libc::RLIMIT_NOFILE, 10),
            Red(LIMITS),
            NoVerdict("Too many open files"),
            W::Ends("Too many open files"),
        ),
        ("40 open files", Limit(libc::RLIMIT_NOFILE, 40), Red(LIMITS), Valid, W::Works),
        ("3 processes", LimitOfUser(libc::RLIMIT_NPROC, 3), NoReport(EAGAIN), NoVerdict(EAGAIN), W::Waits(EAGAIN)),
        (
            "data",
            Limit(libc::RLIMIT_DATA, 100 << 20),
            Red(LIMITS_AND_TEST),
            Valid,
            W::Waits("memory within the limits was refused"),
        ),
        (
            "address space",
            Limit(libc::RLIMIT_AS, 4 << 30),
            Red(LIMITS_AND_TEST),
            Internal("Cannot allocate memory"),
            W::Waits("Cannot allocate memory"),
        ),
        (
            "stack",
            Limit(libc::RLIMIT_STACK, 8 << 20),
            Red(LIMITS_AND_TEST),
            Internal("no process for the job"),
            W::Waits("no process for the job"),
        ),
        (
            "file size",
            Limit(libc::RLIMIT_FSIZE, 512 << 10),
            Red(LIMITS_AND_TEST),
            Internal("File too large"),
            W::Waits("File too large"),
        ),
        ("CPU time", Limit(libc::RLIMIT_CPU, 20), Red(LIMITS_AND_TEST), Internal("CPU limit"), W::Waits("CPU limit")),
        ("locked memory", Limit(libc::RLIMIT_MEMLOCK, 0), Green, Valid, W::Works),
        ("pending signals", Limit(libc::RLIMIT_SIGPENDING, 0), Green, Valid, W::Works),
        ("message queues", Limit(libc::RLIMIT_MSGQUEUE, 0), Green, Valid, W::Works),
        (
            "core dumps, locks, resident set",
            Call(|| {
                for resource in [libc::RLIMIT_CORE, libc::RLIMIT_LOCKS, libc::RLIMIT_RSS, libc::RLIMIT_RTTIME] {
                    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
                    // SAFETY: a plain system call on a live value.
                    unsafe { libc::setrlimit(resource, &raw const none) };
                }
                Ok(())
            }),
            Green,
            Valid,
            W::Works,
        ),
        (
            "cgroup: 2 processes",
            Cgroup("pids", &[("pids.max", "2")]),
            NoReport(EAGAIN),
            NoVerdict(EAGAIN),
            W::Ends(EAGAIN),
        ),
        ("cgroup: 40 processes", Cgroup("pids", &[("pids.max", "40")]), Red(&["cgroup"]), Valid, W::Works),
        ("cgroup: memory", Cgroup("memory", &[("memory.limit_in_bytes", "300M")]), Red(&["cgroup"]), Valid, W::Works),
        ("cgroup: CPU quota", Cgroup("cpu", &[("cpu.cfs_quota_us", "20000")]), Red(&["cgroup"]), Valid, W::Works),
        ("cgroup: one core", Cgroup("cpuset", &[("cpuset.cpus", "0")]), Green, Valid, W::Works),
        ("cgroup: devices", Cgroup("devices", &[("devices.deny", "a")]), Green, Valid, W::Works),
    ]
}

pub(super) fn folders() -> Vec<Cell> {
    use {Doctor::*, Execution::*, Worker as W};
    const CACHE: &str = "folder for copies of artifacts";
    vec![
        (
            "cache folder noexec",
            Shell("mount -t tmpfs -o noexec tmpfs /mnt; export PVF_CACHE_DIR=/mnt/c"),
            Red(FOLDER_AND_TEST),
            Internal("no process for the job"),
            W::Waits("no process for the job"),
        ),
        (
            "cache folder nosuid, nodev",
            Shell("mount -t tmpfs -o nosuid,nodev,size=2g tmpfs /mnt; export PVF_CACHE_DIR=/mnt/c"),
            Green,
            Valid,
            W::Works,
        ),
        (
            "cache folder read-only",
            Shell("mount -t tmpfs -o ro tmpfs /mnt; export PVF_CACHE_DIR=/mnt/c"),
            Red(FOLDER_AND_TEST),
            NoVerdict(CACHE),
            W::Ends(CACHE),
        ),
        (
            "cache folder full",
            Shell("mount -t tmpfs -o size=8k tmpfs /mnt; head -c 8k /dev/zero > /mnt/f; export PVF_CACHE_DIR=/mnt/c"),
            Red(FOLDER_AND_TEST),
            Internal("No space left"),
            W::Waits("No space left"),
        ),
        (
            "cache folder without inodes",
            Shell("mount -t tmpfs -o nr_inodes=3 tmpfs /mnt; touch /mnt/f; export PVF_CACHE_DIR=/mnt/c"),
            Red(FOLDER_AND_TEST),
            NoVerdict(CACHE),
            W::Ends(CACHE),
        ),
        (
            "cache folder with an inode",
            Shell("mount -t tmpfs -o nr_inodes=4 tmpfs /mnt; touch /mnt/f; export PVF_CACHE_DIR=/mnt/c"),
            Red(&["cache folder"]),
            NoVerdict(CACHE),
            W::Waits("No space left"),
        ),
        (
            "cache folder a file",
            Shell("mount -t tmpfs tmpfs /mnt; touch /mnt/c; export PVF_CACHE_DIR=/mnt/c"),
            Red(FOLDER_AND_TEST),
            NoVerdict(CACHE),
            W::Ends(CACHE),
        ),
        ("TMPDIR empty", Shell("export TMPDIR="), Green, Valid, W::Works),
        ("TMPDIR missing, relative", Shell("export TMPDIR=not/there"), Green, Valid, W::Works),
        (
            "umask 0777",
            Shell(
                "umask 0777; export PVF_CACHE_DIR=new/c; exec setpriv --bounding-set=-dac_override,-dac_read_search \"$0\" \"$@\"",
            ),
            Red(FOLDER_AND_TEST),
            NoVerdict("Permission denied"),
            W::Ends("Permission denied"),
        ),
        (
            "no /proc",
            RootShell("mount -t tmpfs tmpfs /proc"),
            Red(&["kernel", "user namespace"]),
            NoVerdict("Is /proc mounted?"),
            W::Ends("Is /proc mounted?"),
        ),
        (
            "/proc read-only",
            RootShell("mount -o remount,ro /proc"),
            Red(&["user namespace"]),
            Valid,
            W::Ends("writing the ID maps"),
        ),
        ("/proc with hidepid", RootShell("mount -o remount,hidepid=2 /proc"), Green, Valid, W::Works),
        (
            "no /dev, /dev/shm, /sys",
            RootShell("mount -t tmpfs -o ro tmpfs /dev; mount -t tmpfs tmpfs /sys"),
            Green,
            Valid,
            W::Works,
        ),
    ]
}

pub(super) fn kernel() -> Vec<Cell> {
    use {Doctor::*, Execution::*, Worker as W};
    vec![
        (
            "max_user_namespaces",
            Shell("echo 0 > /proc/sys/user/max_user_namespaces"),
            Red(&["user namespace"]),
            Valid,
            W::Ends("user namespace"),
        ),
        (
            "max_net_namespaces",
            Shell("echo 0 > /proc/sys/user/max_net_namespaces"),
            Red(&["network namespace"]),
            Valid,
            W::Ends("network namespace"),
        ),
        ("memfd_noexec", RootShell("cd /proc/sys; echo 2 > vm/memfd_noexec; cd \"$OLDPWD\""), Green, Valid, W::Works),
        ("landlock", SystemCalls(&[libc::SYS_landlock_create_ruleset]), Red(&["landlock"]), Valid, W::Ends("landlock")),
        (
            "pidfd_open",
            SystemCalls(&[libc::SYS_pidfd_open]),
            Red(&["self-test"]),
            Internal("no process for the job"),
            W::Waits("no process for the job"),
        ),
        (
            "memfd_create",
            SystemCalls(&[libc::SYS_memfd_create]),
            Red(&["seccomp", "self-test"]),
            Internal("not permitted"),
            W::Ends("not permitted"),
        ),
        (
            "flock",
            SystemCalls(&[libc::SYS_flock]),
            Red(FOLDER_AND_TEST),
            NoVerdict("folder for copies of artifacts"),
            W::Ends("folder for copies of artifacts"),
        ),
        ("scheduling", SystemCalls(&[libc::SYS_sched_setattr, libc::SYS_sched_setaffinity]), Green, Valid, W::Works),
        ("no_new_privs", Call(|| prctl(libc::PR_SET_NO_NEW_PRIVS, 1)), Green, Valid, W::Works),
        (
            "memory-deny-write-execute",
            Call(|| prctl(65, 1)),
            Red(&["self-test"]),
            Internal("no process for the job"),
            W::Waits("no process for the job"),
        ),
        (
            "huge pages, timer slack, subreaper, dumpable",
            Call(|| {
                prctl(libc::PR_SET_THP_DISABLE, 1)?;
                prctl(libc::PR_SET_TIMERSLACK, 1_000_000_000)?;
                prctl(libc::PR_SET_CHILD_SUBREAPER, 1)?;
                prctl(libc::PR_SET_DUMPABLE, 0)
            }),
            Green,
            Valid,
            W::Works,
        ),
        ("time stamp counter", Call(|| prctl(libc::PR_SET_TSC, 2)), NoReport(""), NoVerdict(""), W::Ends("")),
        ("securebits", Call(no_capabilities_for_root), Red(&["user namespace"]), Valid, W::Ends("user namespace")),
        ("SIGCHLD ignored", Call(ignore_children), Green, Valid, W::Works),
        ("signals blocked", Call(block_signals), Green, Valid, W::Works),
        ("standard input closed", Call(close_input), Green, Valid, W::Works),
        ("one core, nice 19", Call(on_one_core), Green, Valid, W::Works),
    ]
}
