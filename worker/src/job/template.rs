//! A template: a process with one thread that has an artifact mapped and linked. It is sandboxed before it maps the
//! artifact, whose machine code a compiler made that had read hostile code. Each job runs in a fork of it, with a fresh
//! instance and memory of its own.

use super::{
    failure::Failure,
    fork::{self, Fork},
    guest_log,
    packet::{receive, send},
    process::exit,
    protocol::{MAX_COMMAND, TemplateCommand, TemplateReply, TemplateSetup},
    reply::panic_text,
    stderr_limit,
};
use crate::{
    exit_status::ExitStatus,
    sandbox::{Limits, TemplateLock, lock_template},
    wasm::{CallError, ExecutionEngine, Runtime},
};
use pvf_shared::verdict::clean_reason;
use sp_wasm_interface::HostFunctions;
use std::{
    fs::File,
    io::{Cursor, Error},
    os::fd::{AsFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
    panic::{AssertUnwindSafe, catch_unwind},
};

/// Links the artifact, reports the result, then forks and reaps on command until the worker closes `control`.
pub(super) fn run<H: HostFunctions>(setup: &TemplateSetup, control: OwnedFd) -> Result<(), Failure> {
    use_single_threaded_pool()?;
    guest_log::init();
    let artifact = receive_artifact(&control)?;
    let engine = match ExecutionEngine::new(&setup.params, setup.baseline) {
        Ok(engine) => engine,
        Err(error) => return refuse(&control, error),
    };
    // From here on the process opens no files, and may run any machine code.
    let lock = match lock(setup, &artifact) {
        Ok(lock) => lock,
        // Exits before `control` is closed: the worker stops reading stderr when it sees the socket closed.
        Err(failure) => exit(Err(failure)),
    };
    // SAFETY: the worker verified the signature of what this descriptor reads, and keeps the file in a folder that only
    // the worker can write to. If it is not what the compiler makes, this process is sandboxed.
    let linked = catch_unwind(AssertUnwindSafe(|| unsafe {
        Runtime::from_open_file::<H>(engine, artifact, &setup.params, setup.has_start)
    }));
    let runtime = match linked {
        Ok(Ok(runtime)) => runtime,
        Ok(Err(error)) => return refuse(&control, error),
        Err(panic) => return reply(&control, &TemplateReply::Construction(clean_reason(&panic_text(&*panic))), &[]),
    };
    // The instance has run nothing; each fork gets its own copy.
    let mut ready = runtime.ready();
    let lock = match lock.end_mapping() {
        Ok(lock) => lock,
        Err(why) => exit(Err(Failure::Sandbox(why))),
    };
    reply(&control, &TemplateReply::Ready, &[])?;
    loop {
        let mut packet = [0; MAX_COMMAND];
        let (len, descriptors) = receive(&control, &mut packet).map_err(Failure::system("control socket"))?;
        if len == 0 {
            return Ok(());
        }
        let command = rmp_serde::from_slice(&packet[..len])
            .map_err(|source| Failure::Decode { what: "template command", source })?;
        match (command, descriptors) {
            (TemplateCommand::Fork, [Some(socket), Some(stderr), None]) => match fork_process() {
                Ok(Forked::Child { parent }) => {
                    // The socket belongs to the worker and the template only.
                    drop(control);
                    exit(fork::run(
                        Fork { runtime: &runtime, ready: ready.take(), lock: &lock, socket },
                        stderr,
                        parent,
                    ))
                }
                Ok(Forked::Parent { pid, pidfd }) => reply(&control, &TemplateReply::Forked(pid), &[pidfd.as_fd()])?,
                Err(error) => reply(&control, &failed(&error), &[])?,
            },
            (TemplateCommand::Fork, _) => return Err(Failure::Protocol("a fork command without its descriptors")),
            (TemplateCommand::Map, _) => return Err(Failure::Protocol("a second artifact")),
            // The worker has seen the fork's end, so this does not block.
            (TemplateCommand::Reap(pid), _) => {
                let result = ExitStatus::wait(pid).map_or_else(|e| failed(&e), TemplateReply::Reaped);
                reply(&control, &result, &[])?;
            }
        }
    }
}

/// The artifact, which the first command brings.
fn receive_artifact(control: &OwnedFd) -> Result<File, Failure> {
    let mut packet = [0; MAX_COMMAND];
    let (len, descriptors) = receive(control, &mut packet).map_err(Failure::system("control socket"))?;
    let command =
        rmp_serde::from_slice(&packet[..len]).map_err(|source| Failure::Decode { what: "template command", source })?;
    match (command, descriptors) {
        (TemplateCommand::Map, [Some(artifact), None, None]) => Ok(File::from(artifact)),
        _ => Err(Failure::Protocol("the first command brings no artifact")),
    }
}

fn lock(setup: &TemplateSetup, artifact: &File) -> Result<TemplateLock, Failure> {
    stderr_limit::set().map_err(Failure::system("file size limit"))?;
    let artifact = artifact.metadata().map_err(Failure::system("artifact"))?.len();
    lock_template(setup.sandbox, &Limits::template(&setup.params, artifact)).map_err(Failure::Sandbox)
}

/// Reports why there will be no forks.
fn refuse(control: &OwnedFd, error: CallError) -> Result<(), Failure> {
    let refusal = match error {
        CallError::Machine(why) => TemplateReply::Machine(why),
        CallError::Construction(why) | CallError::Invalid(why) | CallError::HostPanic(why) => {
            TemplateReply::Construction(why)
        }
    };
    reply(control, &refusal, &[])
}

/// Gives parallel host functions (those of RFC 163) a thread pool that consists of this thread. The default pool would
/// start threads in the fork; the sandbox kills the fork for that, and the job would have no verdict.
fn use_single_threaded_pool() -> Result<(), Failure> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread();
    pool.build_global().map_err(Failure::ThreadPool)
}

fn reply(control: &OwnedFd, message: &TemplateReply, descriptors: &[BorrowedFd<'_>]) -> Result<(), Failure> {
    let send = |bytes: &[u8]| send(control, bytes, descriptors).map_err(Failure::system("control socket"));
    // Replies about forks fit into this buffer; they must not allocate, because memory that the template writes to has
    // to be copied by the kernel for each fork.
    let mut buffer = Cursor::new([0; 128]);
    if rmp_serde::encode::write(&mut buffer, message).is_ok() {
        return send(&buffer.get_ref()[..buffer.position() as usize]);
    }
    send(&rmp_serde::to_vec(message).map_err(|source| Failure::Encode { what: "template reply", source })?)
}

fn failed(error: &Error) -> TemplateReply {
    TemplateReply::Failed(error.raw_os_error().unwrap_or(libc::EIO))
}

enum Forked {
    Child { parent: i32 },
    Parent { pid: i32, pidfd: OwnedFd },
}

unsafe extern "C" {
    /// `fork` without the handlers for other threads, which write to a handful of pages here and in each fork.
    /// (glibc since 2.34, musl since 1.2.2.)
    fn _Fork() -> libc::pid_t;
}

fn fork_process() -> Result<Forked, Error> {
    // SAFETY: this process has one thread, so the child's copy of its memory is consistent. The child has not been
    // reaped when its pidfd is opened, so the process id is still its own; nothing else owns the new descriptor.
    unsafe {
        let parent = libc::getpid();
        match _Fork() {
            0 => Ok(Forked::Child { parent }),
            pid if pid > 0 => match libc::syscall(libc::SYS_pidfd_open, pid, 0) {
                fd if fd >= 0 => Ok(Forked::Parent { pid, pidfd: OwnedFd::from_raw_fd(fd as i32) }),
                // The worker could not watch the fork, and a template may not send signals: both exit.
                _ => exit(Err(Failure::last_os_error("descriptor of a fork"))),
            },
            _ => Err(Error::last_os_error()),
        }
    }
}
