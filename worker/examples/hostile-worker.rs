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

impl HostFunctions for Hostile {
    fn host_functions() -> Vec<&'static dyn Function> {
        Vec::new()
    }

    fn register_static<T: HostFunctionRegistry>(registry: &mut T) -> Result<(), T::Error> {
        let deeds: [(&'static str, fn()); 13] = [
            ("ext_hostile_silent_version_1", || end(0)),
            ("ext_hostile_odd_status_version_1", || {
                eprintln!("words of the job");
                end(3)
            }),
            ("ext_hostile_rubbish_version_1", || {
                reply(b"rubbish\n");
                end(0)
            }),
            ("ext_hostile_longer_than_it_says_version_1", || {
                reply(b"\x01\0\0\0xx");
                end(0)
            }),
            ("ext_hostile_half_a_reply_version_1", || {
                reply(b"\xff\0\0\0half");
                end(0)
            }),
            ("ext_hostile_floods_version_1", || {
                loop {
                    reply(&[b'y'; 4096]);
                }
            }),
            ("ext_hostile_killed_version_1", || signal(std::process::id() as i32, libc::SIGKILL)),
            ("ext_hostile_stops_version_1", || signal(std::process::id() as i32, libc::SIGSTOP)),
            ("ext_hostile_sleeps_version_1", sleep),
            ("ext_hostile_closes_everything_version_1", close_everything),
            ("ext_hostile_leaves_a_child_version_1", leave_a_child),
            ("ext_hostile_chatters_version_1", chatter),
            // SAFETY: a plain system call.
            ("ext_hostile_kills_its_parent_version_1", || signal(unsafe { libc::getppid() }, libc::SIGKILL)),
        ];
        for (name, deed) in deeds {
            registry.register_static(name, move |_: wasmtime::Caller<'_, T::State>| deed())?;
        }
        Ok(())
    }
}

pvf_worker::worker_main!(Hostile);
