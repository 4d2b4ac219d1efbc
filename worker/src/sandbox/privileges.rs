//! `no_new_privs`: executing a file cannot grant privileges. Jobs execute nothing, but landlock and seccomp require it
//! of an unprivileged process.

use super::failed;

pub(super) fn set_no_new_privs() -> Result<(), String> {
    // SAFETY: a plain system call.
    if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } == 0 {
        Ok(())
    } else {
        Err(failed("prctl(PR_SET_NO_NEW_PRIVS)"))
    }
}

/// Verifies that the flag is set.
pub(super) fn verify() -> Result<(), String> {
    // SAFETY: a plain system call.
    let set = unsafe { libc::prctl(libc::PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 };
    if set { Ok(()) } else { Err("no_new_privs did not persist".into()) }
}
