//! `pvf-prepare-worker`.

pvf_worker::worker_main!();
