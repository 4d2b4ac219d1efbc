//! See `pvf_fuzz::scheduler`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pvf_fuzz::{begin, scheduler};

fuzz_target!(init: begin(scheduler::seeds, scheduler::show), |bytes| scheduler::run(bytes));
