//! Behaviour of the scheduler as its shell sees it: events in, effects out.
//!
//! Every message goes through MessagePack, the invariants are checked after every event, and a test fails if an effect
//! is left that it did not expect ([`env::Env`]). No test reads the scheduler's tables.

mod env;
mod fixtures;

mod acknowledgements;
mod admission;
mod adopted;
mod adoption;
mod adoption_preparations;
mod artifacts;
mod background;
mod cancellation;
mod clients;
mod coalescing;
mod drain;
mod engines;
mod fetching;
mod health;
mod holders;
mod inconsistency;
mod leases;
mod not_begun;
mod notices;
mod operator_artifacts;
mod operator_cancellation;
mod placement;
mod prechecks;
mod preparation_failures;
mod preparation_order;
mod pruning;
mod quarantine;
mod queues;
mod reproductions;
mod requests;
mod retries;
mod retry_notices;
mod same_ids;
mod second_opinion_limits;
mod second_opinions;
mod staging;
mod status;
mod usage;
mod users;
mod views;
mod workers;
