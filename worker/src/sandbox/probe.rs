//! Verifies each mechanism on this machine: a child of the worker applies the sandbox of a job and attempts what each
//! mechanism must forbid.

use super::{
    Finding, Limits, Mechanism, Plan, Report, capabilities, failed, landlock, limits, namespaces, privileges, root,
    seccomp,
};
use serde::{Deserialize, Serialize};
use std::{
    io::{Error, ErrorKind},
    net::UdpSocket,
};

/// First argument of the child.
pub(crate) const PROBE: &str = "__pvf-probe";

/// The probe's input.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Ask {
    /// The namespaces that the child was cloned into, and the highest landlock ABI to try.
    plan: Plan,
    /// PID of the worker, which the child must not see.
    worker: u32,
    /// The worker's own namespaces.
    outside: Vec<(Mechanism, String)>,
}

/// The input for a child that is cloned into the namespaces of this plan. Called by the worker.
pub(crate) fn ask(plan: Plan) -> Ask {
    Ask { plan, worker: std::process::id(), outside: namespaces::current() }
}

/// Runs the probe in the child, which must have one thread and is of no use for anything else afterwards.
pub(crate) fn run(ask: &Ask) -> Report {
    let mut findings = Vec::new();
    let mut record = |mechanism, result: Result<(), String>| {
        findings.push(Finding { mechanism, missing: result.err() });
    };
    for ((mechanism, inside), (_, outside)) in namespaces::current().into_iter().zip(&ask.outside) {
        record(mechanism, verify_namespace(ask, mechanism, &inside, outside));
    }
    // Before the empty root: it has no /proc, which the limits are computed from, and nothing for landlock to refuse.
    let job_limits = Limits::probe();
    let landlock = landlock::find(ask.plan.landlock_abi());
    record(Mechanism::EmptyRoot, root::enter(ask.plan).and_then(|()| root::verify()));
    record(Mechanism::NoNewPrivileges, privileges::set_no_new_privs().and_then(|()| privileges::verify()));
    let landlock = landlock.and_then(|found| {
        landlock::restrict(found.used)?;
        landlock::verify()?;
        Ok(found)
    });
    record(Mechanism::Landlock, landlock.as_ref().map(drop).map_err(String::clone));
    record(Mechanism::Capabilities, capabilities::drop_all().and_then(|()| capabilities::verify()));
    // Leaves no descriptors to open, which the children below do not need either.
    record(Mechanism::Limits, job_limits.set().and_then(|()| limits::verify()));
    record(Mechanism::Seccomp, verify_seccomp());
    Report::new(findings, landlock.ok())
}

fn verify_namespace(ask: &Ask, mechanism: Mechanism, inside: &str, outside: &str) -> Result<(), String> {
    if !ask.plan.has(mechanism) {
        return Err("cannot be created".into());
    }
    if inside.is_empty() || inside == outside {
        return Err(format!("not separate from the worker's namespace {outside}"));
    }
    match mechanism {
        Mechanism::PidNamespace => {
            // SAFETY: signal 0 is not delivered; the call only checks whether the process exists.
            let answer = unsafe { libc::kill(ask.worker as i32, 0) };
            let why = Error::last_os_error().raw_os_error();
            // By chance the PID may be our own, and then says nothing about the worker.
            let own = ask.worker == std::process::id();
            if std::process::id() != 1 || (answer == 0 && !own) || (answer != 0 && why != Some(libc::ESRCH)) {
                return Err("worker visible from the PID namespace".into());
            }
        }
        Mechanism::NetworkNamespace => {
            let connected = UdpSocket::bind(("127.0.0.1", 0)).and_then(|socket| socket.connect(("127.0.0.1", 9)));
            let unreachable =
                |e: &Error| matches!(e.kind(), ErrorKind::NetworkUnreachable | ErrorKind::AddrNotAvailable);
            if !connected.as_ref().is_err_and(unreachable) {
                return Err(format!("network reachable from the network namespace: {connected:?}"));
            }
        }
        _ => {}
    }
    Ok(())
}

/// Verifies that each list allows a call that is on it, and ends a process for each call that must not be.
fn verify_seccomp() -> Result<(), String> {
    type Compile = fn() -> Result<Vec<seccomp::Filter>, String>;
    let lists: [(&str, Compile); 4] = [
        ("preparation", || seccomp::Filter::preparation().map(Vec::from)),
        ("mapping", || seccomp::Filter::template().map(|filter| vec![filter])),
        ("template", || Ok(vec![seccomp::Filter::template()?, seccomp::Filter::mapped()?])),
        ("job", || Ok(vec![seccomp::Filter::template()?, seccomp::Filter::mapped()?, seccomp::Filter::fork()?])),
    ];
    for (list, compile) in lists {
        let filters = compile()?;
        let status = wait_status_after(&filters, libc::SYS_gettid)?;
        if status != 0 {
            return Err(format!("{list} filter ends a process for an allowed call, wait status {status:#x}"));
        }
        for (name, call) in seccomp::FORBIDDEN {
            let status = wait_status_after(&filters, call)?;
            if !libc::WIFSIGNALED(status) || libc::WTERMSIG(status) != libc::SIGSYS {
                return Err(format!("{list} filter does not end a process for {name}, wait status {status:#x}"));
            }
        }
    }
    Ok(())
}

/// The wait status of a child that installs these filters, makes this call, and exits.
fn wait_status_after(filters: &[seccomp::Filter], call: libc::c_long) -> Result<libc::c_int, String> {
    let mut status = 0;
    // SAFETY: this process has one thread, so the child's memory is consistent; the calls are plain ones and, with all
    // arguments 0, have no effect even where they are allowed.
    unsafe {
        match libc::fork() {
            0 => {
                if filters.iter().any(|filter| filter.install().is_err()) {
                    libc::_exit(1);
                }
                libc::syscall(call, 0, 0, 0, 0, 0, 0);
                libc::_exit(0)
            }
            child if child > 0 => {
                if libc::waitpid(child, &raw mut status, 0) < 0 {
                    return Err(failed("waitpid"));
                }
            }
            _ => return Err(failed("fork")),
        }
    }
    Ok(status)
}
