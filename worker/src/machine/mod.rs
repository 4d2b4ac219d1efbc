//! What the machine lets this process have: limits of its cgroups, resource limits, mount options.

mod cgroup;
mod resources;

pub use cgroup::CgroupLimits;
pub use resources::{Limit, LimitedResource, free_space, limit, maps_executable, raise_open_files};
