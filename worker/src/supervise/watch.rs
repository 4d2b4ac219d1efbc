//! Time limits of a process: CPU time by the kernel's clock for it, and the wall clock as a backstop.

use super::{job_memory::JobMemory, process_handle::ProcessHandle};
use pvf_shared::units::WALL_CLOCK_FACTOR;
use std::{io::Result, time::Duration};
use tokio::time::Instant;

/// The limit that a process exceeded, for which the worker killed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overrun {
    /// CPU time.
    Cpu,
    /// Wall clock.
    Wall,
}

/// Time limits of a process.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) cpu: Duration,
    pub(super) wall: Duration,
    /// Maximum number of busy threads: CPU time advances at most this many times as fast as the clock.
    pub(super) threads: u32,
}

impl Limits {
    /// The limits of a job with this CPU time limit.
    pub(super) fn of_job(cpu: Duration, threads: u32) -> Self {
        Self { cpu, wall: wall_limit(cpu), threads }
    }
}

/// Wall-clock limit of a job with this CPU time limit.
pub(super) fn wall_limit(cpu: Duration) -> Duration {
    cpu.saturating_mul(WALL_CLOCK_FACTOR)
}

/// CPU time limit that the kernel enforces on a job process, seconds. It is above the job's own limit: a backstop for a
/// worker that is too busy to watch the process.
pub(super) fn kernel_cpu_limit(cpu: Duration) -> u64 {
    cpu.as_secs().saturating_add(2)
}

/// Waits until a process has exited; kills it when it exceeds a limit. Moves it into a memory cgroup of its own when
/// that is due.
pub(super) async fn watch(
    process: &ProcessHandle,
    limits: Limits,
    memory: &mut JobMemory<'_>,
) -> Result<Option<Overrun>> {
    let start = Instant::now();
    loop {
        let cpu = process.cpu().unwrap_or_default();
        let wall = start.elapsed();
        let overrun = if cpu > limits.cpu {
            Some(Overrun::Cpu)
        } else if wall > limits.wall {
            Some(Overrun::Wall)
        } else {
            None
        };
        if overrun.is_some() {
            if process.has_exited() {
                // The worker looked too late; the process was not killed. Its final CPU time is judged by the caller.
                return Ok(None);
            }
            process.kill();
            process.exited().await?;
            return Ok(overrun);
        }
        memory.enter_if_due(process, wall);
        let earliest = (limits.cpu - cpu) / limits.threads.max(1);
        let pause = earliest.min(limits.wall - wall);
        let pause = memory.due_in(wall).map_or(pause, |due| due.min(pause)).max(Duration::from_millis(1));
        tokio::select! {
            biased;
            exited = process.exited() => return exited.map(|()| None),
            () = tokio::time::sleep(pause) => {}
        }
    }
}
