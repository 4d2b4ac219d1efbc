//! Tables: data with its indexes. A table keeps its own indexes in agreement and knows nothing of other tables; what
//! touches several of them is in `operations`.

mod artifacts;
mod clients;
mod departures;
mod executions;
mod health;
mod held;
mod held_slots;
mod hosts;
mod known_attempts;
mod lifecycle;
mod opinions;
mod pool;
mod prechecks;
mod preparations;
mod quarantine;
mod reported;
mod requests;
mod slot;
mod specs;
mod timers;
mod unclaimed;
mod users;
mod verdicts;
mod worker;
mod workers;

pub(crate) use artifacts::{Artifact, ArtifactEvent, ArtifactState, Artifacts, Made, OWNERS, Owners};
pub(crate) use clients::{Client, Clients, MAX_CLIENTS, RequestClass};
pub(crate) use departures::{Departures, Gone};
pub(crate) use executions::{Execution, ExecutionEvent, ExecutionState, Executions, NewExecution};
pub(crate) use lifecycle::IllegalTransition;
pub(crate) use opinions::{Decision, FirstOpinion, Opinions};
pub(crate) use pool::{Pool, fnv1a};
pub(crate) use prechecks::{PrecheckAnswer, PrecheckTerms};
pub(crate) use preparations::{Preparation, PreparationEvent, PreparationState, Preparations};
pub(crate) use quarantine::Quarantine;
pub(crate) use requests::{HeadsUp, JobContext, Request, RequestTarget, Requests};
pub(crate) use slot::{FetchStage, NewSlot, Slot, SlotState, WorkerIndex};
pub(crate) use specs::{PvfSpec, PvfSpecs};
pub(crate) use timers::{Timer, Timers};
pub(crate) use unclaimed::{HeldAt, Unclaimed, UnclaimedAttempt};
pub(crate) use users::MAX_USERS;
pub(crate) use verdicts::{EarlyCancellations, UnheardVerdicts};
pub use worker::WorkerCondition;
pub(crate) use worker::{Worker, WorkerEvent, WorkerState};
pub(crate) use workers::{MAX_WORKERS, Workers};
