//! The worker executable of the example `embed`: it knows the example's own host function.

#[path = "embed/own.rs"]
mod own;

pvf_worker::worker_main!(own::OwnHostFunctions);
