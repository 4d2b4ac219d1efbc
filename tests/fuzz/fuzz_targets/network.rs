//! See `pvf_fuzz::network`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pvf_fuzz::{begin, network};

fuzz_target!(init: begin(network::seeds, network::show), |bytes| network::run(bytes));
