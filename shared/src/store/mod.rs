//! The object store: what the fleet shares besides messages.

pub mod blobs;
pub mod keys;
pub mod seal;

pub use blobs::{BlobStore, Found, StoreError};
