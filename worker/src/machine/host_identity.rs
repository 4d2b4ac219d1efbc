//! Which machine this is.

use pvf_shared::host::HostIdentity;
use std::{fs, path::Path};

/// Files with the machine id, the first one first.
const MACHINE_ID: [&str; 2] = ["etc/machine-id", "var/lib/dbus/machine-id"];
/// The kernel's id of this boot. Containers have that of their machine, but for system containers (LXC,
/// systemd-nspawn), which mount one of their own over it.
const BOOT_ID: &str = "proc/sys/kernel/random/boot_id";

/// The identity of this machine. A container without a machine id of its own is known by its machine's boot id.
pub fn host_identity() -> HostIdentity {
    read(Path::new("/"))
}

/// Whether another file is mounted over the kernel's boot id, so that it does not tell the machine.
pub fn boot_id_is_the_containers() -> bool {
    is_mounted_over(Path::new("/"))
}

fn is_mounted_over(root: &Path) -> bool {
    let mounts = fs::read_to_string(root.join("proc/self/mountinfo")).unwrap_or_default();
    // The mount point is the fifth field (proc_pid_mountinfo(5)).
    mounts.lines().any(|mount| mount.split(' ').nth(4) == Some(&format!("/{BOOT_ID}")))
}

fn read(root: &Path) -> HostIdentity {
    // A file may be empty, or say that there is no id yet.
    let id = |file: &str| {
        let text = fs::read_to_string(root.join(file)).ok()?;
        let id = text.trim().replace('-', "").to_ascii_lowercase();
        let is_id = id.len() == 32 && id.bytes().all(|c| c.is_ascii_hexdigit()) && id.bytes().any(|c| c != b'0');
        is_id.then_some(id)
    };
    let boot = id(BOOT_ID).filter(|_| !is_mounted_over(root));
    HostIdentity::new(MACHINE_ID.into_iter().find_map(id).as_deref(), boot.as_deref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_counts_if_it_is_one() {
        let root = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| {
            let file = root.path().join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        };
        assert!(read(root.path()).is_unknown());
        let id = "0123456789abcdef0123456789abcdef";
        for none in ["", "uninitialized\n", "00000000000000000000000000000000\n", "0123456789abcdef"] {
            write(MACHINE_ID[0], none);
            assert!(read(root.path()).is_unknown(), "{none:?}");
        }
        write(MACHINE_ID[1], &format!("{id}\n"));
        assert_eq!(read(root.path()), HostIdentity::new(Some(id), None));
        write(BOOT_ID, "01234567-89ab-cdef-0123-456789ABCDEF\n");
        assert_eq!(read(root.path()), HostIdentity::new(Some(id), Some(id)));
        write("proc/self/mountinfo", "22 21 0:20 / /proc rw,nosuid - proc proc rw\n");
        assert!(read(root.path()).boot.is_some());
        let over = "30 22 0:25 /id /proc/sys/kernel/random/boot_id ro,nosuid - tmpfs tmpfs rw\n";
        write("proc/self/mountinfo", over);
        assert_eq!(read(root.path()), HostIdentity::new(Some(id), None), "a boot id of a container");
        assert!(host_identity().boot.is_some() || boot_id_is_the_containers(), "every Linux has a boot id");
    }
}
