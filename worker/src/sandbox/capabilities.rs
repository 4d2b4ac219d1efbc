//! No capabilities: in its own user namespace the process is root until here, which it needs for the empty root. Gone
//! are also the bounding set and root's way of getting them back by executing something.

use super::failed;
use std::io::Error;

/// `_LINUX_CAPABILITY_VERSION_3`
const VERSION: u32 = 0x2008_0522;
/// Root is nobody special, and none of that can be undone: `SECBIT_NOROOT`, `SECBIT_NO_SETUID_FIXUP`,
/// `SECBIT_NO_CAP_AMBIENT_RAISE`, each with its lock, and the lock of `SECBIT_KEEP_CAPS`, which is off.
const SECUREBITS: libc::c_ulong = 0b1110_1111;
/// More than there are.
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
                return Err(failed("bounding set"));
            }
        }
        if libc::prctl(libc::PR_SET_SECUREBITS, SECUREBITS, 0, 0, 0) != 0 {
            return Err(failed("securebits"));
        }
        if libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0 {
            return Err(failed("ambient set"));
        }
        let header = Header { version: VERSION, pid: 0 };
        let none = [Set::default(); 2];
        if libc::syscall(libc::SYS_capset, &raw const header, none.as_ptr()) != 0 {
            return Err(failed("capset"));
        }
    }
    Ok(())
}

/// Whether there are none, and none can be had.
pub(super) fn are_gone() -> Result<(), String> {
    let header = Header { version: VERSION, pid: 0 };
    let mut sets = [Set { effective: 1, ..Set::default() }; 2];
    // SAFETY: plain system calls; the pointers are to live values of the kernel's layout.
    unsafe {
        if libc::syscall(libc::SYS_capget, &raw const header, sets.as_mut_ptr()) != 0 {
            return Err(failed("capget"));
        }
        if sets != [Set::default(); 2] {
            return Err("some are left".into());
        }
        if (0..MAX_CAPABILITIES).any(|capability| libc::prctl(libc::PR_CAPBSET_READ, capability, 0, 0, 0) == 1) {
            return Err("some are left in the bounding set".into());
        }
        // Whoever may change the host name is told here that this one is too long.
        libc::sethostname([0; 65].as_ptr(), 65);
        if Error::last_os_error().raw_os_error() != Some(libc::EPERM) {
            return Err("the host name can be changed".into());
        }
    }
    Ok(())
}
