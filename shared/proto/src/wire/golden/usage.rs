//! Usage as reports and verdicts carry it.

use super::{artifact, worker};
use crate::{
    ids::BlobHash,
    job::{AttemptEnd, JobUsage},
    record::{Backtrace, Frame, HeldRecord, JobRecord},
    wire::{AttemptUsage, PreparationUsage, VerdictUsage},
};
use std::time::Duration;

pub(super) fn preparation_usage() -> JobUsage {
    JobUsage {
        cpu: Duration::from_millis(15),
        cpu_limit: Duration::from_secs(60),
        max_rss_kib: 16,
        heap: Some(25),
        heap_limit: Some(26),
        ..JobUsage::default()
    }
}

pub(super) fn execution_usage() -> JobUsage {
    JobUsage {
        cpu: Duration::from_millis(15),
        cpu_limit: Duration::from_secs(2),
        max_rss_kib: 16,
        record: Some(HeldRecord { hash: BlobHash([7; 32]), len: 32 }),
        memory_pages: Some(27),
        memory_pages_limit: Some(28),
        pov: Some(29),
        pov_decompressed: Some(30),
        pov_limit: Some(31),
        ..JobUsage::default()
    }
}

pub(super) fn record() -> JobRecord {
    JobRecord {
        host: "h".into(),
        version: "v".into(),
        engine: artifact().engine,
        log: "[runtime] why\n".into(),
        backtrace: Backtrace { frames: vec![Frame { function: 33, offset: 34 }], total: 35 },
    }
}

pub(super) fn usage() -> VerdictUsage {
    let worker = worker();
    let attempt = |attempt, end, usage| AttemptUsage { attempt, worker, end, usage };
    let executions = vec![
        attempt(1, AttemptEnd::Internal, JobUsage::default()),
        attempt(2, AttemptEnd::Ambiguous, execution_usage()),
        attempt(3, AttemptEnd::Valid, execution_usage()),
        attempt(4, AttemptEnd::Invalid, execution_usage()),
    ];
    VerdictUsage { preparation: Some(PreparationUsage { worker, usage: preparation_usage() }), executions }
}
