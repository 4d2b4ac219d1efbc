//! Replaces the root directory with an empty, read-only tmpfs, and unmounts everything else in this mount namespace.
//! Files that are already open or mapped stay usable.

use super::{Mechanism, Plan, failed};
use std::{ffi::CStr, fs, path::Path, ptr::null};

/// The mount point of the new root: any directory that always exists.
const MOUNT_POINT: &CStr = c"/proc";

/// Enters the empty root. The process must have been cloned into the namespaces of this plan.
pub(super) fn enter(plan: Plan) -> Result<(), String> {
    if !plan.has(Mechanism::MountNamespace) {
        // Without one, a worker that runs as root would unmount the machine's own root.
        return Err("requires a mount namespace of its own".into());
    }
    let flags = libc::MS_RDONLY | libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    // SAFETY: plain system calls with strings that end with 0; this process has one thread and its own mounts.
    unsafe {
        // Keeps the mounts below from propagating to the parent namespace.
        if libc::mount(null(), c"/".as_ptr(), null(), libc::MS_REC | libc::MS_PRIVATE, null()) != 0 {
            return Err(failed("mount(MS_PRIVATE) of /"));
        }
        let options = c"size=4k,nr_inodes=2,mode=555".as_ptr().cast();
        if libc::mount(c"pvf-empty".as_ptr(), MOUNT_POINT.as_ptr(), c"tmpfs".as_ptr(), flags, options) != 0 {
            return Err(failed("mount of a tmpfs"));
        }
        if libc::chdir(MOUNT_POINT.as_ptr()) != 0 {
            return Err(failed("chdir to the tmpfs"));
        }
        // Stacks the old root on top of the new one, at the same path; the unmount then removes the old root.
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

/// Verifies that the root is empty, has no parent, and is read-only.
pub(super) fn verify() -> Result<(), String> {
    let entries = fs::read_dir("/").map_err(|e| format!("listing / failed: {e}"))?;
    if let Some(entry) = entries.flatten().next() {
        return Err(format!("root not empty: {} exists", entry.path().display()));
    }
    if Path::new("/..").canonicalize().ok().as_deref() != Some(Path::new("/")) {
        return Err("/.. does not resolve to /".into());
    }
    match fs::create_dir("/x") {
        Err(error) if error.raw_os_error() == Some(libc::EROFS) => Ok(()),
        Err(error) => Err(format!("root not read-only: creating a directory fails with {error}")),
        Ok(()) => Err("root not read-only: a directory was created".into()),
    }
}
