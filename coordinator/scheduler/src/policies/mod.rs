//! Policies: which job is next, where it goes, what is admitted. They read tables and decide; they change nothing but
//! their own queues.

mod admission;
mod execute_queue;
mod fair_queue;
mod holders;
mod placement;
mod prepare_queue;
mod relevance;
mod retries;
mod shares;

pub use admission::check;
pub(crate) use admission::{admission_limit, check_kind, class_and_bytes, execute_bytes, session_limit};
pub(crate) use execute_queue::ExecuteQueue;
pub(crate) use holders::{HOLDERS_LOOK_AHEAD, choose_holders};
pub(crate) use placement::{
    Before, DISPATCHES, Waits, choose_engine, choose_worker, elsewhere, least_loaded, staged_rank,
};
pub(crate) use prepare_queue::PrepareQueue;
pub(crate) use relevance::{execution_relevance, request_relevance};
pub(crate) use retries::{
    MAX_AMBIGUOUS, MAX_INFRA_FAILURES, MAX_NOT_BEGUN, death_pause, may_pass, not_begun_delay, not_begun_error,
};
