//! Faults under load: real processes on hosts of their own, a real `nats-server` (one, or a cluster of three), a store
//! that is a folder or a real S3 server, and a seed that decides which faults come when.
//!
//! `network` makes the hosts and the switch between them, `members` starts the processes, `store` is the object store.
//! `schedule` chooses faults, `nemesis` does them and ends them. `truth` knows each request and its right answer;
//! `client` is a process that has some of them answered, `checker` counts what became of them, and `witness` looks at
//! the verdicts on the bus. `run` puts it together, `samples` has memory and descriptors of each process.
//!
//! `pvf-chaos` is the program, `tests/it/chaos.rs` has a short run.

mod checker;
pub mod client;
mod members;
mod nemesis;
mod network;
mod run;
mod samples;
mod schedule;
mod store;
mod truth;
mod witness;

pub use members::{CLOCK, Sizes};
pub use network::isolate;
pub use run::{Plan, Report, run};
pub use schedule::{KINDS, Step};
pub use store::StoreKind;
