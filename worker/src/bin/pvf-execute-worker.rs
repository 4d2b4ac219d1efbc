//! The execute worker as an executable of its own; also runs its job processes.

pvf_worker::worker_main!();
