//! Inputs and results of requests. A client holds the inputs of its requests, for workers to pull, and pulls large
//! results from the workers that made them.

use super::{ClientConfig, ClientError, Pvf};
use crate::{
    blob::BlobRef,
    bus::SharedBus,
    config::{MAX_PULLED, inline_max_on, submission_max_on},
    content::Content,
    identity::WorkerId,
    ids::{BlobHash, FleetName},
    pull::{Hold, Holdings, PullSettings, Puller, Wanted},
    record::{HeldRecord, JobRecord, MAX_RECORD},
    subjects,
    wire::{self, FromClient, Submission, Work},
};
use bytes::Bytes;
use std::future::ready;

/// Moves the inputs and results of a client.
pub(super) struct Payloads {
    bus: SharedBus,
    fleet: FleetName,
    /// The most bytes of block data that travel in a message.
    inline_max: usize,
    holdings: Holdings,
    puller: Puller,
}

/// Keeps the inputs of a request where workers can pull them, until it is dropped.
#[must_use = "the inputs are offered only as long as this lives"]
pub(super) struct HeldInputs {
    _code: Hold,
    _block_data: Option<Hold>,
}

impl Payloads {
    pub(super) fn new(bus: SharedBus, config: &ClientConfig, holdings: Holdings) -> Self {
        Self {
            fleet: config.fleet.clone(),
            inline_max: config.inline_max.min(inline_max_on(bus.max_payload())),
            holdings,
            puller: Puller::new(bus.clone(), PullSettings::default()),
            bus,
        }
    }

    /// Holds the inputs of a request. Block data that is too large for a message is replaced by its name.
    pub(super) fn hold(&self, pvf: &Pvf, work: &mut Work) -> Result<HeldInputs, ClientError> {
        check_size("code", pvf.code.len())?;
        let block_data = match work {
            Work::Execute(execute) => match &execute.block_data {
                BlobRef::Inline(bytes) => {
                    check_size("block data", bytes.len())?;
                    let (bytes, hash, len) = (bytes.clone(), BlobHash::of(bytes), bytes.len());
                    if len > self.inline_max {
                        execute.block_data = BlobRef::Held { hash, len: len as u64 };
                    }
                    Some(self.holdings.hold(hash.into(), bytes))
                }
                BlobRef::Held { .. } => None,
            },
            Work::Precheck | Work::HeadsUp { .. } => None,
        };
        let code = self.holdings.hold(pvf.code_hash.into(), pvf.code.clone());
        Ok(HeldInputs { _code: code, _block_data: block_data })
    }

    /// Encodes a submission. Block data is left out if the message would be too long with it.
    pub(super) fn encode(&self, mut submission: Submission) -> Result<Bytes, ClientError> {
        let limit = submission_max_on(self.bus.max_payload());
        let mut message = encode(&submission);
        if message.len() > limit
            && let Work::Execute(execute) = &mut submission.work
            && let BlobRef::Inline(bytes) = &execute.block_data
        {
            execute.block_data = BlobRef::Held { hash: BlobHash::of(bytes), len: bytes.len() as u64 };
            message = encode(&submission);
        }
        if message.len() > limit {
            let (len, limit) = (message.len() as u64, limit as u64);
            return Err(ClientError::TooLarge { field: "parent head and parameters", len, limit });
        }
        Ok(message)
    }

    /// The bytes of a result, which are pulled from this worker unless they came with the verdict.
    pub(super) async fn fetch(&self, result: &BlobRef, worker: Option<WorkerId>) -> Result<Bytes, String> {
        let (hash, len) = match result {
            BlobRef::Inline(bytes) => return Ok(bytes.clone()),
            BlobRef::Held { hash, len } => (*hash, *len),
        };
        let worker = worker.ok_or("the verdict names no worker that has it")?;
        let wanted = Wanted {
            content: Content::Blob(hash),
            expected_len: Some(len),
            max_len: MAX_PULLED,
            holders: vec![subjects::worker_pulls(&self.fleet, &worker)],
        };
        let pulled = self.puller.fetch(&wanted, |_| ready(())).await;
        pulled.map(|(bytes, ())| bytes).map_err(|error| error.to_string())
    }

    /// What this worker has kept of a job.
    pub(super) async fn record(&self, held: &HeldRecord, worker: WorkerId) -> Result<JobRecord, String> {
        let wanted = Wanted {
            content: Content::Blob(held.hash),
            expected_len: Some(held.len.into()),
            max_len: MAX_RECORD.into(),
            holders: vec![subjects::worker_pulls(&self.fleet, &worker)],
        };
        let pulled = self.puller.fetch(&wanted, |_| ready(())).await.map_err(|error| error.to_string())?;
        wire::decode(&pulled.0).map(JobRecord::bounded).map_err(|error| error.to_string())
    }
}

fn encode(submission: &Submission) -> Bytes {
    wire::encode(&FromClient::Submit(Box::new(submission.clone())))
}

fn check_size(field: &'static str, len: usize) -> Result<(), ClientError> {
    let len = len as u64;
    if len > MAX_PULLED { Err(ClientError::TooLarge { field, len, limit: MAX_PULLED }) } else { Ok(()) }
}
