//! Scheduler time slices of a job, which shares its cores with the worker, the bus and the coordinator.

/// Requested time slice, nanoseconds. The kernel preempts a task at once when another one that asked for a shorter
/// slice becomes runnable, so jobs do not delay the worker, its bus and its coordinator on the same cores. A job's
/// share of CPU time stays the same.
const SLICE_NANOS: u64 = 50_000_000;

/// Requests long time slices for this thread. Best effort: kernels before 6.12 ignore the request, which affects
/// latency only.
pub(super) fn request_long_slices() {
    // SAFETY: the attributes are plain numbers, for which zero is valid; the kernel only reads them.
    unsafe {
        let mut attributes: libc::sched_attr = std::mem::zeroed();
        attributes.size = size_of::<libc::sched_attr>() as u32;
        attributes.sched_policy = libc::SCHED_OTHER as u32;
        attributes.sched_nice = libc::getpriority(libc::PRIO_PROCESS, 0);
        attributes.sched_runtime = SLICE_NANOS;
        libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0);
    }
}
