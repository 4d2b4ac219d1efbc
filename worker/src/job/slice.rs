//! How a job shares a core with those who wait for it.

/// How long a job asks to run at a stretch. The kernel lets a task that asked for less interrupt it at once when that
/// has something to do, and so a worker, its bus and its coordinator are not kept waiting by jobs on the same cores;
/// over time the job gets no less than others.
const SLICE_NANOS: u64 = 50_000_000;

/// Asks the kernel for long slices. A wish: kernels before 6.12 do not know it, and a job is as correct without.
pub(super) fn work_in_long_slices() {
    // SAFETY: the attributes are plain numbers, of which zero is one; the kernel only reads them.
    unsafe {
        let mut attributes: libc::sched_attr = std::mem::zeroed();
        attributes.size = size_of::<libc::sched_attr>() as u32;
        attributes.sched_policy = libc::SCHED_OTHER as u32;
        attributes.sched_nice = libc::getpriority(libc::PRIO_PROCESS, 0);
        attributes.sched_runtime = SLICE_NANOS;
        libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0);
    }
}
