//! Whether each mechanism works here: a child of the worker locks itself up as a job would and tries what it must not
//! be able to do.

use super::{Finding, Limits, Mechanism, Plan, Report, capabilities, landlock, limits, namespaces, privileges, root};
use super::{failed, seccomp};
use serde::{Deserialize, Serialize};
use std::{
    io::{Error, ErrorKind},
    net::UdpSocket,
};

/// First argument of the child.
pub(crate) const PROBE: &str = "__pvf-probe";

/// What the child is asked.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Ask {
    /// The namespaces that it was cloned into.
    plan: Plan,
    /// The worker, which it must not see.
    worker: u32,
    /// The worker's own namespaces.
    outside: Vec<(Mechanism, String)>,
}

/// What the worker asks a child that it clones into the namespaces of this plan.
pub(crate) fn ask(plan: Plan) -> Ask {
    Ask { plan, worker: std::process::id(), outside: namespaces::current() }
}

/// In the child, which has one thread and is of no use afterwards.
pub(crate) fn run(ask: &Ask) -> Report {
    let mut findings = Vec::new();
    let mut found = |mechanism, result: Result<(), String>| {
        findings.push(Finding { mechanism, missing: result.err() });
    };
    for ((mechanism, inside), (_, outside)) in namespaces::current().into_iter().zip(&ask.outside) {
        found(mechanism, in_own_namespace(ask, mechanism, &inside, outside));
    }
    found(Mechanism::EmptyRoot, root::enter(ask.plan).and_then(|()| root::is_empty()));
    found(Mechanism::NoNewPrivileges, privileges::none_new().and_then(|()| privileges::are_off()));
    found(Mechanism::Landlock, landlock::restrict().and_then(|()| landlock::holds()));
    found(Mechanism::Capabilities, capabilities::drop_all().and_then(|()| capabilities::are_gone()));
    // The children of this process need descriptors no more than it does.
    found(Mechanism::Limits, Limits::probe().set().and_then(|()| limits::hold()));
    found(Mechanism::Seccomp, seccomp_holds());
    Report { findings }
}

fn in_own_namespace(ask: &Ask, mechanism: Mechanism, inside: &str, outside: &str) -> Result<(), String> {
    if !ask.plan.has(mechanism) {
        return Err("it cannot be made".into());
    }
    if inside.is_empty() || inside == outside {
        return Err(format!("it is the worker's: {outside}"));
    }
    match mechanism {
        Mechanism::PidNamespace => {
            // SAFETY: no signal is sent, only asked whether it could be.
            let answer = unsafe { libc::kill(ask.worker as i32, 0) };
            let why = Error::last_os_error().raw_os_error();
            // The worker's number may be ours by chance: then it is not the worker that was seen.
            let own = ask.worker == std::process::id();
            if std::process::id() != 1 || (answer == 0 && !own) || (answer != 0 && why != Some(libc::ESRCH)) {
                return Err("it sees its worker".into());
            }
        }
        Mechanism::NetworkNamespace => {
            let connected = UdpSocket::bind(("127.0.0.1", 0)).and_then(|socket| socket.connect(("127.0.0.1", 9)));
            let unreachable =
                |e: &Error| matches!(e.kind(), ErrorKind::NetworkUnreachable | ErrorKind::AddrNotAvailable);
            if !connected.as_ref().is_err_and(unreachable) {
                return Err(format!("it has a network: {connected:?}"));
            }
        }
        _ => {}
    }
    Ok(())
}

/// Whether each list lets pass what it must and ends a process for what it must.
fn seccomp_holds() -> Result<(), String> {
    type Make = fn() -> Result<Vec<seccomp::Filter>, String>;
    let lists: [(&str, Make); 3] = [
        ("preparation", || seccomp::Filter::preparation().map(Vec::from)),
        ("template", || seccomp::Filter::template().map(|filter| vec![filter])),
        ("job", || Ok(vec![seccomp::Filter::template()?, seccomp::Filter::fork()?])),
    ];
    for (list, make) in lists {
        let filters = make()?;
        let allowed = end_of_child(&filters, libc::SYS_gettid)?;
        if allowed != 0 {
            return Err(format!("list {list}: what it allows ends a process, wait status {allowed:#x}"));
        }
        for (name, call) in seccomp::FORBIDDEN {
            let status = end_of_child(&filters, call)?;
            if !libc::WIFSIGNALED(status) || libc::WTERMSIG(status) != libc::SIGSYS {
                return Err(format!("list {list}: {name} does not end a process, wait status {status:#x}"));
            }
        }
    }
    Ok(())
}

/// The wait status of a child that installs these filters, makes this call, and ends.
fn end_of_child(filters: &[seccomp::Filter], call: libc::c_long) -> Result<libc::c_int, String> {
    let mut status = 0;
    // SAFETY: this process has one thread, so that the child's memory is consistent; the calls are plain ones and,
    // with no arguments, do nothing even where they are allowed.
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
