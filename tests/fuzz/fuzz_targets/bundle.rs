//! See `pvf_fuzz::bundle`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pvf_fuzz::{alloc::Counting, begin, bundle};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fuzz_target!(init: begin(bundle::seeds, bundle::show), |bytes| bundle::run(bytes));
