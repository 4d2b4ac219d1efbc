//! The lists. Each rule has its reason; a call that no job needs is not here. `When` narrows a call to forms of its
//! arguments, which are compared as 64-bit numbers.

use libc::c_long;

/// A system call that is allowed, in the form that all of its conditions describe.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rule {
    pub(super) call: c_long,
    pub(super) when: &'static [When],
    pub(super) why: &'static str,
}

/// A condition on an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    /// This argument is this.
    Is(u8, u64),
    /// These bits of this argument are those.
    Bits(u8, u64, u64),
}

const fn any(call: c_long, why: &'static str) -> Rule {
    Rule { call, when: &[], why }
}

const fn only(call: c_long, when: &'static [When], why: &'static str) -> Rule {
    Rule { call, when, why }
}

const EXEC: u64 = libc::PROT_EXEC as u64;
/// Arguments that are 32 bits wide: the kernel ignores what is above.
const LOW: u64 = 0xffff_ffff;
/// What makes a new thread, and everything that would make a namespace or a process of it.
const CLONE_KINDS: u64 = (libc::CLONE_THREAD
    | libc::CLONE_VM
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWCGROUP) as u64
    & LOW;
const THREAD: u64 = (libc::CLONE_THREAD | libc::CLONE_VM) as u64;
/// All that fork asks for besides the signal: where to write the number of the child's thread.
const FORK_IDS: u64 = (libc::CLONE_CHILD_SETTID | libc::CLONE_CHILD_CLEARTID) as u64;

/// In builds with debug assertions the standard library makes sure that what it closes is open.
const IS_OPEN: Rule = only(
    libc::SYS_fcntl,
    &[When::Bits(1, LOW, libc::F_GETFD as u64)],
    "is a descriptor open? asked before it is closed, in builds with debug assertions",
);

/// A fork of a template, from when it waits for its job on.
pub(super) const JOB: &[Rule] = &[
    any(libc::SYS_recvmsg, "waits for its job on its socket, and gets a memory file with a large one"),
    only(libc::SYS_ppoll, &[When::Is(1, 2)], "waits until the job before it has ended, or it is told to go"),
    any(libc::SYS_read, "a large job's memory file"),
    any(libc::SYS_lseek, "how long that file is"),
    any(libc::SYS_close, "that file, when it is read; descriptors that are not needed"),
    IS_OPEN,
    any(libc::SYS_write, "its reply; what a panic says, to stderr"),
    only(libc::SYS_sendto, &[When::Is(4, 0)], "its reply, where the standard library writes to a socket with it"),
    any(libc::SYS_brk, "malloc"),
    any(libc::SYS_munmap, "malloc; the guest's memory when it moves"),
    any(libc::SYS_mremap, "malloc of large blocks"),
    any(libc::SYS_madvise, "malloc gives memory back"),
    only(libc::SYS_mmap, &[When::Bits(2, EXEC, 0)], "malloc; the guest's memory: never executable"),
    only(libc::SYS_mprotect, &[When::Bits(2, EXEC, 0)], "the guest's memory grows: never executable"),
    any(libc::SYS_rt_sigreturn, "the end of a signal handler: how wasmtime turns a fault into a trap"),
    any(libc::SYS_rt_sigaction, "the standard library's handler lets a fault that is no trap end the process"),
    any(libc::SYS_sigaltstack, "the stack of those handlers"),
    only(
        libc::SYS_futex,
        &[When::Bits(1, LOW, (libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG) as u64)],
        "the C library wakes whoever waits for a thing that is done once; there is nobody to wait for",
    ),
    any(libc::SYS_getrandom, "seeds of hash tables"),
    any(libc::SYS_clock_gettime, "time, where the kernel cannot tell it without a call"),
    any(libc::SYS_sched_yield, "waits before it makes a memory image again"),
    any(libc::SYS_gettid, "a panic says in which thread it was"),
    only(libc::SYS_prctl, &[When::Bits(0, LOW, libc::PR_SET_NAME as u64)], "the name that ps shows"),
    only(libc::SYS_prlimit64, &[When::Bits(0, LOW, 0)], "its CPU limit, which is its job's: only its own limits"),
    any(libc::SYS_exit_group, "the end"),
];

/// What a template does besides: it talks to the worker, forks, reaps, and each fork locks itself up further. A fork
/// is ended for it once it is locked up.
pub(super) const TEMPLATE: &[Rule] = &[
    any(libc::SYS_sendmsg, "answers the worker, with the descriptor of a fork"),
    only(
        libc::SYS_clone,
        &[When::Bits(0, !FORK_IDS, libc::SIGCHLD as u64)],
        "fork, and nothing else that clone can do",
    ),
    any(libc::SYS_set_robust_list, "the C library, in a fork"),
    any(libc::SYS_rseq, "the C library, in a fork"),
    any(libc::SYS_pidfd_open, "the descriptor by which the worker watches a fork"),
    any(libc::SYS_wait4, "reaps a fork"),
    any(libc::SYS_getpid, "a fork's parent"),
    any(libc::SYS_getppid, "a fork sees whether its template is still there"),
    #[cfg(target_arch = "x86_64")]
    any(libc::SYS_dup2, "a fork puts its socket and stderr in place of the template's"),
    any(libc::SYS_dup3, "the same, where there is no dup2"),
    only(libc::SYS_getpriority, &[When::Bits(1, LOW, 0)], "a fork's own priority, which goes with its time slices"),
    only(libc::SYS_sched_setattr, &[When::Bits(0, LOW, 0)], "a fork's time slices"),
    only(libc::SYS_prctl, &[When::Bits(0, LOW, libc::PR_SET_PDEATHSIG as u64)], "a fork dies with its template"),
    only(
        libc::SYS_seccomp,
        &[When::Bits(0, LOW, libc::SECCOMP_SET_MODE_FILTER as u64)],
        "a fork installs its own list",
    ),
];

/// A preparation, from before it has seen the code on.
pub(super) const PREPARATION: &[Rule] = &[
    any(libc::SYS_write, "the artifact; what a panic says, to stderr"),
    any(libc::SYS_close, "the end of the artifact"),
    IS_OPEN,
    any(libc::SYS_brk, "malloc"),
    any(libc::SYS_munmap, "malloc; stacks of threads that end"),
    any(libc::SYS_mremap, "malloc of large blocks"),
    any(libc::SYS_madvise, "malloc gives memory back; stacks of threads that end"),
    any(libc::SYS_mmap, "malloc; stacks of threads; the artifact, when it is linked to try it"),
    any(libc::SYS_mprotect, "malloc's arenas; stacks' guards; code of an artifact that is linked"),
    any(libc::SYS_rt_sigaction, "wasmtime sets its handlers when it makes an engine"),
    any(libc::SYS_rt_sigprocmask, "the C library, while it starts a thread"),
    any(libc::SYS_rt_sigreturn, "the end of a handler"),
    any(libc::SYS_sigaltstack, "the stacks of handlers, one for each thread"),
    only(libc::SYS_clone, &[When::Bits(0, CLONE_KINDS, THREAD)], "threads of the compiler, never processes"),
    any(libc::SYS_set_robust_list, "the C library, in a new thread"),
    any(libc::SYS_rseq, "the C library, in a new thread"),
    any(libc::SYS_futex, "threads wait for each other"),
    any(libc::SYS_sched_yield, "threads that find no work"),
    any(libc::SYS_sched_getaffinity, "how many cores there are, for malloc's arenas and the thread pool"),
    any(libc::SYS_gettid, "threads name themselves; a panic says in which it was"),
    any(libc::SYS_getpid, "threads name themselves"),
    any(libc::SYS_getrandom, "seeds of hash tables"),
    any(libc::SYS_clock_gettime, "time, where the kernel cannot tell it without a call"),
    any(libc::SYS_membarrier, "other cores see new code, on aarch64"),
    only(libc::SYS_prctl, &[When::Bits(0, LOW, libc::PR_SET_NAME as u64)], "names of threads"),
    only(
        libc::SYS_prlimit64,
        &[When::Bits(0, LOW, 0), When::Is(2, 0)],
        "the C library asks how large stacks are; limits are not changed any more",
    ),
    any(libc::SYS_exit, "a thread's end"),
    any(libc::SYS_exit_group, "the end"),
];

/// What a preparation gets an error for (`ENOSYS`) instead of being ended: the C library asks for it and can do without.
pub(super) const REFUSED: &[Rule] = &[
    any(libc::SYS_clone3, "threads: its arguments cannot be looked at, so the C library is to use clone"),
    any(libc::SYS_openat, "malloc looks for a setting of the kernel in /proc when a thread gives memory back"),
];

/// The list of a template: its own and that of its forks, which are held by both.
pub(super) fn template() -> Vec<Rule> {
    [JOB, TEMPLATE].concat()
}
