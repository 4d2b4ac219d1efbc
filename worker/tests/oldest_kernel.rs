//! Jobs on the oldest kernel that the worker is made for, Linux 5.15. A filter takes away what newer kernels have, and
//! landlock is held to the ABI that 5.15 has. The test is alone in its executable: the filter is for all threads and
//! processes that are started after it was installed, the worker's spawner among them.

mod common;

use common::{WORKER, artifact, execute_job, prepare_job, runner_with, sandbox_up_to, valid};
use pvf_guests::corpus::echo_like;
use pvf_shared::{Bytes, params::ExecutorParams};
use pvf_worker::{
    sandbox::{LandlockAbi, Property},
    supervise::Prepared,
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen::Dword, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    apply_filter,
};
use std::path::Path;

/// `process_mrelease`, the last system call that 5.15 added.
const LAST_CALL: i64 = 448;
/// Beyond the calls that any kernel has.
const END: i64 = 512;

/// An argument of a call that has these bits, under this mask.
type Bits = (u8, u64, u64);

/// Answers these calls with an error: any of a number, or those with these bits in an argument.
fn without(calls: &[(i64, Option<Bits>)], errno: i32) -> BpfProgram {
    let mut rules = std::collections::BTreeMap::<_, Vec<_>>::new();
    for (call, condition) in calls {
        let conditions = condition.map(|(argument, mask, value)| {
            let condition = SeccompCondition::new(argument, Dword, SeccompCmpOp::MaskedEq(mask), value).unwrap();
            SeccompRule::new(vec![condition]).unwrap()
        });
        rules.entry(*call).or_default().extend(conditions);
    }
    let arch = std::env::consts::ARCH.try_into().unwrap();
    let refuse = SeccompAction::Errno(errno as u32);
    SeccompFilter::new(rules, SeccompAction::Allow, refuse, arch).unwrap().try_into().unwrap()
}

/// From now on this thread, those that it starts, and all their processes, see a kernel of version 5.15.
fn enter_linux_5_15() {
    let all = u64::from(u32::MAX);
    let newer: Vec<_> = (LAST_CALL + 1..END).map(|call| (call, None)).collect();
    let newer_flags = [
        // Since 6.4, 6.3, 6.13 (an ioctl), 6.3, 6.3, 6.1.
        (libc::SYS_prctl, Some((0, all, 0x4155_5856))),
        (libc::SYS_prctl, Some((0, all, 65))),
        (libc::SYS_ioctl, Some((1, all, libc::PIDFD_GET_INFO & all))),
        (libc::SYS_memfd_create, Some((1, 0x8, 0x8))),
        (libc::SYS_memfd_create, Some((1, 0x10, 0x10))),
        (libc::SYS_madvise, Some((2, all, 25))),
    ];
    for filter in [without(&newer, libc::ENOSYS), without(&newer_flags, libc::EINVAL)] {
        apply_filter(&filter).unwrap();
    }
}

#[test]
fn jobs_are_prepared_and_executed_in_a_complete_sandbox() {
    enter_linux_5_15();
    // SAFETY: plain system calls; the pointer is to a live value, which the kernel would write to.
    unsafe {
        let mut word = 0_u64;
        assert_eq!(libc::syscall(LAST_CALL + 1, 0, 0, 0, 0), -1);
        assert_eq!(std::io::Error::last_os_error().raw_os_error(), Some(libc::ENOSYS));
        assert_eq!(libc::prctl(0x4155_5856, &raw mut word, size_of::<u64>(), 0, 0), -1);
    }
    let sandbox = sandbox_up_to(LandlockAbi::V1);
    assert!(sandbox.is_complete(), "{}", sandbox.complaint());
    assert_eq!(sandbox.landlock.as_ref().unwrap().used, LandlockAbi::V1);
    assert_eq!(Property::ALL.map(|property| sandbox.enforcing(property).len()).iter().min(), Some(&1));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let runner = runner_with(Path::new(WORKER), sandbox);
        let code = echo_like();
        let (prepared, _) = runner.prepare(&prepare_job(&code, ExecutorParams::default()), code.clone().into()).await;
        assert!(matches!(prepared, Prepared::Artifact(_)), "{prepared:?}");
        let artifact = artifact(&code).await;
        let job = execute_job(&code, ExecutorParams::default());
        for _ in 0..3 {
            valid(runner.execute(&job, artifact.file(), Bytes::from_static(b"block")).await.0);
        }
    });
}
