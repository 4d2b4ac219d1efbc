//! The allow-lists. Each rule states why the process needs the call; a call that no process needs is on no list. A
//! condition restricts a rule to some values of an argument, which is compared as a 64-bit number.

use libc::c_long;

/// Allows a system call if all of its conditions hold.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rule {
    pub(super) call: c_long,
    pub(super) when: &'static [When],
    /// Why a process needs the call.
    pub(super) why: &'static str,
}

/// A condition on the argument of this index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    /// The argument equals the value.
    Is(u8, u64),
    /// The argument equals the second number in the bits that are set in the first, the mask. The second number has no
    /// bits outside the mask.
    Bits(u8, u64, u64),
}

const fn any(call: c_long, why: &'static str) -> Rule {
    Rule { call, when: &[], why }
}

const fn only(call: c_long, when: &'static [When], why: &'static str) -> Rule {
    Rule { call, when, why }
}

const EXEC: u64 = libc::PROT_EXEC as u64;
const WRITE: u64 = libc::PROT_WRITE as u64;
/// Mask of an argument of 32 bits: the kernel ignores the upper half of the register.
const LOW: u64 = 0xffff_ffff;
/// Clone flags that distinguish a new thread from a new process, and those that create a namespace.
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
/// The only flags that the C library's fork sets, besides the signal: where to store and clear the child's thread ID.
const FORK_IDS: u64 = (libc::CLONE_CHILD_SETTID | libc::CLONE_CHILD_CLEARTID) as u64;

/// The standard library's check of a descriptor that it is about to close.
const IS_OPEN: Rule = only(
    libc::SYS_fcntl,
    &[When::Bits(1, LOW, libc::F_GETFD as u64)],
    "builds with debug assertions verify that a descriptor is open before they close it",
);

/// The calls of a job: a fork of a template, from the time when it waits for its job.
pub(super) const JOB: &[Rule] = &[
    any(libc::SYS_recvmsg, "receives the job, and the descriptor of the memory file that holds a large one"),
    only(
        libc::SYS_ppoll,
        &[When::Is(1, 2)],
        "a staged job waits on two descriptors: the end of the job before it, and its own socket",
    ),
    any(libc::SYS_read, "reads a large job from its memory file"),
    any(libc::SYS_lseek, "determines the length of that memory file, and whether stderr is full"),
    any(libc::SYS_close, "closes that memory file, and the descriptors that a fork inherits and does not use"),
    IS_OPEN,
    any(libc::SYS_write, "writes the reply, and panic messages to stderr"),
    only(
        libc::SYS_sendto,
        &[When::Is(4, 0)],
        "writes the reply where the standard library uses send for sockets; never to an address",
    ),
    any(libc::SYS_brk, "malloc extends the heap"),
    any(libc::SYS_munmap, "malloc frees large blocks; guest memory is unmapped when it moves"),
    any(libc::SYS_mremap, "malloc resizes large blocks"),
    any(
        libc::SYS_madvise,
        "malloc returns free memory to the kernel; guest memory for large parameters gets its pages at once",
    ),
    only(
        libc::SYS_mmap,
        &[When::Bits(2, EXEC, 0)],
        "malloc allocates large blocks; guest memory and large block data are mapped; never executable",
    ),
    only(libc::SYS_mprotect, &[When::Bits(2, EXEC, 0)], "makes grown guest memory accessible; never executable"),
    any(libc::SYS_rt_sigreturn, "returns from wasmtime's signal handler, which turns faults into traps"),
    any(
        libc::SYS_rt_sigaction,
        "the standard library's fault handler restores the default action, so that a fault outside the guest is fatal",
    ),
    any(libc::SYS_sigaltstack, "sets the stack of those signal handlers"),
    only(
        libc::SYS_futex,
        &[When::Bits(1, LOW, (libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG) as u64)],
        "one-time initialisation in the C library ends with a wake-up; with one thread there are no waiters",
    ),
    any(libc::SYS_getrandom, "seeds hash tables"),
    any(libc::SYS_clock_gettime, "reads the clock on machines where the vDSO falls back to the call"),
    any(libc::SYS_sched_yield, "pauses before it retries to map a memory image that was busy"),
    any(libc::SYS_gettid, "a panic message contains the thread ID"),
    only(libc::SYS_prctl, &[When::Bits(0, LOW, libc::PR_SET_NAME as u64)], "sets the process name that ps shows"),
    only(
        libc::SYS_prlimit64,
        &[When::Bits(0, LOW, 0)],
        "lowers its own limits: CPU time to that of its job, descriptors to none",
    ),
    any(libc::SYS_exit_group, "ends the process"),
];

/// The calls of a template in addition to those of a job: it answers the worker, forks, reaps, and each fork then
/// restricts itself further. They are fatal in a fork that waits for its job.
pub(super) const TEMPLATE: &[Rule] = &[
    any(libc::SYS_sendmsg, "answers the worker, and passes on the descriptor of a fork"),
    only(
        libc::SYS_clone,
        &[When::Bits(0, !FORK_IDS, libc::SIGCHLD as u64)],
        "forks, with the flags of the C library's fork and no others",
    ),
    any(libc::SYS_set_robust_list, "the C library initialises the thread of a fork"),
    any(libc::SYS_rseq, "the C library registers restartable sequences in a fork"),
    any(libc::SYS_pidfd_open, "opens the descriptor by which the worker watches a fork"),
    any(libc::SYS_wait4, "reaps a fork"),
    any(libc::SYS_getpid, "tells a fork which parent it must have"),
    any(libc::SYS_getppid, "a fork verifies that its template still exists"),
    #[cfg(target_arch = "x86_64")]
    any(libc::SYS_dup2, "a fork replaces the template's standard descriptors by its socket and its stderr file"),
    #[cfg(not(target_arch = "x86_64"))]
    any(libc::SYS_dup3, "a fork replaces the template's standard descriptors by its socket and its stderr file"),
    only(
        libc::SYS_getpriority,
        &[When::Bits(1, LOW, 0)],
        "a fork reads its own nice value, which it must repeat when it sets its time slice",
    ),
    only(libc::SYS_sched_setattr, &[When::Bits(0, LOW, 0)], "a fork sets the length of its own time slices"),
    only(
        libc::SYS_prctl,
        &[When::Bits(0, LOW, libc::PR_SET_PDEATHSIG as u64)],
        "a fork arranges to be killed when its template ends",
    ),
    only(
        libc::SYS_seccomp,
        &[When::Bits(0, LOW, libc::SECCOMP_SET_MODE_FILTER as u64)],
        "a fork installs the filter of a job",
    ),
];

/// The calls of a preparation, from before it reads the validation code.
pub(super) const PREPARATION: &[Rule] = &[
    any(libc::SYS_write, "writes the artifact, and panic messages to stderr"),
    any(libc::SYS_close, "closes the pipe of the artifact"),
    IS_OPEN,
    any(libc::SYS_brk, "malloc extends the heap"),
    any(libc::SYS_munmap, "malloc frees large blocks; stacks of ended threads are freed"),
    any(libc::SYS_mremap, "malloc resizes large blocks"),
    any(libc::SYS_madvise, "malloc returns free memory to the kernel; so does the C library with stacks"),
    any(libc::SYS_mmap, "malloc allocates large blocks; threads get stacks; a precheck maps the artifact's code"),
    any(libc::SYS_mprotect, "malloc extends its arenas; stacks get guard pages; a precheck makes code executable"),
    any(libc::SYS_rt_sigaction, "wasmtime installs its signal handlers when it creates an engine"),
    any(libc::SYS_rt_sigprocmask, "the C library blocks signals while it starts a thread"),
    any(libc::SYS_rt_sigreturn, "returns from a signal handler"),
    any(libc::SYS_sigaltstack, "sets the stack of the signal handlers, in each thread"),
    only(
        libc::SYS_clone,
        &[When::Bits(0, CLONE_KINDS, THREAD)],
        "starts the compiler's threads; never a process or a namespace",
    ),
    any(libc::SYS_set_robust_list, "the C library initialises a new thread"),
    any(libc::SYS_rseq, "the C library registers restartable sequences in a new thread"),
    any(libc::SYS_futex, "threads wait for each other"),
    any(libc::SYS_sched_yield, "a thread without work lets others run"),
    any(libc::SYS_sched_getaffinity, "malloc and the thread pool ask for the number of cores"),
    any(libc::SYS_gettid, "a new thread and a panic message refer to the thread ID"),
    any(libc::SYS_getpid, "a new thread refers to its process"),
    any(libc::SYS_getrandom, "seeds hash tables"),
    any(libc::SYS_clock_gettime, "reads the clock on machines where the vDSO falls back to the call"),
    #[cfg(target_arch = "aarch64")]
    any(libc::SYS_membarrier, "a precheck makes new code visible to the other cores"),
    only(libc::SYS_prctl, &[When::Bits(0, LOW, libc::PR_SET_NAME as u64)], "sets the names of threads"),
    only(
        libc::SYS_prlimit64,
        &[When::Bits(0, LOW, 0), When::Is(2, 0)],
        "the C library reads the stack limit of the process; changing a limit is forbidden",
    ),
    any(libc::SYS_exit, "ends a thread"),
    any(libc::SYS_exit_group, "ends the process"),
];

/// The calls of a preparation that fail with `ENOSYS`, and are not fatal: the C library tries them and continues
/// without.
pub(super) const REFUSED: &[Rule] = &[
    any(libc::SYS_clone3, "the C library then starts threads with clone, whose flags a filter can read"),
    any(libc::SYS_openat, "malloc reads a kernel setting below /proc when a thread frees memory, and has a default"),
];

/// The calls of a template while it maps its artifact, in addition to those below. They are fatal once it has.
pub(super) const MAPPING: &[Rule] = &[
    only(
        libc::SYS_mprotect,
        &[When::Bits(2, EXEC | WRITE, EXEC)],
        "makes the machine code of the artifact executable; never writable memory",
    ),
    only(
        libc::SYS_statx,
        &[When::Bits(2, LOW, libc::AT_EMPTY_PATH as u64)],
        "determines the length of the artifact, by its descriptor and no path",
    ),
    any(libc::SYS_fstat, "determines the length of the artifact on kernels without the other call"),
    #[cfg(target_arch = "aarch64")]
    any(libc::SYS_membarrier, "makes the new code visible to the other cores"),
];

/// The list of a template that maps its artifact: the calls for that, its other calls, and those of its forks, which
/// inherit the filter.
pub(super) fn template() -> Vec<Rule> {
    [JOB, TEMPLATE, MAPPING].concat()
}
