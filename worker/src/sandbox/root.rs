//! An empty root: the process's whole file system is one directory with nothing in it that cannot be written, and
//! what was there before is not mounted any more. Files that are open or mapped stay so.

use super::{Mechanism, Plan, failed};
use std::{ffi::CStr, fs, path::Path, ptr::null};

/// Some directory that is always there, to mount on: it is not seen by anybody else.
const PLACE: &CStr = c"/proc";

/// In a process that was cloned into the namespaces of this plan.
pub(super) fn enter(plan: Plan) -> Result<(), String> {
    if !plan.has(Mechanism::MountNamespace) {
        // A worker that is root would take the machine's root away.
        return Err("it needs a mount namespace of its own".into());
    }
    let still = libc::MS_RDONLY | libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    // SAFETY: plain system calls with strings that end with 0; this process has one thread and its own mounts.
    unsafe {
        // Nothing of what follows is to reach the namespace that this one was copied from.
        if libc::mount(null(), c"/".as_ptr(), null(), libc::MS_REC | libc::MS_PRIVATE, null()) != 0 {
            return Err(failed("mounts of its own"));
        }
        let options = c"size=4k,nr_inodes=2,mode=555".as_ptr().cast();
        if libc::mount(c"pvf-empty".as_ptr(), PLACE.as_ptr(), c"tmpfs".as_ptr(), still, options) != 0 {
            return Err(failed("mount of a tmpfs"));
        }
        if libc::chdir(PLACE.as_ptr()) != 0 {
            return Err(failed("chdir"));
        }
        // Onto itself: the old root is then on top of the new one, and taken away.
        if libc::syscall(libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr()) != 0 {
            return Err(failed("pivot_root"));
        }
        if libc::umount2(c".".as_ptr(), libc::MNT_DETACH) != 0 {
            return Err(failed("umount of the old root"));
        }
        if libc::chdir(c"/".as_ptr()) != 0 {
            return Err(failed("chdir to the new root"));
        }
    }
    Ok(())
}

/// Whether nothing is there and nothing can be made.
pub(super) fn is_empty() -> Result<(), String> {
    let entries = fs::read_dir("/").map_err(|e| format!("/ cannot be listed: {e}"))?;
    if let Some(entry) = entries.flatten().next() {
        return Err(format!("{} is there", entry.path().display()));
    }
    if Path::new("/..").canonicalize().ok().as_deref() != Some(Path::new("/")) {
        return Err("/.. leads somewhere".into());
    }
    match fs::create_dir("/x") {
        Err(error) if error.raw_os_error() == Some(libc::EROFS) => Ok(()),
        other => Err(format!("a directory can be made: {other:?}")),
    }
}
