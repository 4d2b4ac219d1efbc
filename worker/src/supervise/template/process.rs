//! Start of a template process.

use super::{
    control::Control,
    reaper::{NewFork, TemplateHandle},
};
use crate::{
    job::{
        execute::HOST_STACK,
        protocol::{TEMPLATE, TemplateReply, TemplateSetup},
    },
    supervise::{
        memory_file::request_file,
        pipes::read_tail,
        process::{Process, Start},
        process_handle::has_exited,
    },
};
use std::{fs::File, io, os::fd::OwnedFd, path::Path, sync::Arc, time::Duration};

/// How long a template may take to answer; linking a large artifact takes some 20 ms.
pub(in crate::supervise) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);

/// Why an execution got no process.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in crate::supervise) enum ForkError {
    /// The artifact cannot be linked.
    #[error("{0}")]
    Construction(String),
    /// The template exited or could not be started. No guest code has run, so it is not the candidate's doing.
    #[error("{0}")]
    Unavailable(String),
    /// The machine has no more descriptors, processes, memory or space for it.
    #[error("{0}")]
    Exhausted(String),
}

impl From<io::Error> for ForkError {
    fn from(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EMFILE | libc::ENFILE | libc::EAGAIN | libc::ENOMEM | libc::ENOSPC) => {
                Self::Exhausted(error.to_string())
            }
            _ => Self::Unavailable(error.to_string()),
        }
    }
}

/// A template that has its artifact linked. Its process ends when this and all its forks are gone.
#[derive(Clone)]
pub(in crate::supervise) struct Template {
    handle: TemplateHandle,
    pidfd: Arc<OwnedFd>,
    memory: u64,
}

impl Template {
    /// Starts a template process on this artifact and waits until it is ready.
    pub(in crate::supervise) async fn start(
        exe: &Path,
        setup: &TemplateSetup,
        artifact: &File,
        timeout: Duration,
    ) -> Result<Self, ForkError> {
        let (control, socket) = Control::new(timeout)?;
        control.begin_mapping(artifact)?;
        let mut process = Process::start(Start {
            exe: exe.to_owned(),
            args: vec![TEMPLATE.into()],
            stdin: request_file(setup)?,
            stdout: Some(socket),
            stack: Some(u64::from(setup.params.stack_native_max()) + HOST_STACK),
            plan: setup.sandbox,
        })
        .await?;
        let why = match control.receive().await {
            Ok((TemplateReply::Ready, _)) => {
                let pidfd = process.handle.pidfd().clone();
                let memory = private_memory(process.handle.pid());
                return Ok(Self { handle: TemplateHandle::serve(process, control), pidfd, memory });
            }
            Ok((TemplateReply::Construction(why), _)) => return Err(ForkError::Construction(why)),
            Ok((TemplateReply::Machine(why), _)) => return Err(ForkError::Unavailable(why)),
            Ok((other, _)) => format!("unexpected reply {other:?}"),
            Err(error) => error.to_string(),
        };
        process.handle.kill();
        let stderr = read_tail(process.stderr.take(), process.handle.gone()).await;
        process.handle.exited().await?;
        let status = process.reap()?.status;
        let what = "the template process did not become ready";
        Err(ForkError::Unavailable(format!("{what}: {why}; wait status {status:#x}; stderr: {}", stderr.trim())))
    }

    /// Makes a fork.
    pub(in crate::supervise) async fn fork(&self) -> io::Result<NewFork> {
        self.handle.fork().await
    }

    /// Memory of the process when it became ready, bytes, without files, which all processes that map them share.
    pub(in crate::supervise) fn memory(&self) -> u64 {
        self.memory
    }

    /// Whether it can still fork.
    pub(in crate::supervise) fn is_alive(&self) -> bool {
        self.handle.is_served() && !has_exited(&*self.pidfd)
    }
}

/// Resident memory of a process that is not backed by files, bytes; 0 if it is unknown.
fn private_memory(pid: i32) -> u64 {
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
    let mut pages = statm.split(' ').skip(1).map(|number| number.parse::<u64>().unwrap_or(0));
    let (resident, file_backed) = (pages.next().unwrap_or(0), pages.next().unwrap_or(0));
    resident.saturating_sub(file_backed) * rustix::param::page_size() as u64
}
