//! What this worker keeps of its jobs for whoever looks into their outcomes ([`JobRecord`]). Usage names a record, and
//! clients pull it; nothing depends on whether they can.

use crate::supervise::JobTrace;
use pvf_shared::{
    Bytes,
    content::Content,
    ids::{BlobHash, EngineId},
    pull::{ResultLimits, Results},
    record::{HeldRecord, JobRecord, MAX_RECORD},
    units::MIB,
    wire,
};
use std::time::Duration;

/// All records together. Most are short: those of jobs that logged nothing are the same.
const LIMITS: ResultLimits = ResultLimits { bytes: 16 * MIB, time: Duration::from_secs(600) };

/// The records of a worker. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct Records {
    host: String,
    version: String,
    kept: Results,
}

impl Records {
    /// None yet, of a worker on this machine and of this version.
    pub(super) fn new(host: String, version: String) -> Self {
        Self { host, version, kept: Results::new(LIMITS) }
    }

    /// Keeps the record of a job for this engine.
    pub(super) fn keep(&self, engine: &EngineId, trace: JobTrace) -> Option<HeldRecord> {
        let JobTrace { log, backtrace } = trace;
        let (host, version, engine) = (self.host.clone(), self.version.clone(), engine.clone());
        let record = wire::encode(&JobRecord { host, version, engine, log, backtrace }.bounded());
        let len = u32::try_from(record.len()).ok().filter(|len| *len <= MAX_RECORD)?;
        let hash = BlobHash::of(&record);
        self.kept.keep(hash.into(), record).then_some(HeldRecord { hash, len })
    }

    /// The bytes of a record that is kept.
    pub(super) fn find(&self, content: &Content) -> Option<Bytes> {
        self.kept.find(content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pvf_shared::record::{Backtrace, Frame, MAX_FRAMES, MAX_LOG};

    #[tokio::test]
    async fn a_record_is_kept_within_its_limits() {
        let records = Records::new("host".repeat(1000), "1".into());
        let frame = Frame { function: u32::MAX, offset: u32::MAX };
        let backtrace = Backtrace { frames: vec![frame; 10 * MAX_FRAMES], total: u32::MAX };
        let trace = JobTrace { log: "x".repeat(10 * MAX_LOG), backtrace };
        let held = records.keep(&EngineId::parse("e").unwrap(), trace).unwrap();
        let bytes = records.find(&held.hash.into()).unwrap();
        assert_eq!((bytes.len(), BlobHash::of(&bytes)), (held.len as usize, held.hash));
        let record: JobRecord = wire::decode(&bytes).unwrap();
        assert_eq!((record.log.len(), record.backtrace.frames.len()), (MAX_LOG, MAX_FRAMES));
    }

    #[tokio::test]
    async fn jobs_that_left_nothing_share_a_record() {
        let records = Records::new("host".into(), "1".into());
        let keep = || records.keep(&EngineId::parse("e").unwrap(), JobTrace::default()).unwrap();
        assert_eq!(keep(), keep());
    }
}
