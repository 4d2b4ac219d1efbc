//! The object store: what the fleet shares besides messages.

pub mod blobs;
mod inventory;
pub mod keys;
pub mod seal;

pub use blobs::{BlobStore, Found, Probe, StoreError};
