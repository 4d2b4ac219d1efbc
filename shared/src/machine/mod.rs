//! What the machine lets this process have: the limits of its cgroups, and what is used of them.

mod cgroup;
mod collector;

pub use cgroup::CgroupLimits;
pub(crate) use collector::BudgetCollector;
