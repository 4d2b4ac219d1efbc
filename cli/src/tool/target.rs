//! Whom the tool asks: the embedded host, or a fleet.

use super::{Failure, args::Global};
use crate::{Config, Metrics, StartError};
use pvf_coordinator::CoordinatorError;
use pvf_shared::{
    ValidationHost,
    bus::nats::NatsBus,
    client::{ClientConfig, ClientError},
    store::{BlobStore, StoreError, seal::SealKey},
    wire::Refusal,
};
use std::{path::PathBuf, sync::Arc, time::Duration};

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let text = error.to_string();
        match error {
            ClientError::Refused(refusal) => match refusal {
                Refusal::Params(_)
                | Refusal::OutOfRange { .. }
                | Refusal::BlobMissing { .. }
                | Refusal::CodeHash { .. } => Self::Input(text),
                Refusal::Overloaded { .. } | Refusal::StoreUnavailable(_) | Refusal::Malformed(_) => {
                    Self::NotAnswered(text)
                }
            },
            ClientError::TooLarge { .. } => Self::Input(text),
            ClientError::Store(error) => error.into(),
            ClientError::NoCoordinator { .. }
            | ClientError::Bus(_)
            | ClientError::NotAnswered(_)
            | ClientError::Wire(_)
            | ClientError::Ended => Self::NotAnswered(text),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::Url { .. } => Self::Input(error.to_string()),
            _ => Self::NotAnswered(error.to_string()),
        }
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Store(error) | StartError::Coordinator(CoordinatorError::Store(error)) => error.into(),
            StartError::Client(error) => error.into(),
            other => Self::NotAnswered(other.to_string()),
        }
    }
}

/// The store to use: as given, or a folder in the user's cache.
pub(crate) fn store_url(global: &Global) -> Result<String, Failure> {
    if let Some(store) = &global.store {
        return Ok(store.clone());
    }
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|p| p.is_absolute())
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")));
    let cache = cache.ok_or_else(|| Failure::Input("--store: not given, and there is no HOME for a default".into()))?;
    Ok(cache.join("pvf/store").display().to_string())
}

/// The key for artifact seals.
pub(crate) fn seal_key(global: &Global) -> Result<SealKey, Failure> {
    SealKey::from_file(global.seal_key_file.as_deref()).map_err(Failure::Input)
}

/// A host to ask, and what drives it.
pub(crate) struct Target {
    pub(crate) host: ValidationHost,
    driver: Option<tokio::task::JoinHandle<()>>,
}

impl Target {
    /// Connects to the fleet, or starts the embedded host.
    pub(crate) async fn open(global: &Global) -> Result<Self, Failure> {
        match &global.nats {
            Some(url) => Self::fleet(global, url).await,
            None => Self::embedded(global, store_url(global)?).await,
        }
    }

    async fn fleet(global: &Global, url: &str) -> Result<Self, Failure> {
        let store = BlobStore::open_shared(&store_url(global)?, seal_key(global)?)?;
        let bus = NatsBus::connect(url, "pvf", Duration::from_secs(5))
            .await
            .map_err(|e| Failure::NotAnswered(e.to_string()))?;
        let config =
            ClientConfig { fleet: global.fleet.clone(), answer_within: global.wait, ..ClientConfig::default() };
        let host = ValidationHost::connect(Arc::new(bus), Some(store), config).await?;
        Ok(Self { host, driver: None })
    }

    /// Starts the embedded host on this store.
    pub(crate) async fn embedded(global: &Global, store: String) -> Result<Self, Failure> {
        let config = Config { seal_key: seal_key(global)?, answer_within: global.wait, ..Config::new(store) };
        let (host, run) = crate::start(config, Metrics::default()).await?;
        Ok(Self { host, driver: Some(tokio::spawn(run)) })
    }

    /// Lets the host end in order.
    pub(crate) async fn close(self) {
        drop(self.host);
        if let Some(driver) = self.driver {
            let _ = tokio::time::timeout(Duration::from_secs(5), driver).await;
        }
    }
}
