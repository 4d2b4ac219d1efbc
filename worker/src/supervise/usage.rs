//! What a job used: as the kernel and the worker measure it, and what the job itself claims, within its limits.

use super::{BlockData, finished::FinishedProcess, reply::split_reply};
use crate::job::protocol::{Claims, JobReply};
use pvf_shared::{
    candidate::COMPRESSED_PREFIX,
    job::{ExecuteJob, JobUsage, pov_size},
    units::MAX_BOMB_LIMIT,
};

/// What is known of an execution's usage before it runs: its limits, and the size of its PoV.
pub(super) fn known_before(job: &ExecuteJob, block_data: &BlockData) -> JobUsage {
    let limits = job.limits();
    let len = u32::try_from(block_data.len()).ok();
    let pov = len.filter(|_| limits.pov_limit.is_some()).map(pov_size);
    if limits.pov_limit.is_some() && block_data.beginning().starts_with(&COMPRESSED_PREFIX) {
        return JobUsage { pov, ..limits };
    }
    // The guest gets these bytes, however many.
    JobUsage { pov, pov_decompressed: len.map(u64::from), pov_limit: None, ..limits }
}

/// Usage of a job with these limits, measured by the kernel and the worker, together with what the job claims in its
/// reply. A claim over its limit is not believed.
pub(super) fn of_process(process: &FinishedProcess, limits: JobUsage) -> JobUsage {
    let mut usage =
        JobUsage { cpu: process.exit.cpu, wall: process.wall, max_rss_kib: process.exit.max_rss_kib, ..limits };
    let Some((reply, _)) = process.reply.as_ref().and_then(split_reply) else { return usage };
    match reply {
        JobReply::Valid(_, claims) | JobReply::Invalid(_, claims, _) => {
            let Claims { memory_pages, block_data } = claims;
            usage.memory_pages = believed(memory_pages, limits.memory_pages_limit);
            // Of what was not compressed the worker knows it.
            usage.pov_decompressed =
                limits.pov_decompressed.or_else(|| believed(block_data.map(u64::from), limits.pov_limit));
        }
        JobReply::Prepared { heap, decompressed, .. } => {
            usage.heap = believed(heap, limits.heap_limit);
            usage.code_decompressed = believed(Some(decompressed), Some(MAX_BOMB_LIMIT));
        }
        JobReply::PrepareFailed(_) | JobReply::Construction(_) | JobReply::Machine(_) | JobReply::JobError(_) => {}
    }
    usage
}

/// A claim about something that has a limit, if the limit allows it.
fn believed<T: PartialOrd + Copy>(claim: Option<T>, limit: Option<T>) -> Option<T> {
    claim.filter(|claim| limit.is_some_and(|limit| *claim <= limit))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{exit_status::ExitStatus, supervise::job_memory::MemoryKill};
    use pvf_shared::{Bytes, record::Backtrace, verdict::InvalidReason};
    use std::time::Duration;

    fn replied(reply: Option<&JobReply>) -> FinishedProcess {
        let framed = |reply: &JobReply| {
            let body = rmp_serde::to_vec_named(reply).unwrap();
            Bytes::from([&(body.len() as u32).to_le_bytes(), &body[..]].concat())
        };
        FinishedProcess {
            exit: ExitStatus { status: 0, cpu: Duration::from_millis(5), max_rss_kib: 6 },
            overrun: None,
            reply: reply.map(framed),
            stderr: String::new(),
            memory: MemoryKill::None,
            wall: Duration::from_millis(7),
        }
    }

    fn limits() -> JobUsage {
        JobUsage {
            cpu_limit: Duration::from_secs(2),
            heap_limit: Some(100),
            memory_pages_limit: Some(34),
            pov_limit: Some(1000),
            ..JobUsage::default()
        }
    }

    fn claimed(memory_pages: u32, block_data: u32, limits: JobUsage) -> JobUsage {
        let claims = Claims { memory_pages: Some(memory_pages), block_data: Some(block_data) };
        let reply = JobReply::Invalid(InvalidReason::PovDecompression, claims, Backtrace::default());
        of_process(&replied(Some(&reply)), limits)
    }

    #[test]
    fn what_was_measured_is_there_whatever_the_job_replied() {
        let (cpu, wall, max_rss_kib) = (Duration::from_millis(5), Duration::from_millis(7), 6);
        let measured = JobUsage { cpu, wall, max_rss_kib, ..limits() };
        for reply in [None, Some(&JobReply::JobError("why".into())), Some(&JobReply::Machine("why".into()))] {
            assert_eq!(of_process(&replied(reply), limits()), measured);
        }
        let rubbish = FinishedProcess { reply: Some(Bytes::from_static(b"rubbish")), ..replied(None) };
        assert_eq!(of_process(&rubbish, limits()), measured);
    }

    #[test]
    fn a_claim_over_its_limit_is_not_believed() {
        let usage = claimed(34, 1000, limits());
        assert_eq!((usage.memory_pages, usage.pov_decompressed), (Some(34), Some(1000)));
        let usage = claimed(35, 1001, limits());
        assert_eq!((usage.memory_pages, usage.pov_decompressed), (None, None));
        let heap = |bytes| {
            of_process(
                &replied(Some(&JobReply::Prepared { len: 0, has_start: false, heap: Some(bytes), decompressed: 9 })),
                limits(),
            )
            .heap
        };
        assert_eq!([100, 101].map(heap), [Some(100), None]);
    }

    #[test]
    fn the_size_of_what_is_not_compressed_is_not_the_jobs_to_say() {
        let known = JobUsage { pov_decompressed: Some(7), pov_limit: None, ..limits() };
        assert_eq!(claimed(1, 500, known).pov_decompressed, Some(7));
    }
}
