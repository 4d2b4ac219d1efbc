//! The object store, through which the fleet shares artifacts, by their id, and the metadata that a new coordinator
//! needs. Code, block data and results do not go through it; what earlier versions left under `inputs/` may be deleted.
//!
//! Objects are written once and replaced only as a whole. Artifacts are signed: see [`seal`].

mod artifacts;
mod blobs;
mod error;
#[cfg(test)]
pub(crate) mod hanging;
mod inventory;
pub mod keys;
mod open;
mod pins;
mod probe;
mod read;
pub mod seal;
#[cfg(test)]
mod tests;
mod time_limit;

pub use crate::keys::ArtifactKeys;
pub use blobs::BlobStore;
pub use error::StoreError;
pub use inventory::StoredArtifact;
pub use probe::Probe;
pub use time_limit::{OPERATIONS, StoreResult, StoreWatch};
