//! Errors of the object store.

use super::seal::SealError;

/// Errors of the object store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The URL does not name a store.
    #[error("store URL {url:?}: {why}")]
    Url {
        /// The URL.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// An operation of the store failed.
    #[error("store {url}: cannot {action} {key}: {source}")]
    Failed {
        /// URL of the store.
        url: String,
        /// The operation, as a verb.
        action: &'static str,
        /// The object.
        key: String,
        /// The error of the store.
        source: Box<object_store::Error>,
    },
    /// The bucket (or container) of a cloud store does not exist.
    #[error("store {url}: bucket {bucket} does not exist at {endpoint}")]
    NoBucket {
        /// URL of the store.
        url: String,
        /// Name of the bucket.
        bucket: String,
        /// Where it was looked for.
        endpoint: String,
    },
    /// The store gave no answer, or no more bytes, for too long.
    #[error("store {url}: cannot {action} {key}: the store gave nothing for {seconds} s")]
    Stalled {
        /// URL of the store.
        url: String,
        /// The operation, as a verb.
        action: &'static str,
        /// The object.
        key: String,
        /// How long.
        seconds: u64,
    },
    /// The object is larger than any object of its kind.
    #[error("store {url}: object {key} has {size} bytes, more than the {most} that it may have")]
    TooLarge {
        /// URL of the store.
        url: String,
        /// The object.
        key: String,
        /// Its size in bytes, as far as it was read.
        size: u64,
        /// The bound.
        most: u64,
    },
    /// The object does not exist.
    #[error("store {url}: no object {key}")]
    NotFound {
        /// URL of the store.
        url: String,
        /// The missing object.
        key: String,
    },
    /// An artifact cannot be signed: this process has no private key.
    #[error("store {url}: no private key to sign artifacts with")]
    NoSigningKey {
        /// URL of the store.
        url: String,
    },
    /// The seal of an artifact is not valid.
    #[error("store {url}: object {key}: {source}")]
    Seal {
        /// URL of the store.
        url: String,
        /// The object.
        key: String,
        /// What is wrong with it.
        source: SealError,
    },
}
