//! No new privileges: nothing that the process executes can give it more than it has. It executes nothing anyway;
//! landlock and seccomp want it.

use super::failed;

pub(super) fn none_new() -> Result<(), String> {
    // SAFETY: a plain system call.
    if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } == 0 { Ok(()) } else { Err(failed("prctl")) }
}

/// Whether it is so.
pub(super) fn are_off() -> Result<(), String> {
    // SAFETY: a plain system call.
    let off = unsafe { libc::prctl(libc::PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 };
    if off { Ok(()) } else { Err("it does not last".into()) }
}
