//! `pvf-execute-worker`.

pvf_worker::worker_main!();
