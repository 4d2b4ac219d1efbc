//! A child process for a check that changes its process for good.

use super::failed;
use rustix::pipe::{PipeFlags, pipe_with};
use std::{
    fs::File,
    io::{Read as _, Write as _},
};

/// Runs a check in a child, so that what the check does to its process, it does to the child. This process must have
/// one thread.
pub(super) fn in_child(check: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    let (answer, child_answer) = pipe_with(PipeFlags::CLOEXEC).map_err(|e| format!("pipe: {e}"))?;
    let (mut why, mut status) = (String::new(), 0);
    // SAFETY: this process has one thread, so the child's memory is consistent; the child exits here.
    let child = unsafe {
        match libc::fork() {
            0 => {
                let why = check().err().unwrap_or_default();
                let told = File::from(child_answer).write_all(why.as_bytes());
                libc::_exit(told.is_err().into())
            }
            child if child > 0 => child,
            _ => return Err(failed("fork")),
        }
    };
    drop(child_answer);
    let read = File::from(answer).read_to_string(&mut why);
    // SAFETY: a plain system call on a child that has not been reaped.
    if unsafe { libc::waitpid(child, &raw mut status, 0) } < 0 {
        return Err(failed("waitpid"));
    }
    match (status, read, why.is_empty()) {
        (0, Ok(_), true) => Ok(()),
        (0, Ok(_), false) => Err(why),
        (_, read, _) => Err(format!("the child of the probe did not answer: wait status {status:#x}, {read:?}")),
    }
}
