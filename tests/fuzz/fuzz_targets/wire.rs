//! See `pvf_fuzz::wire`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pvf_fuzz::{alloc::Counting, begin, wire};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fuzz_target!(init: begin(wire::seeds, wire::show), |bytes| wire::run(bytes));
