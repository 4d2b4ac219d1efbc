//! Probes the sandbox mechanisms of this machine in a real child process.

use super::{
    launch::{Launch, keep_exit_statuses, launch},
    memory_file::{memory_file, request_file},
};
use crate::sandbox::{Finding, LandlockAbi, Mechanism, Plan, Report, namespaces, probe};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    pipe::{PipeFlags, pipe_with},
};
use std::{
    fs::File,
    io::{Error, Read as _, Result},
    os::fd::AsRawFd as _,
    path::Path,
};

/// Time limit for each part of the child's answer, seconds; the child needs a few milliseconds.
const LIMIT_SECONDS: i64 = 10;
/// Maximum size of the answer, bytes.
const MAX_ANSWER: usize = 64 * 1024;

/// Runs the probe in a child process of this executable, with no higher landlock ABI than this.
pub(super) fn probe(exe: &Path, landlock: LandlockAbi) -> Report {
    // It has children, too.
    keep_exit_statuses();
    let impossible = namespaces::impossible();
    let plan = Plan::all().with_landlock_abi(landlock);
    let plan = impossible.iter().fold(plan, |plan, (mechanism, _)| plan.without(*mechanism));
    let mut report = match run_child(exe, plan) {
        Ok(report) => report,
        Err(error) => Report::none(&format!("the probe process did not answer: {error}")),
    };
    for Finding { mechanism, missing } in &mut report.findings {
        if let Some((_, why)) = impossible.iter().find(|(which, _)| which == mechanism) {
            *missing = Some(why.clone());
        }
    }
    report
}

fn run_child(exe: &Path, plan: Plan) -> Result<Report> {
    let (answer, child_answer) = pipe_with(PipeFlags::CLOEXEC)?;
    let child = launch(Launch {
        exe,
        args: &[probe::PROBE.to_owned()],
        standard: [request_file(&probe::ask(plan))?.into(), child_answer, memory_file(&[])?.into()],
        stack: None,
        plan,
    })?;
    let answered = read(File::from(answer));
    // SAFETY: plain system calls on a child that has not been reaped.
    unsafe {
        libc::kill(child.pid, libc::SIGKILL);
        libc::waitpid(child.pid, std::ptr::null_mut(), 0);
    }
    let report: Report = rmp_serde::from_slice(&answered?).map_err(Error::other)?;
    let answers = report.findings.iter().map(|finding| finding.mechanism);
    if !answers.eq(Mechanism::ALL) {
        return Err(Error::other("the answer is incomplete"));
    }
    Ok(report)
}

/// Reads until the child closes its end.
fn read(mut from: File) -> Result<Vec<u8>> {
    let mut answer = Vec::new();
    let mut chunk = [0; 4096];
    while answer.len() < MAX_ANSWER {
        let limit = Timespec { tv_sec: LIMIT_SECONDS, tv_nsec: 0 };
        if poll(&mut [PollFd::new(&from, PollFlags::IN)], Some(&limit))? == 0 {
            return Err(Error::other(format!("no answer within {LIMIT_SECONDS} s on descriptor {}", from.as_raw_fd())));
        }
        match from.read(&mut chunk)? {
            0 => break,
            n => answer.extend_from_slice(&chunk[..n]),
        }
    }
    Ok(answer)
}
