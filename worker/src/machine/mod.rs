//! What the machine lets this process have: limits of its cgroups, resource limits, mount options, out-of-memory kills.

mod cgroup;
mod oom;
mod resources;

pub use cgroup::CgroupLimits;
pub(crate) use oom::{oom_killed_lately, watch_oom_kills};
pub use resources::{Limit, LimitedResource, free_space, limit, maps_executable, raise_open_files};
