//! The validation host that a command uses: the embedded one, or a fleet.

use super::{args::Global, failure::Failure};
use crate::{Config, Metrics};
use pvf_shared::{
    ValidationHost,
    bus::nats::{NatsBus, NatsConnection},
    client::ClientConfig,
    store::{BlobStore, seal::SealKey},
};
use std::{path::PathBuf, sync::Arc, time::Duration};

/// The URL of the store: `--store`, or a folder in the user's cache folder.
pub(crate) fn store_url(global: &Global) -> Result<String, Failure> {
    if let Some(store) = &global.store {
        return Ok(store.clone());
    }
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|p| p.is_absolute())
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")));
    let cache =
        cache.ok_or_else(|| Failure::Input("--store is required: HOME is not set, so there is no default".into()))?;
    Ok(cache.join("pvf/store").display().to_string())
}

/// The key for artifact seals.
pub(crate) fn seal_key(global: &Global) -> Result<SealKey, Failure> {
    SealKey::from_file(global.seal_key_file.as_deref()).map_err(Failure::Input)
}

/// A host, and the task that drives it if it is embedded.
pub(crate) struct Target {
    pub(crate) host: ValidationHost,
    driver: Option<tokio::task::JoinHandle<()>>,
}

impl Target {
    /// Connects to the fleet, or starts the embedded host.
    pub(crate) async fn open(global: &Global) -> Result<Self, Failure> {
        match &global.bus {
            Some(nats) => Self::fleet(global, nats).await,
            None => Self::embedded(global, store_url(global)?).await,
        }
    }

    async fn fleet(global: &Global, nats: &NatsConnection) -> Result<Self, Failure> {
        let store = BlobStore::open_shared(&store_url(global)?, seal_key(global)?)?;
        let bus = NatsBus::connect(nats, "pvf", Duration::from_secs(5)).await?;
        let config =
            ClientConfig { fleet: global.fleet.clone(), answer_within: global.wait, ..ClientConfig::default() };
        let host = ValidationHost::connect(Arc::new(bus), Some(store), config).await?;
        Ok(Self { host, driver: None })
    }

    /// Starts the embedded host on this store.
    pub(crate) async fn embedded(global: &Global, store: String) -> Result<Self, Failure> {
        let config = Config {
            seal_key: seal_key(global)?,
            answer_within: global.wait,
            // Unlike a worker of a fleet, the tool also works where the sandbox is incomplete. The host logs a warning
            // that names the missing mechanisms.
            secure: false,
            cache_dir: global.cache_dir.clone(),
            ..Config::new(store)
        };
        let (host, run) = crate::start(config, Metrics::default()).await?;
        Ok(Self { host, driver: Some(tokio::spawn(run)) })
    }

    /// Ends the host in order; waits at most five seconds.
    pub(crate) async fn close(self) {
        drop(self.host);
        if let Some(driver) = self.driver {
            let _ = tokio::time::timeout(Duration::from_secs(5), driver).await;
        }
    }
}
