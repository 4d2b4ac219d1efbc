//! See `pvf_fuzz::code`. This executable is the worker executable, too: it starts itself for its jobs.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pvf_fuzz::{begin, code};

#[global_allocator]
static ALLOCATOR: pvf_worker::JobAllocator = pvf_worker::JobAllocator::new();

fuzz_target!(
    init: {
        code::job_if_asked();
        begin(code::seeds, code::show);
    },
    |bytes| code::run(bytes)
);
