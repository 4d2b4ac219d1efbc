//! The worker executable of the example `embed`, with the additional host function of the example.

#[path = "embed/own.rs"]
mod own;

pvf::worker_main!(own::OwnHostFunctions);
