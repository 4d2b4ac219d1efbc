//! The operator's ceilings: the most that a request may ask for. A request above one is refused, and never run as
//! something else: a host that ran it with less would vote otherwise than those that run it as it is.

use pvf_shared::{
    params::PvfPrepKind,
    units::MAX_WAIT,
    wire::{Refusal, Submission, Work},
};
use std::time::Duration;

/// The most pages that a memory can have: a higher limit is the same.
const MOST_PAGES: u32 = 65_536;
/// What a preparation without a limit of its own may allocate, bytes: workers allow that much.
const UNLIMITED_PREPARATION: u64 = 16 << 30;

/// The most that a request may ask for. The defaults refuse nothing that a worker can run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ceilings {
    /// Pages of guest memory (`MaxMemoryPages`), without the 32 that each execution has in addition.
    pub memory_pages: u32,
    /// Native stack of an execution (`StackNativeMax`), bytes.
    pub native_stack: u32,
    /// Logical stack (`StackLogicalMax`), values.
    pub logical_stack: u32,
    /// Memory of a preparation (`PrecheckingMaxMemory`), bytes. A request without a limit asks for 16 GiB.
    pub prepare_memory: u64,
    /// CPU time of a preparation, also of a precheck.
    #[serde(with = "humantime_serde")]
    pub prepare_timeout: Duration,
    /// CPU time of an execution.
    #[serde(with = "humantime_serde")]
    pub execute_timeout: Duration,
}

impl Default for Ceilings {
    fn default() -> Self {
        Self {
            memory_pages: MOST_PAGES,
            native_stack: u32::MAX,
            logical_stack: u32::MAX,
            // The largest number of a settings file.
            prepare_memory: i64::MAX as u64,
            prepare_timeout: MAX_WAIT,
            execute_timeout: MAX_WAIT,
        }
    }
}

impl Ceilings {
    /// Refuses a submission that asks for more, whether by a parameter, by a field of its own or by a default. What
    /// only an execution uses is not looked at in other requests.
    pub(crate) fn check(&self, submission: &Submission) -> Result<(), Refusal> {
        let params = &submission.executor_params;
        within("StackLogicalMax", params.stack_logical_max().into(), self.logical_stack.into(), "values")?;
        let memory = params.prechecking_max_memory().unwrap_or(UNLIMITED_PREPARATION);
        within("PrecheckingMaxMemory", memory, self.prepare_memory, "bytes")?;
        let kind = match submission.work {
            Work::Precheck => PvfPrepKind::Precheck,
            Work::HeadsUp { .. } | Work::Execute(_) => PvfPrepKind::Prepare,
        };
        let prepare = submission.prepare_timeout.unwrap_or_else(|| params.prep_timeout(kind));
        within_time("preparation timeout", prepare, self.prepare_timeout)?;
        let Work::Execute(execute) = &submission.work else { return Ok(()) };
        let pages = params.max_memory_pages();
        if pages.min(MOST_PAGES) > self.memory_pages {
            within("MaxMemoryPages", pages.into(), self.memory_pages.into(), "pages")?;
        }
        within("StackNativeMax", params.stack_native_max().into(), self.native_stack.into(), "bytes")?;
        let timeout = execute.exec_timeout.unwrap_or_else(|| params.exec_timeout(execute.kind.exec_timeout_kind()));
        within_time("execution timeout", timeout, self.execute_timeout)
    }
}

fn within(field: &str, value: u64, limit: u64, unit: &str) -> Result<(), Refusal> {
    if value <= limit { Ok(()) } else { Err(Refusal::over_operators_limit(field, value, limit, unit)) }
}

/// No request waits for longer than [`MAX_WAIT`], so a longer time-out is the same.
fn within_time(field: &str, value: Duration, limit: Duration) -> Result<(), Refusal> {
    if value.min(MAX_WAIT) <= limit {
        return Ok(());
    }
    let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    within(field, ms(value), ms(limit), "ms")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::execution;
    use pvf_shared::params::{
        ExecutorParam::{
            self, MaxMemoryPages, PrecheckingMaxMemory, PvfExecTimeout, PvfPrepTimeout, StackLogicalMax, StackNativeMax,
        },
        ExecutorParams, PvfExecKind,
    };

    /// An approval with these parameters.
    fn approval(params: &[ExecutorParam]) -> Submission {
        Submission { executor_params: ExecutorParams(params.to_vec()), ..execution(b"block") }
    }

    #[test]
    fn the_defaults_refuse_nothing() {
        let most = [
            MaxMemoryPages(u32::MAX),
            StackNativeMax(u32::MAX),
            StackLogicalMax(u32::MAX),
            PrecheckingMaxMemory(u64::MAX),
            PvfPrepTimeout(PvfPrepKind::Prepare, u64::MAX),
            PvfPrepTimeout(PvfPrepKind::Precheck, u64::MAX),
            PvfExecTimeout(PvfExecKind::Approval, u64::MAX),
        ];
        for work in [approval(&most).work, Work::Precheck, Work::HeadsUp { wait_prepared: false }] {
            assert_eq!(Ceilings::default().check(&Submission { work, ..approval(&most) }), Ok(()));
        }
        assert_eq!(Ceilings::default().check(&approval(&[])), Ok(()));
    }

    #[test]
    fn each_ceiling_refuses_what_is_above_it_by_name() {
        let ceilings = Ceilings {
            memory_pages: 3000,
            native_stack: 300 << 20,
            logical_stack: 70_000,
            prepare_memory: 17 << 30,
            prepare_timeout: Duration::from_secs(400),
            execute_timeout: Duration::from_secs(20),
        };
        assert_eq!(ceilings.check(&approval(&[])), Ok(()));
        // The value at the ceiling, the value above it, and what the refusal says.
        let prepare = |ms| PvfPrepTimeout(PvfPrepKind::Prepare, ms);
        let execute = |ms| PvfExecTimeout(PvfExecKind::Approval, ms);
        for (at, above, text) in [
            (MaxMemoryPages(3000), MaxMemoryPages(3001), "MaxMemoryPages: 3001 is outside 0..=3000 pages"),
            (
                StackNativeMax(300 << 20),
                StackNativeMax((300 << 20) + 1),
                "StackNativeMax: 314572801 is outside 0..=314572800 bytes",
            ),
            (StackLogicalMax(70_000), StackLogicalMax(70_001), "StackLogicalMax: 70001 is outside 0..=70000 values"),
            (
                PrecheckingMaxMemory(17 << 30),
                PrecheckingMaxMemory((17 << 30) + 1),
                "PrecheckingMaxMemory: 18253611009 is outside 0..=18253611008 bytes",
            ),
            (prepare(400_000), prepare(400_001), "preparation timeout: 400001 is outside 0..=400000 ms"),
            (execute(20_000), execute(20_001), "execution timeout: 20001 is outside 0..=20000 ms"),
        ] {
            assert_eq!(ceilings.check(&approval(&[at])), Ok(()), "{at:?}");
            let refusal = ceilings.check(&approval(&[above])).unwrap_err();
            assert!(refusal.is_over_operators_limit(), "{refusal}");
            assert_eq!(refusal.to_string(), format!("{text}, over the operator's limit"));
        }
    }

    #[test]
    fn fields_and_defaults_count_as_parameters_do_and_only_where_they_are_used() {
        let refused = |ceilings: Ceilings, submission: &Submission| {
            let refusal = ceilings.check(submission).unwrap_err();
            assert!(refusal.is_over_operators_limit(), "{refusal}");
            refusal.to_string()
        };
        let most = Ceilings::default();
        let mut request = approval(&[PvfExecTimeout(PvfExecKind::Approval, 1)]);
        let Work::Execute(execute) = &mut request.work else { panic!("not an execution") };
        execute.exec_timeout = Some(Duration::from_secs(9));
        let text = refused(Ceilings { execute_timeout: Duration::from_secs(8), ..most }, &request);
        assert!(text.contains("execution timeout: 9000"), "{text}");
        request.prepare_timeout = Some(Duration::from_secs(9));
        let text = refused(Ceilings { prepare_timeout: Duration::from_secs(8), ..most }, &request);
        assert!(text.contains("preparation timeout: 9000"), "{text}");
        // Defaults: 2048 pages, and no limit for the memory of a preparation.
        let pages = Ceilings { memory_pages: 2047, ..most };
        let text = refused(pages, &approval(&[]));
        assert!(text.contains("MaxMemoryPages: 2048"), "{text}");
        assert_eq!(pages.check(&Submission { work: Work::Precheck, ..approval(&[]) }), Ok(()));
        let memory = Ceilings { prepare_memory: 1 << 30, ..most };
        let text = refused(memory, &approval(&[]));
        assert!(text.contains("PrecheckingMaxMemory: 17179869184"), "{text}");
        assert_eq!(memory.check(&approval(&[PrecheckingMaxMemory(1 << 30)])), Ok(()));
        // More pages than a memory can have are as many as it can have.
        let text = refused(Ceilings { memory_pages: 65_535, ..most }, &approval(&[MaxMemoryPages(u32::MAX)]));
        assert!(text.contains("MaxMemoryPages: 4294967295 is outside 0..=65535 pages"), "{text}");
    }
}
