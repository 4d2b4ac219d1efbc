//! See `pvf_fuzz::scale`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pvf_fuzz::{alloc::Counting, begin, scale};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fuzz_target!(init: begin(scale::seeds, scale::show), |bytes| scale::run(bytes));
