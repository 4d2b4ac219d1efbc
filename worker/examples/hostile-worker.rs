//! A worker executable whose extra host functions do, inside the job process, what machine code of a guest would do
//! that escaped from wasmtime. For tests only: guests import the functions as `env.ext_hostile_NAME_version_1`.
//!
//! `hostile-worker --action NAME` performs one action in a plain process: tests compare the sandbox with that.

use sp_wasm_interface::{Function, HostFunctionRegistry, HostFunctions};
use std::{
    ffi::CStr, io::Write as _, os::fd::FromRawFd as _, process::ExitCode, ptr::null, sync::OnceLock, time::Duration,
};

/// The descriptor to which a job writes its reply.
const REPLY: i32 = 0;
/// Exit code: the kernel performed the action.
const PERFORMED: i32 = 42;
/// Exit code: the kernel refused the action.
const REFUSED: i32 = 43;

/// The extra host functions.
struct Hostile;

/// Name and implementation of a host function.
type Action = (&'static str, fn());

fn reply(bytes: &[u8]) {
    // SAFETY: the job's own descriptor, which is not closed here.
    let mut to = std::mem::ManuallyDrop::new(unsafe { std::fs::File::from_raw_fd(REPLY) });
    let _ = to.write_all(bytes);
}

fn exit(status: i32) -> ! {
    // SAFETY: _exit may be called at any time.
    unsafe { libc::_exit(status) }
}

/// Exits with the result of a system call: whether the kernel performed it.
fn report(result: i64) -> ! {
    exit(if result >= 0 { PERFORMED } else { REFUSED })
}

/// Makes a system call, and reports its result.
fn call(number: libc::c_long, arguments: [usize; 4]) -> ! {
    let [a, b, c, d] = arguments;
    // SAFETY: the arguments are those of the call, with live memory where there is a pointer; the process then exits.
    report(unsafe { libc::syscall(number, a, b, c, d, 0, 0) })
}

fn signal(pid: i32, signal: i32) {
    // SAFETY: a plain system call.
    unsafe { libc::kill(pid, signal) };
}

fn parent() -> usize {
    // SAFETY: a plain system call.
    unsafe { libc::getppid() as usize }
}

fn text(text: &'static CStr) -> usize {
    text.as_ptr() as usize
}

#[expect(clippy::disallowed_methods, reason = "a job that hangs is what this program is for")]
fn sleep() {
    std::thread::sleep(Duration::from_secs(600));
}

fn spin() {
    loop {
        std::hint::spin_loop();
    }
}

fn close_everything() {
    // SAFETY: the process uses no descriptor any more.
    unsafe { libc::close_range(0, u32::MAX, 0) };
    sleep();
}

fn close_and_spin() {
    for descriptor in 0..1024 {
        // SAFETY: the process uses no descriptor any more.
        unsafe { libc::close(descriptor) };
    }
    spin();
}

fn leave_a_child() {
    // SAFETY: the child only sleeps and exits.
    match unsafe { libc::fork() } {
        0 => {
            sleep();
            exit(0)
        }
        child => {
            eprint!("{child}");
            exit(3)
        }
    }
}

/// Forks again and again. Bounded, so that a control run without the sandbox does not exhaust the machine.
fn fork_bomb() {
    for _ in 0..16 {
        // SAFETY: the child only exits.
        match unsafe { libc::fork() } {
            0 => exit(0),
            child if child < 0 => exit(REFUSED),
            _ => {}
        }
    }
    exit(PERFORMED)
}

fn chatter() {
    for _ in 0..3000 {
        eprintln!("noise noise noise noise");
    }
    eprintln!("last");
    exit(3)
}

/// Allocates 64 GiB that it never touches: the limit of address space is 4 GiB and a little more.
fn allocate() {
    for _ in 0..64 {
        std::mem::forget(std::hint::black_box(vec![0_u8; 1 << 30]));
    }
    exit(PERFORMED)
}

/// Touches a gibibyte of memory, again and again: the limit of its cgroup applies to what it touches once it is in
/// there.
fn touch_memory() {
    for _ in 0..64 {
        drop(std::hint::black_box(vec![1_u8; 1 << 30]));
    }
    exit(PERFORMED)
}

fn recurse(depth: u64) -> u64 {
    let frame = std::hint::black_box([depth; 128]);
    if frame[0] == u64::MAX {
        return 0;
    }
    recurse(depth + 1) + frame[(depth % 128) as usize]
}

/// Waits for input that never comes.
fn wait() {
    // SAFETY: a plain system call; the pointer is to a live byte.
    unsafe { libc::read(REPLY, [0_u8].as_mut_ptr().cast(), 1) };
    exit(44)
}

/// Uses 100 ms of CPU time, and then replies with a valid result.
fn lie_about_time() {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    while time.tv_sec == 0 && time.tv_nsec < 100_000_000 {
        // SAFETY: the pointer is to a live value.
        unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    }
    reply(&VALID_REPLY);
    exit(0)
}

/// Whether this program gives wrong answers: its file says so in its name, because a job has no other settings.
fn is_liar() -> bool {
    static LIAR: OnceLock<bool> = OnceLock::new();
    *LIAR.get_or_init(|| std::env::current_exe().is_ok_and(|path| path.to_string_lossy().contains("lying")))
}

/// The reply of a job whose candidate is valid: no text, the length of the result, two claims that are not made, and an
/// empty `ValidationResult`.
const VALID_REPLY: [u8; 28] = *b"\0\0\0\0\x0c\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0\0\0\0\0\0\0\0\0";

/// Kills every process that it can see, except itself and PID 1.
fn kill_all() {
    // Outside a PID namespace of its own the process would kill everything on the machine.
    // SAFETY: a plain system call. (The list of a job allows it, unlike those that tell the process or its parent.)
    if unsafe { libc::gettid() } > 64 {
        exit(45);
    }
    call(libc::SYS_kill, [usize::MAX, libc::SIGKILL as usize, 0, 0])
}

fn read_memory_of_the_parent() {
    static BYTE: u8 = 7;
    let mut read = 0_u8;
    // A fork has the static at the same address as its template.
    let from = libc::iovec { iov_base: (&raw const BYTE).cast_mut().cast(), iov_len: 1 };
    let to = libc::iovec { iov_base: (&raw mut read).cast(), iov_len: 1 };
    // SAFETY: the local vector is of one live byte; a bad remote address is an error of the call.
    let result = unsafe { libc::process_vm_readv(parent() as i32, &raw const to, 1, &raw const from, 1, 0) };
    report(if read == BYTE { result as i64 } else { -1 })
}

fn execute() {
    let argv = [c"sh".as_ptr(), c"-c".as_ptr(), c"exit 42".as_ptr(), null()];
    // SAFETY: both arrays end with a null pointer. On success the call does not return.
    unsafe { libc::execve(c"/bin/sh".as_ptr(), argv.as_ptr(), [null()].as_ptr()) };
    exit(REFUSED)
}

fn map_executable_memory() {
    let (prot, flags) = (libc::PROT_READ | libc::PROT_EXEC, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping, which is not used.
    let mapping = unsafe { libc::mmap(std::ptr::null_mut(), 4096, prot, flags, -1, 0) };
    report(if mapping == libc::MAP_FAILED { -1 } else { 0 })
}

/// Creates an array map of one entry.
fn create_a_bpf_map() {
    // `union bpf_attr`: type (array), size of keys and of values, number of entries.
    let mut attributes = [0_u32; 32];
    attributes[..4].copy_from_slice(&[2, 4, 4, 1]);
    call(libc::SYS_bpf, [0, attributes.as_ptr() as usize, size_of_val(&attributes), 0])
}

/// Opens an event that counts nothing, for user space of its own process.
fn open_a_perf_event() {
    // `struct perf_event_attr` in its first version of 64 bytes: type (software) and size; config (dummy); flags
    // (`exclude_kernel` and `exclude_hv`).
    let mut attributes = [0_u64; 8];
    (attributes[0], attributes[1], attributes[5]) = (1 | 64 << 32, 9, 1 << 5 | 1 << 6);
    call(libc::SYS_perf_event_open, [attributes.as_ptr() as usize, 0, usize::MAX, usize::MAX])
}

/// `UFFD_USER_MODE_ONLY`
const USER_MODE_ONLY: usize = 1;

/// More than the worker allows a job to write to stderr, bytes.
const MORE_THAN_STDERR: usize = 2 << 20;

/// Actions that concern its own process and its reply.
const OWN: [Action; 27] = [
    ("silent", || exit(0)),
    ("odd_status", || {
        eprintln!("words of the job");
        exit(3)
    }),
    ("rubbish", || {
        reply(b"rubbish\n");
        exit(0)
    }),
    ("longer_than_it_says", || {
        reply(b"\x01\0\0\0xx");
        exit(0)
    }),
    ("half_a_reply", || {
        reply(b"\xff\0\0\0half");
        exit(0)
    }),
    ("forges_a_result", || {
        reply(b"\0\0\0\0\xff\xff\xff\xff no result");
        exit(0)
    }),
    ("floods", || {
        loop {
            reply(&[b'y'; 4096]);
        }
    }),
    ("killed", || signal(std::process::id() as i32, libc::SIGKILL)),
    ("stops", || signal(std::process::id() as i32, libc::SIGSTOP)),
    ("sleeps", sleep),
    ("closes_everything", close_everything),
    ("closes_and_spins", close_and_spin),
    ("leaves_a_child", leave_a_child),
    ("chatters", chatter),
    ("chatters_without_end", || {
        loop {
            eprintln!("noise noise noise noise");
        }
    }),
    ("panics_as_if_a_print_had_failed", || panic!("failed printing to stderr: File too large (os error 27)")),
    ("panics_with_a_large_message", || panic!("large message {}", "x".repeat(MORE_THAN_STDERR))),
    ("prints_and_panics", || {
        eprintln!("noise");
        panic!("after printing")
    }),
    ("fills_stderr_and_panics", || {
        let _ = std::io::stderr().write_all(&vec![b'x'; MORE_THAN_STDERR]);
        panic!("on full stderr")
    }),
    ("lies_about_time", lie_about_time),
    ("lies_if_it_is_a_liar", || {
        if is_liar() {
            reply(&VALID_REPLY);
            exit(0)
        }
    }),
    ("spins", spin),
    ("waits", wait),
    ("allocates", allocate),
    ("touches_memory", touch_memory),
    ("overflows_the_stack", || {
        std::hint::black_box(recurse(0));
    }),
    ("fork_bomb", fork_bomb),
];

/// Actions that concern other processes, the machine, or the kernel.
const OTHERS: [Action; 22] = [
    ("kills_its_parent", || {
        signal(parent() as i32, libc::SIGKILL);
        // The kernel kills a fork when its template ends, but not at the same instant.
        sleep();
    }),
    ("kills_all", kill_all),
    ("opens_a_file", || call(libc::SYS_openat, [libc::AT_FDCWD as usize, text(c"/etc/passwd"), 0, 0])),
    ("reads_proc", || call(libc::SYS_openat, [libc::AT_FDCWD as usize, text(c"/proc/self/maps"), 0, 0])),
    ("looks_at_a_file", || call(libc::SYS_faccessat, [libc::AT_FDCWD as usize, text(c"/etc"), 0, 0])),
    ("opens_a_socket", || call(libc::SYS_socket, [libc::AF_INET as usize, libc::SOCK_STREAM as usize, 0, 0])),
    ("opens_a_local_socket", || call(libc::SYS_socket, [libc::AF_UNIX as usize, libc::SOCK_STREAM as usize, 0, 0])),
    ("io_uring", || call(libc::SYS_io_uring_setup, [1, [0_u8; 256].as_mut_ptr() as usize, 0, 0])),
    ("ptraces_its_parent", || call(libc::SYS_ptrace, [libc::PTRACE_SEIZE as usize, parent(), 0, 0])),
    ("reads_its_parents_memory", read_memory_of_the_parent),
    ("makes_a_memory_file", || call(libc::SYS_memfd_create, [text(c"x"), 0, 0, 0])),
    ("executes", execute),
    ("makes_code", map_executable_memory),
    ("vforks", || call(libc::SYS_clone, [(libc::CLONE_VFORK | libc::SIGCHLD) as usize, 0, 0, 0])),
    ("makes_a_thread_by_clone3", || call(libc::SYS_clone3, [[0_u64; 11].as_ptr() as usize, 88, 0, 0])),
    ("unshares", || call(libc::SYS_unshare, [libc::CLONE_NEWUSER as usize, 0, 0, 0])),
    ("mounts", || call(libc::SYS_mount, [0, text(c"/"), 0, libc::MS_PRIVATE as usize])),
    ("bpf", create_a_bpf_map),
    ("perf", open_a_perf_event),
    ("userfaultfd", || call(libc::SYS_userfaultfd, [USER_MODE_ONLY, 0, 0, 0])),
    ("keys", || call(libc::SYS_keyctl, [0, libc::KEY_SPEC_SESSION_KEYRING as usize, 0, 0])),
    ("takes_a_descriptor", || call(libc::SYS_dup, [0, 0, 0, 0])),
];

fn actions() -> impl Iterator<Item = Action> {
    OWN.into_iter().chain(OTHERS)
}

impl HostFunctions for Hostile {
    fn host_functions() -> Vec<&'static dyn Function> {
        Vec::new()
    }

    fn register_static<T: HostFunctionRegistry>(registry: &mut T) -> Result<(), T::Error> {
        for (name, action) in actions() {
            // The registry requires static names; a process registers them once.
            let name = String::leak(format!("ext_hostile_{name}_version_1"));
            registry.register_static(name, move |_: wasmtime::Caller<'_, T::State>| action())?;
        }
        Ok(())
    }
}

#[global_allocator]
static ALLOCATOR: pvf_worker::JobAllocator = pvf_worker::JobAllocator::new();

fn main() -> ExitCode {
    // Inside the sandbox it is not known.
    is_liar();
    pvf_worker::run_job_if_asked::<Hostile>();
    let mut args = std::env::args().skip(1);
    if args.next().as_deref() == Some("--action") {
        let wanted = args.next().expect("--action takes a name");
        let (_, action) = actions().find(|(name, _)| *name == wanted).expect("an action of that name");
        action();
        return ExitCode::FAILURE;
    }
    pvf_worker::cli::worker_main()
}
