//! Operations: changes that touch several tables and keep them in agreement. Steps use them; they never call a step.

pub(crate) mod adoption;
pub(crate) mod artifacts;
pub(crate) mod clients;
pub(crate) mod executions;
pub(crate) mod health;
pub(crate) mod leases;
pub(crate) mod opinions;
pub(crate) mod preparations;
pub(crate) mod removals;
pub(crate) mod requests;
pub(crate) mod workers;
