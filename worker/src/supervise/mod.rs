//! The worker's side of job processes: starts them, enforces their limits, reads their one bounded reply, and decides
//! the outcome by how they ended.
//!
//! Nothing that a job reports about itself is trusted: time and memory are the kernel's account, a claimed result is
//! decoded again, and a process that exited abnormally has no result, whatever it wrote. A job's process is killed and
//! reaped when its future is dropped, at any await point.
//!
//! * `runner` is the interface of this module: preparations and executions; `self_test` runs one of each.
//! * `one_reply`, `template` and `forks` are the kinds of processes; `process`, `launch` and `process_handle` are what
//!   they have in common. `explain` is about diagnostic runs.
//! * `artifact_file` verifies what a template is given to map; `block_data` has the file that a job maps.
//! * `watch` enforces time limits; `job_memory` has the memory cgroup of a job.
//! * `slot_grant` decides when an execution may start; `core_pins` on which core.
//! * `outcome` is the blame table; `usage`, `trace` and `compile_progress` are for people.

mod artifact_file;
mod block_data;
mod compile_progress;
mod core_pins;
mod explain;
mod finished;
mod forks;
mod job_memory;
mod launch;
mod memory_file;
mod one_reply;
mod outcome;
mod pipes;
mod probe;
mod process;
mod process_handle;
mod reply;
mod runner;
mod self_test;
mod slot_grant;
mod stderr_capture;
mod template;
mod trace;
mod usage;
mod watch;

pub use artifact_file::ArtifactFile;
pub use block_data::{BlockData, BlockDataFile, BlockDataWriter};
pub use compile_progress::CompileMeter;
pub use explain::{ExplainJob, Explained};
pub(crate) use forks::Footprint;
pub use outcome::Prepared;
pub use runner::{JobRunner, probe_sandbox, probe_sandbox_up_to, start_spawner};
pub use slot_grant::{JobProgress, SlotGrant, StartSignal};
pub use trace::JobTrace;
