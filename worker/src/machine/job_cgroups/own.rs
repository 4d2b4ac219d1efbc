//! A worker of a fleet leaves its own cgroup of version 2 for one below it, so that memory can be enabled for the
//! cgroups of its jobs beside that one.

use super::place::{Caller, LEAF, Place, of_this_process};
use std::{fs, io, path::Path};

/// To be called by an executable that is a worker, before it starts other processes. Where the cgroup is not delegated
/// to the worker, or has other processes in it, nothing changes.
pub(crate) fn leave_own_cgroup() {
    let Ok(Place { folder, must_leave: true, .. }) = of_this_process(Caller::Worker) else { return };
    let leaf = folder.join(LEAF);
    match leave(&folder, &leaf) {
        Ok(()) => tracing::info!(cgroup = %leaf.display(), "the worker has moved to a cgroup below its own"),
        Err(error) => {
            tracing::info!(%error, cgroup = %folder.display(), "memory cannot be enabled below the worker's cgroup");
            // Another worker may be in it.
            let _ = enter(&folder);
            let _ = fs::remove_dir(&leaf);
        }
    }
}

fn enter(folder: &Path) -> io::Result<()> {
    fs::write(folder.join("cgroup.procs"), std::process::id().to_string())
}

fn leave(folder: &Path, leaf: &Path) -> io::Result<()> {
    match fs::create_dir(leaf) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        Ok(()) | Err(_) => {}
    }
    enter(leaf)?;
    // Refused (EBUSY) while another process is in the folder.
    fs::write(folder.join("cgroup.subtree_control"), "+memory")
}
