//! What a job process may still do once it begins with anything of a stranger's: next to nothing. One mechanism a
//! file.
//!
//! # Threat model
//!
//! The code under test is hostile, and wasmtime, its compiler and the host functions may have a bug that lets it run
//! machine code of its own in the process. That code must not be able to
//!
//! * read or write anything of the machine: files, devices, other processes, the worker's environment, the network;
//! * reach the worker, its credentials for bus and store, or a job of another artifact;
//! * outlive its job, or make processes;
//! * end or deceive its template, which makes the next jobs of the same artifact;
//! * use a kernel interface that it has no need of (most kernel bugs are in those);
//! * take more CPU time, memory or reply than it may (the supervisor's part: see `supervise`).
//!
//! What it can do: compute, use memory up to its limit, write a reply, and thereby decide the verdict of *its own*
//! candidate. It can also tell time, and see of its template what every fork of it sees: the artifact and the sealed
//! parameters, no other job's input.
//!
//! The template is trusted: it links a sealed artifact, runs no code of the guest, and is locked up nevertheless,
//! because its forks inherit that for nothing. The preparation's compiler is not trusted after it has seen code.
//!
//! # How
//!
//! ```text
//! worker (spawner thread)                      supervise/launch.rs
//!  └─ clone into new namespaces, exec          namespaces.rs   the process is pid 1 there: when it ends, all end
//!      template: opens and links the artifact
//!      empty root, no new privileges,          root.rs privileges.rs landlock.rs capabilities.rs
//!      landlock, no capabilities, limits,      limits.rs
//!      seccomp list "template"                 seccomp/
//!      says that it is ready
//!       └─ fork: seccomp list "job", limits    off the path of a job: forks are made ahead of time
//! ```
//!
//! Each mechanism is proved at the worker's start by a child that tries what it must forbid (`probe.rs`). What that
//! child found is the [`Plan`] of every job process: a mechanism of the plan that does not take hold ends the process
//! before it has read anything.

mod capabilities;
mod landlock;
mod limits;
mod mechanism;
pub(crate) mod namespaces;
mod privileges;
pub(crate) mod probe;
mod root;
mod seccomp;

pub use mechanism::{Finding, Mechanism, Plan, Report};

pub(crate) use limits::Limits;

/// Locks up a preparation's process, for good. It must have one thread; those that it starts inherit everything.
pub(crate) fn lock_preparation(plan: Plan, limits: &Limits) -> Result<(), String> {
    lock(plan, limits)?;
    if plan.has(Mechanism::Seccomp) {
        for filter in seccomp::Filter::preparation()? {
            filter.install()?;
        }
    }
    Ok(())
}

/// What is still to be done in each fork of a template.
pub(crate) struct ForkLock {
    filter: Option<seccomp::Filter>,
    limits: bool,
}

/// Locks up a template, for good. It must have one thread.
pub(crate) fn lock_template(plan: Plan, limits: &Limits) -> Result<ForkLock, String> {
    lock(plan, limits)?;
    let mut fork = ForkLock { filter: None, limits: plan.has(Mechanism::Limits) };
    if plan.has(Mechanism::Seccomp) {
        fork.filter = Some(seccomp::Filter::fork()?);
        seccomp::Filter::template()?.install()?;
    }
    Ok(fork)
}

impl ForkLock {
    /// Locks up a fork that waits for its job.
    pub(crate) fn lock(&self) -> Result<(), String> {
        if self.limits {
            limits::no_processes()?;
        }
        self.filter.as_ref().map_or(Ok(()), seccomp::Filter::install)
    }

    /// The rest, once it has its job.
    pub(crate) fn no_descriptors(&self) -> Result<(), String> {
        if self.limits { limits::no_descriptors() } else { Ok(()) }
    }
}

/// Everything but seccomp, in the only order that works: landlock forbids mounting, a process without capabilities
/// cannot mount, and limits and landlock need calls that seccomp forbids.
fn lock(plan: Plan, limits: &Limits) -> Result<(), String> {
    let step = |mechanism: Mechanism, take: &dyn Fn() -> Result<(), String>| {
        if plan.has(mechanism) { take().map_err(|why| format!("sandbox: {mechanism}: {why}")) } else { Ok(()) }
    };
    step(Mechanism::EmptyRoot, &|| root::enter(plan))?;
    step(Mechanism::NoNewPrivileges, &privileges::none_new)?;
    step(Mechanism::Landlock, &landlock::restrict)?;
    step(Mechanism::Capabilities, &capabilities::drop_all)?;
    step(Mechanism::Limits, &|| limits.set())
}

/// An error of the system call that was made last.
fn failed(what: &str) -> String {
    format!("{what}: {}", std::io::Error::last_os_error())
}
