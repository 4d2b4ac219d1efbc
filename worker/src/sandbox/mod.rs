//! The sandbox of job processes: what remains possible once a process handles untrusted code or input. One mechanism
//! per file, each with a function that applies it and a function that verifies it.
//!
//! # Threat model
//!
//! The code under validation is hostile, and wasmtime, its compiler or the host functions may have a bug that lets it
//! run machine code of its own in the process. That code must not be able to
//!
//! * read or write anything of the machine: files, devices, other processes, the worker's environment, the network;
//! * reach the worker, its credentials for bus and store, or a job of another artifact;
//! * outlive its job, or create processes;
//! * end or deceive its template, from which the next jobs of the same artifact are forked;
//! * use a kernel interface that jobs do not need (most kernel bugs are in those);
//! * exceed its CPU time, memory or reply size (enforced by the supervisor: see `supervise`).
//!
//! It can compute, use memory up to its limit and write a reply, and thereby decide the verdict of *its own* candidate.
//! It can also read the clock, and it sees the template's memory, which is the same for every fork: the artifact and
//! the executor parameters, but no other job's input.
//!
//! The compiler in a preparation is not trusted once it has read code, and neither is what it made: the signature of an
//! artifact says which prepare worker stored it, not that its machine code is that of the wasm. So a template is
//! sandboxed before it maps its artifact. Hostile machine code in it can do what it could in each of its forks, and
//! fork: it decides the verdicts of its own artifact.
//!
//! # Order
//!
//! ```text
//! worker (spawner thread)                      supervise/launch.rs
//!  └─ clone into new namespaces, exec          namespaces.rs   it is PID 1 there: its end kills all others
//!      template: receives the artifact         an open file, whose signature the worker has verified
//!      empty root, no_new_privs,               root.rs privileges.rs
//!      landlock, no capabilities, limits,      landlock.rs capabilities.rs limits.rs
//!      seccomp list of a template that maps    seccomp/
//!      maps and links the artifact
//!      seccomp list of a template              without what only mapping needs: no new executable memory
//!      reports that it is ready
//!       └─ fork: process limit, seccomp        made ahead of time, so this delays no job
//!          list of a job
//! ```
//!
//! When a worker starts, a child process applies each mechanism and attempts what it must forbid (`probe.rs`). The
//! mechanisms that passed are the [`Plan`] of every job process. A job process that cannot apply a mechanism of its
//! plan ends before it looks at code or input.
//!
//! What the sandbox promises are properties (`property.rs`): each is enforced by one or more mechanisms. A worker
//! starts where every mechanism works, whatever the landlock ABI; or where the operator agreed by name to those that
//! are missing, and each property is still enforced by another.

mod capabilities;
mod child;
mod landlock;
mod limits;
mod mechanism;
pub(crate) mod namespaces;
mod privileges;
pub(crate) mod probe;
mod property;
mod report;
mod root;
mod seccomp;

pub use landlock::{LandlockAbi, LandlockFound};
pub use mechanism::{Mechanism, MechanismNames, Plan};
pub use property::{Enforcer, Property};
pub use report::{Finding, Report};

pub(crate) use limits::{Limits, MAX_STDERR, execution_memory, preparation_memory};

/// Sandboxes the process of a preparation, irrevocably. The process must have one thread; threads that it starts later
/// inherit the sandbox.
pub(crate) fn lock_preparation(plan: Plan, limits: &Limits) -> Result<(), String> {
    lock(plan, limits)?;
    if plan.has(Mechanism::Seccomp) {
        for filter in seccomp::Filter::preparation()? {
            filter.install()?;
        }
    }
    Ok(())
}

/// The part of the sandbox that each fork of a template applies itself.
pub(crate) struct ForkLock {
    filter: Option<seccomp::Filter>,
    limits: bool,
}

/// The part of the sandbox that a template applies once it has mapped its artifact.
pub(crate) struct TemplateLock {
    filter: Option<seccomp::Filter>,
    fork: ForkLock,
}

/// Sandboxes a template that is about to map its artifact, irrevocably. The process must have one thread.
pub(crate) fn lock_template(plan: Plan, limits: &Limits) -> Result<TemplateLock, String> {
    lock(plan, limits)?;
    let mut fork = ForkLock { filter: None, limits: plan.has(Mechanism::Limits) };
    let mut filter = None;
    if plan.has(Mechanism::Seccomp) {
        // Made now: of what runs while the artifact is mapped they could not be had any more.
        fork.filter = Some(seccomp::Filter::fork()?);
        filter = Some(seccomp::Filter::mapped()?);
        seccomp::Filter::template()?.install()?;
    }
    Ok(TemplateLock { filter, fork })
}

impl TemplateLock {
    /// Takes away what only mapping needs.
    pub(crate) fn end_mapping(self) -> Result<ForkLock, String> {
        self.filter.map_or(Ok(()), |filter| filter.install())?;
        Ok(self.fork)
    }
}

impl ForkLock {
    /// Sandboxes a fork before it receives its job.
    pub(crate) fn lock(&self) -> Result<(), String> {
        if self.limits {
            limits::forbid_processes()?;
        }
        self.filter.as_ref().map_or(Ok(()), seccomp::Filter::install)
    }

    /// Forbids new descriptors; a fork calls this once it has received its job, which may bring descriptors.
    pub(crate) fn no_descriptors(&self) -> Result<(), String> {
        if self.limits { limits::forbid_descriptors() } else { Ok(()) }
    }
}

/// Applies everything except seccomp. The order is the only possible one: landlock forbids mounting, a process without
/// capabilities cannot mount, and landlock and the limits need system calls that seccomp forbids.
fn lock(plan: Plan, limits: &Limits) -> Result<(), String> {
    let step = |mechanism: Mechanism, apply: &dyn Fn() -> Result<(), String>| {
        if plan.has(mechanism) { apply().map_err(|why| format!("sandbox: {mechanism}: {why}")) } else { Ok(()) }
    };
    step(Mechanism::EmptyRoot, &|| root::enter(plan))?;
    step(Mechanism::NoNewPrivileges, &privileges::set_no_new_privs)?;
    step(Mechanism::Landlock, &|| landlock::restrict(plan.landlock_abi()))?;
    step(Mechanism::Capabilities, &capabilities::drop_all)?;
    step(Mechanism::Limits, &|| limits.set())
}

/// The error of the system call that was made last.
fn failed(call: &str) -> String {
    format!("{call}: {}", std::io::Error::last_os_error())
}
