//! Drops every capability. Until then the process is root in its own user namespace, because the empty root needs it to
//! mount. The bounding set is cleared and the securebits are locked as well, so that executing a file as UID 0 restores
//! nothing.

use super::failed;
use std::io::Error;

/// `_LINUX_CAPABILITY_VERSION_3`
const VERSION: u32 = 0x2008_0522;
/// UID 0 gets no implicit capabilities: `SECBIT_NOROOT`, `SECBIT_NO_SETUID_FIXUP` and `SECBIT_NO_CAP_AMBIENT_RAISE`,
/// each with its lock bit, and the lock bit of `SECBIT_KEEP_CAPS`, which stays off.
const SECUREBITS: libc::c_ulong = 0b1110_1111;
/// Upper bound of capability numbers. The kernel rejects numbers that it does not know.
const MAX_CAPABILITIES: libc::c_ulong = 64;

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Set {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

pub(super) fn drop_all() -> Result<(), String> {
    // SAFETY: plain system calls; the pointers are to live values of the kernel's layout.
    unsafe {
        for capability in 0..MAX_CAPABILITIES {
            if libc::prctl(libc::PR_CAPBSET_READ, capability, 0, 0, 0) == 1
                && libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) != 0
            {
                return Err(failed("prctl(PR_CAPBSET_DROP)"));
            }
        }
        if libc::prctl(libc::PR_SET_SECUREBITS, SECUREBITS, 0, 0, 0) != 0 {
            return Err(failed("prctl(PR_SET_SECUREBITS)"));
        }
        if libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0 {
            return Err(failed("prctl(PR_CAP_AMBIENT_CLEAR_ALL)"));
        }
        let header = Header { version: VERSION, pid: 0 };
        let empty = [Set::default(); 2];
        if libc::syscall(libc::SYS_capset, &raw const header, empty.as_ptr()) != 0 {
            return Err(failed("capset"));
        }
    }
    Ok(())
}

/// Verifies that every set is empty and that a privileged call is refused.
pub(super) fn verify() -> Result<(), String> {
    let header = Header { version: VERSION, pid: 0 };
    let mut sets = [Set { effective: 1, ..Set::default() }; 2];
    // SAFETY: plain system calls; the pointers are to live values of the kernel's layout.
    unsafe {
        if libc::syscall(libc::SYS_capget, &raw const header, sets.as_mut_ptr()) != 0 {
            return Err(failed("capget"));
        }
        if sets != [Set::default(); 2] {
            return Err("capability sets not empty".into());
        }
        if (0..MAX_CAPABILITIES).any(|capability| libc::prctl(libc::PR_CAPBSET_READ, capability, 0, 0, 0) == 1) {
            return Err("capability bounding set not empty".into());
        }
        // The name is one byte too long: with CAP_SYS_ADMIN the error would be EINVAL, and nothing is changed.
        libc::sethostname([0; 65].as_ptr(), 65);
        if Error::last_os_error().raw_os_error() != Some(libc::EPERM) {
            return Err("sethostname not refused with EPERM".into());
        }
    }
    Ok(())
}
