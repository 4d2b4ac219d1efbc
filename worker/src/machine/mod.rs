//! Which machine this is, and what it lets this process have: resource limits, mount options, out-of-memory kills, and
//! memory cgroups for jobs.

mod host_identity;
mod job_cgroups;
mod oom;
mod resources;
mod signals;

pub use host_identity::{boot_id_is_the_containers, host_identity};
pub use job_cgroups::{Caller, MemoryIsolation};
pub(crate) use job_cgroups::{CgroupKill, JobCgroups, Membership, job_cgroups, leave_own_cgroup};
pub(crate) use oom::{oom_killed_lately, watch_oom_kills};
pub use resources::{
    Limit, LimitedResource, applied_limit, free_files, free_space, limit, maps_executable, raise_open_files,
};
pub use signals::survive_file_size_limit;
