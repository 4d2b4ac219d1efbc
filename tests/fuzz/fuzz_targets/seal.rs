//! See `pvf_fuzz::seal`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pvf_fuzz::{alloc::Counting, begin, seal};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fuzz_target!(init: begin(seal::seeds, seal::show), |bytes| seal::run(bytes));
