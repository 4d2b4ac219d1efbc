//! A worker on the bus, with real job processes, against a coordinator that the test plays.

#[path = "../common/blocking.rs"]
mod blocking;
#[path = "../common/mod.rs"]
mod common;
#[path = "../common/fixture.rs"]
mod fixture;

mod drain;
mod jobs;
mod registration;
mod self_test;
mod staging;

use pvf_shared::{
    ids::JobId,
    job::JobSpec,
    wire::{Dispatch, ToWorker},
};

/// A dispatch of the first attempt of this job.
fn dispatch(job: u64, urgency: u8, spec: &JobSpec) -> ToWorker {
    ToWorker::Dispatch(Box::new(Dispatch {
        token: fixture::TOKEN,
        job: JobId(job),
        attempt: 1,
        urgency,
        request: None,
        spec: spec.clone(),
        holders: vec![],
        acknowledged: vec![],
        validation: None,
    }))
}

fn cancel(job: u64) -> ToWorker {
    ToWorker::Cancel { token: fixture::TOKEN, job: JobId(job), attempt: 1 }
}

fn recall(job: u64) -> ToWorker {
    ToWorker::Recall { token: fixture::TOKEN, job: JobId(job), attempt: 1 }
}
