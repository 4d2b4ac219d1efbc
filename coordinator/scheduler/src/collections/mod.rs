//! Collections that the standard ones do not give: nothing here knows about requests, jobs or workers.

mod deadlines;
mod sharded_map;

pub(crate) use deadlines::{Deadlines, Position};
pub(crate) use sharded_map::ShardedMap;
