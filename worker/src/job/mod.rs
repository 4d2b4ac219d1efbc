//! What runs inside the processes that a worker starts: a preparation, a template, a template's forks, and a diagnostic
//! run. All but the template do one job, write one reply and exit.

mod allocator;
pub(crate) mod execute;
mod explain;
mod failure;
mod fork;
mod guest_log;
pub(crate) mod packet;
mod prepare;
mod process;
mod progress;
pub(crate) mod protocol;
mod reply;
mod stderr_limit;
mod template;
mod time_slice;

pub use allocator::JobAllocator;

use crate::sandbox::probe;
use failure::Failure;
use process::{begin, exit};
use protocol::{EXPLAIN, PREPARE, TEMPLATE, name};
use sp_wasm_interface::HostFunctions;
use std::{fs::File, io::Write as _, os::fd::OwnedFd};

/// Does the job that a worker started this process for, and exits; returns at once if no worker started it. Must be
/// the first call in `main` of every executable that runs jobs. `H` are host functions beyond those of consensus, `()`
/// for none.
pub fn run_job_if_asked<H: HostFunctions>() {
    crate::wasm::declare_extra::<H>();
    let role = std::env::args_os().nth(1);
    let result = match role.as_deref().and_then(|role| role.to_str()) {
        Some(PREPARE) => begin(name::PREPARE).and_then(|(request, to)| prepare::run::<H>(&request, to)),
        Some(TEMPLATE) => begin(name::TEMPLATE).and_then(|(setup, to)| template::run::<H>(&setup, to)),
        Some(EXPLAIN) => begin(name::EXPLAIN).and_then(|(request, to)| explain::run::<H>(&request, to)),
        Some(probe::PROBE) => begin(name::PROBE).and_then(|(request, to)| answer_probe(&request, to)),
        _ => return,
    };
    exit(result)
}

fn answer_probe(request: &probe::Ask, answer_to: OwnedFd) -> Result<(), Failure> {
    let answer = rmp_serde::to_vec_named(&probe::run(request))
        .map_err(|source| Failure::Encode { what: "probe report", source })?;
    File::from(answer_to).write_all(&answer).map_err(Failure::system("probe report"))
}
