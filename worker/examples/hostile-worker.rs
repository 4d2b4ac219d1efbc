//! A worker executable whose host functions do, inside the job process, what a guest that broke out of its sandbox
//! would do. The tests of job processes have guests that import them; nobody else should.

use sp_wasm_interface::{Function, HostFunctionRegistry, HostFunctions};
use std::{io::Write as _, os::fd::FromRawFd as _, time::Duration};

/// `env.ext_hostile_…_version_1()`
struct Hostile;

/// The descriptor on which a job replies.
const REPLY: i32 = 0;

fn reply(bytes: &[u8]) {
    // SAFETY: the job's own descriptor, which is not closed here.
    let mut to = std::mem::ManuallyDrop::new(unsafe { std::fs::File::from_raw_fd(REPLY) });
    let _ = to.write_all(bytes);
}

fn end(status: i32) -> ! {
    // SAFETY: _exit may be called at any time.
    unsafe { libc::_exit(status) }
}

fn signal(pid: i32, signal: i32) {
    // SAFETY: a plain system call.
    unsafe { libc::kill(pid, signal) };
}

fn sleep() {
    std::thread::sleep(Duration::from_secs(600));
}

fn close_everything() {
    // SAFETY: nothing of this process is of use any more.
    unsafe { libc::close_range(0, u32::MAX, 0) };
    sleep();
}

fn leave_a_child() {
    // SAFETY: the child only sleeps and ends.
    match unsafe { libc::fork() } {
        0 => {
            sleep();
            end(0)
        }
        child => {
            eprint!("{child}");
            end(3)
        }
    }
}

fn chatter() {
    for _ in 0..3000 {
        eprintln!("noise noise noise noise");
    }
    eprintln!("last");
    end(3)
}

/// A system call that should have ended the process. Exit code 42 says that it was made and did what it is for, 43
/// that the kernel refused it.
fn call(number: libc::c_long, arguments: [usize; 4]) -> ! {
    let [a, b, c, d] = arguments;
    // SAFETY: the arguments are those of the call, with live memory where there is a pointer; this process is to end.
    let result = unsafe { libc::syscall(number, a, b, c, d, 0, 0) };
    end(if result >= 0 { 42 } else { 43 })
}

fn parent() -> usize {
    // SAFETY: a plain system call.
    unsafe { libc::getppid() as usize }
}

fn text(text: &'static std::ffi::CStr) -> usize {
    text.as_ptr() as usize
}

fn fork_bomb() {
    loop {
        // SAFETY: nothing of this process is of use any more.
        unsafe { libc::fork() };
    }
}

fn allocate() {
    loop {
        // Never touched: it is the address space that runs out.
        std::mem::forget(std::hint::black_box(vec![0_u8; 1 << 30]));
    }
}

fn recurse(depth: u64) -> u64 {
    let frame = std::hint::black_box([depth; 128]);
    if frame[0] == u64::MAX {
        return 0;
    }
    recurse(depth + 1) + frame[(depth % 128) as usize]
}

fn spin() {
    loop {
        std::hint::spin_loop();
    }
}

fn wait() {
    // SAFETY: a plain system call; the pointer is to a live byte.
    unsafe { libc::read(REPLY, [0_u8].as_mut_ptr().cast(), 1) };
    end(44)
}

/// Uses twice the time that it may, and then replies as if nothing were.
fn lie_about_time() {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    while time.tv_sec == 0 && time.tv_nsec < 100_000_000 {
        // SAFETY: the pointer is to a live value.
        unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    }
    reply(&[&[0; 4][..], RESULT].concat());
    end(0)
}

/// The encoding of a result with nothing in it.
const RESULT: &[u8] = &[0; 12];

fn close_and_spin() {
    for descriptor in 0..1024 {
        // SAFETY: nothing of this process is of use any more.
        unsafe { libc::close(descriptor) };
    }
    spin();
}

type Deed = (&'static str, fn());

/// What a guest that broke out could do with its own process and its reply.
const OWN: [Deed; 21] = [
    ("silent", || end(0)),
    ("odd_status", || {
        eprintln!("words of the job");
        end(3)
    }),
    ("rubbish", || {
        reply(b"rubbish\n");
        end(0)
    }),
    ("longer_than_it_says", || {
        reply(b"\x01\0\0\0xx");
        end(0)
    }),
    ("half_a_reply", || {
        reply(b"\xff\0\0\0half");
        end(0)
    }),
    ("forges_a_result", || {
        reply(b"\0\0\0\0\xff\xff\xff\xff no result");
        end(0)
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
    ("lies_about_time", lie_about_time),
    ("spins", spin),
    ("waits", wait),
    ("allocates", allocate),
    ("overflows_the_stack", || {
        std::hint::black_box(recurse(0));
    }),
    ("fork_bomb", fork_bomb),
];

/// What it could do to others.
const OTHERS: [Deed; 22] = [
    ("kills_its_parent", || signal(parent() as i32, libc::SIGKILL)),
    ("kills_all", || signal(-1, libc::SIGKILL)),
    ("opens_a_file", || call(libc::SYS_openat, [libc::AT_FDCWD as usize, text(c"/etc/passwd"), 0, 0])),
    ("reads_proc", || call(libc::SYS_openat, [libc::AT_FDCWD as usize, text(c"/proc/self/maps"), 0, 0])),
    ("looks_at_a_file", || call(libc::SYS_faccessat, [libc::AT_FDCWD as usize, text(c"/etc"), 0, 0])),
    ("opens_a_socket", || call(libc::SYS_socket, [libc::AF_INET as usize, libc::SOCK_STREAM as usize, 0, 0])),
    ("opens_a_local_socket", || call(libc::SYS_socket, [libc::AF_UNIX as usize, libc::SOCK_STREAM as usize, 0, 0])),
    ("io_uring", || call(libc::SYS_io_uring_setup, [1, [0_u8; 256].as_mut_ptr() as usize, 0, 0])),
    ("ptraces_its_parent", || call(libc::SYS_ptrace, [libc::PTRACE_SEIZE as usize, parent(), 0, 0])),
    ("reads_its_parents_memory", || call(libc::SYS_process_vm_readv, [parent(), 0, 0, 0])),
    ("makes_a_memory_file", || call(libc::SYS_memfd_create, [text(c"x"), 0, 0, 0])),
    ("executes", || call(libc::SYS_execve, [text(c"/bin/true"), 0, 0, 0])),
    ("makes_code", || {
        let (prot, flags) = (libc::PROT_READ | libc::PROT_EXEC, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping, which is not used.
        unsafe { libc::mmap(std::ptr::null_mut(), 4096, prot, flags, -1, 0) };
        end(42)
    }),
    ("vforks", || call(libc::SYS_clone, [(libc::CLONE_VFORK | libc::SIGCHLD) as usize, 0, 0, 0])),
    ("makes_a_thread_by_clone3", || call(libc::SYS_clone3, [[0_u64; 11].as_ptr() as usize, 88, 0, 0])),
    ("unshares", || call(libc::SYS_unshare, [libc::CLONE_NEWUSER as usize, 0, 0, 0])),
    ("mounts", || call(libc::SYS_mount, [0, text(c"/"), 0, libc::MS_PRIVATE as usize])),
    ("bpf", || call(libc::SYS_bpf, [0, 0, 0, 0])),
    ("perf", || call(libc::SYS_perf_event_open, [[0_u64; 16].as_ptr() as usize, 0, usize::MAX, usize::MAX])),
    ("userfaultfd", || call(libc::SYS_userfaultfd, [0, 0, 0, 0])),
    ("keys", || call(libc::SYS_keyctl, [0, libc::KEY_SPEC_SESSION_KEYRING as usize, 0, 0])),
    ("takes_a_descriptor", || call(libc::SYS_dup, [0, 0, 0, 0])),
];

impl HostFunctions for Hostile {
    fn host_functions() -> Vec<&'static dyn Function> {
        Vec::new()
    }

    fn register_static<T: HostFunctionRegistry>(registry: &mut T) -> Result<(), T::Error> {
        for (name, deed) in OWN.into_iter().chain(OTHERS) {
            // The registry keeps names for ever; an executable registers them once in each process.
            let name = String::leak(format!("ext_hostile_{name}_version_1"));
            registry.register_static(name, move |_: wasmtime::Caller<'_, T::State>| deed())?;
        }
        Ok(())
    }
}

pvf_worker::worker_main!(Hostile);
