//! The JetStream key-value bucket with a lease: one key, written by compare-and-set, which the server forgets after the
//! lease's duration.
//!
//! The bucket's epoch is in the metadata of its stream. The coordinator that makes the bucket chooses it, higher than that of every
//! bucket before; so an entry is identified by epoch and revision, although revisions begin again with each bucket.

use super::{NatsBus, with_sources};
use async_nats::{
    HeaderMap,
    jetstream::{
        self, Context, ErrorCode,
        context::{ContextBuilder, CreateStreamErrorKind, GetStreamErrorKind},
        kv::{CreateErrorKind, Operation, Store, UpdateErrorKind},
        stream,
    },
};
use bytes::Bytes;
use futures::{StreamExt as _, stream::BoxStream};
use std::{collections::HashMap, time::Duration};

/// The entry of the stream's metadata with the bucket's epoch.
const EPOCH: &str = "pvf-epoch";
/// Header of a message that is written only if the last one on its subject has this sequence; 0 for none.
const EXPECTED: &str = "Nats-Expected-Last-Subject-Sequence";
/// Header of a message that removes a key.
const OPERATION: &str = "KV-Operation";

/// Why something could not be done with the bucket.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LeaseError {
    /// The server or the account has no JetStream.
    #[error("the bus has no JetStream: {0}")]
    NoJetStream(String),
    /// The key is not as it was expected.
    #[error("the key has another revision")]
    Conflict,
    /// The server did not answer or cannot do it at present. It may have been done nevertheless.
    #[error("JetStream: {0}")]
    Unavailable(String),
}

/// How a bucket is made. One that is there already keeps its settings.
#[derive(Debug, Clone)]
pub struct LeaseSettings {
    /// Name of the bucket.
    pub bucket: String,
    /// The key.
    pub key: String,
    /// The server forgets the key after this time.
    pub max_age: Duration,
    /// Servers of a cluster that keep the bucket.
    pub replicas: usize,
    /// How long one request may take.
    pub timeout: Duration,
}

/// What was published on the subject of the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sighting {
    /// The holder renews.
    Renewal,
    /// The holder gives the lease up.
    Release,
}

/// The key's entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseEntry {
    /// Its revision.
    pub revision: u64,
    /// Its value.
    pub value: Bytes,
}

/// A bucket that exists, or existed when it was opened.
#[derive(Debug, Clone)]
pub struct LeaseBucket {
    context: Context,
    store: Store,
    key: String,
    epoch: u32,
}

impl NatsBus {
    /// Opens the bucket.
    ///
    /// # Errors
    /// There is no JetStream, or it does not answer. `Ok(None)` if there is no such bucket.
    pub async fn open_lease(&self, settings: &LeaseSettings) -> Result<Option<LeaseBucket>, LeaseError> {
        let context = ContextBuilder::new().timeout(settings.timeout).build(self.client.clone());
        let stream = match context.get_stream(stream_of(settings)).await {
            Ok(stream) => stream,
            Err(error) => match error.kind() {
                GetStreamErrorKind::JetStream(why) if why.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                    return Ok(None);
                }
                GetStreamErrorKind::JetStream(why) => return Err(refused(&why)),
                GetStreamErrorKind::EmptyName | GetStreamErrorKind::InvalidStreamName | GetStreamErrorKind::Request => {
                    return Err(self.unanswered(&error));
                }
            },
        };
        let info = stream.cached_info();
        let epoch = match info.config.metadata.get(EPOCH).and_then(|epoch| epoch.parse().ok()) {
            Some(epoch) => epoch,
            // Made by hand.
            None => u32::try_from(info.created.unix_timestamp()).unwrap_or(u32::MAX),
        };
        let store = context.get_key_value(&settings.bucket).await;
        let store = store.map_err(|e| LeaseError::Unavailable(with_sources(&e)))?;
        Ok(Some(LeaseBucket { context, store, key: settings.key.clone(), epoch }))
    }

    /// Makes the bucket. Of those who do it at the same time one succeeds; [`LeaseError::Conflict`] for the others.
    ///
    /// # Errors
    /// As said, or there is no JetStream, or it does not answer.
    pub async fn create_lease(&self, settings: &LeaseSettings, epoch: u32) -> Result<(), LeaseError> {
        let context = ContextBuilder::new().timeout(settings.timeout).build(self.client.clone());
        let config = stream::Config {
            name: stream_of(settings),
            description: Some("the lease of the coordinator of a pvf fleet".into()),
            subjects: vec![format!("$KV.{}.>", settings.bucket)],
            max_messages_per_subject: 1,
            max_age: settings.max_age,
            num_replicas: settings.replicas,
            storage: stream::StorageType::File,
            discard: stream::DiscardPolicy::New,
            allow_rollup: true,
            deny_delete: true,
            // Reads go to the leader: another replica may be behind.
            allow_direct: false,
            max_messages: -1,
            max_bytes: -1,
            max_consumers: -1,
            duplicate_window: settings.max_age.min(Duration::from_secs(2)),
            metadata: HashMap::from([(EPOCH.to_owned(), epoch.to_string())]),
            ..stream::Config::default()
        };
        match context.create_stream(config).await {
            Ok(_) => Ok(()),
            Err(error) => Err(match error.kind() {
                CreateStreamErrorKind::JetStream(why) if why.error_code() == ErrorCode::STREAM_NAME_EXIST => {
                    LeaseError::Conflict
                }
                CreateStreamErrorKind::JetStream(why) => refused(&why),
                CreateStreamErrorKind::JetStreamUnavailable => LeaseError::NoJetStream(with_sources(&error)),
                _ => self.unanswered(&error),
            }),
        }
    }

    /// What is published on the key's subject, from now on, whether the server writes it or not. These are hints: what
    /// counts is in the bucket.
    ///
    /// # Errors
    /// The connection is closed.
    pub async fn watch_lease(&self, settings: &LeaseSettings) -> Result<BoxStream<'static, Sighting>, LeaseError> {
        let subject = format!("$KV.{}.{}", settings.bucket, settings.key);
        let messages = self.client.subscribe(subject).await;
        let messages = messages.map_err(|e| LeaseError::Unavailable(with_sources(&e)))?;
        self.round_trip().await.map_err(|e| LeaseError::Unavailable(with_sources(&e)))?;
        Ok(messages.filter_map(|message| std::future::ready(message.headers.as_ref().and_then(sighting))).boxed())
    }

    /// Why a request to JetStream was not answered.
    fn unanswered(&self, error: &dyn std::error::Error) -> LeaseError {
        if !self.client.server_info().jetstream {
            return LeaseError::NoJetStream(format!("{}: it is not enabled in the server's configuration", self.url));
        }
        LeaseError::Unavailable(with_sources(error))
    }
}

impl LeaseBucket {
    /// The bucket's epoch.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The server forgets the key after this time.
    pub fn max_age(&self) -> Duration {
        self.store.stream.cached_info().config.max_age
    }

    /// Writes the key if it is not there: its revision.
    ///
    /// # Errors
    /// [`LeaseError::Conflict`] if it is there.
    pub async fn claim(&self, value: Bytes) -> Result<u64, LeaseError> {
        self.store.create(&self.key, value).await.map_err(|error| match error.kind() {
            CreateErrorKind::AlreadyExists => LeaseError::Conflict,
            CreateErrorKind::InvalidKey | CreateErrorKind::Publish | CreateErrorKind::Ack | CreateErrorKind::Other => {
                LeaseError::Unavailable(with_sources(&error))
            }
        })
    }

    /// Writes the key if it has this revision: its next revision.
    ///
    /// # Errors
    /// [`LeaseError::Conflict`] if it has another one, or is not there.
    pub async fn renew(&self, value: Bytes, revision: u64) -> Result<u64, LeaseError> {
        self.store.update(&self.key, value, revision).await.map_err(|error| of_update(error.kind(), &error))
    }

    /// Removes the key if it has this revision. Standbys that watch the key see it.
    ///
    /// # Errors
    /// [`LeaseError::Conflict`] if it has another one, or is not there.
    pub async fn release(&self, revision: u64) -> Result<(), LeaseError> {
        let removed = self.store.delete_expect_revision(&self.key, Some(revision)).await;
        removed.map_err(|error| of_update(error.kind(), &error))
    }

    /// The key's entry; `None` if it is not there.
    ///
    /// # Errors
    /// The server does not answer.
    pub async fn entry(&self) -> Result<Option<LeaseEntry>, LeaseError> {
        let entry = self.store.entry(&self.key).await.map_err(|e| LeaseError::Unavailable(with_sources(&e)))?;
        let entry = entry.filter(|entry| entry.operation == Operation::Put);
        Ok(entry.map(|entry| LeaseEntry { revision: entry.revision, value: entry.value }))
    }

    /// Changes how long the server remembers the key. Only the holder of the lease may do this: others count on it.
    ///
    /// # Errors
    /// The server does not answer, or refuses it.
    pub async fn set_max_age(&self, max_age: Duration) -> Result<(), LeaseError> {
        let config = stream::Config {
            max_age,
            duplicate_window: max_age.min(Duration::from_secs(2)),
            ..self.store.stream.cached_info().config.clone()
        };
        let updated = self.context.update_stream(config).await;
        updated.map(drop).map_err(|e| LeaseError::Unavailable(with_sources(&e)))
    }

    /// Removes the bucket.
    ///
    /// # Errors
    /// The server does not answer, or refuses it.
    pub async fn remove(&self) -> Result<(), LeaseError> {
        let removed = self.context.delete_stream(&self.store.stream_name).await;
        removed.map(drop).map_err(|e| LeaseError::Unavailable(with_sources(&e)))
    }
}

fn stream_of(settings: &LeaseSettings) -> String {
    format!("KV_{}", settings.bucket)
}

fn refused(why: &jetstream::Error) -> LeaseError {
    match why.error_code() {
        ErrorCode::JETSTREAM_NOT_ENABLED | ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT => {
            LeaseError::NoJetStream(why.to_string())
        }
        _ => LeaseError::Unavailable(why.to_string()),
    }
}

fn of_update(kind: UpdateErrorKind, error: &dyn std::error::Error) -> LeaseError {
    let text = with_sources(error);
    match kind {
        UpdateErrorKind::WrongLastRevision => LeaseError::Conflict,
        // The client library knows one of the server's two codes for this.
        UpdateErrorKind::Other if text.contains("wrong last sequence") => LeaseError::Conflict,
        UpdateErrorKind::InvalidKey | UpdateErrorKind::TimedOut | UpdateErrorKind::Other => {
            LeaseError::Unavailable(text)
        }
    }
}

/// What a message on the key's subject says. An attempt to take the lease says nothing.
fn sighting(headers: &HeaderMap) -> Option<Sighting> {
    if headers.get(OPERATION).is_some() {
        return Some(Sighting::Release);
    }
    let expected = headers.get(EXPECTED)?.as_str();
    (expected != "0").then_some(Sighting::Renewal)
}
