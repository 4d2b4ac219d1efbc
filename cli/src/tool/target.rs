//! The validation host that a command uses: the embedded one, or a fleet.

use super::{args::Global, failure::Failure};
use crate::{Config, Metrics, embedded::own_key_folder as own_key_folder_in};
use pvf_shared::{
    ValidationHost,
    bus::nats::{NatsBus, NatsConnection},
    client::ClientConfig,
    keys::{KeyArgs, KeyError, own_keys},
    store::{ArtifactKeys, BlobStore},
};
use std::{path::PathBuf, sync::Arc, time::Duration};

/// The URL of the store: `--store`, or a folder in the user's cache folder.
pub(crate) fn store_url(global: &Global) -> Result<String, Failure> {
    if let Some(store) = &global.store {
        return Ok(store.clone());
    }
    let cache = user_folder("XDG_CACHE_HOME", ".cache");
    let cache =
        cache.ok_or_else(|| Failure::Input("--store is required: HOME is not set, so there is no default".into()))?;
    Ok(cache.join("pvf/store").display().to_string())
}

/// A folder of the user: the variable of the XDG specification, or this folder in the home folder.
fn user_folder(variable: &str, in_home: &str) -> Option<PathBuf> {
    let given = std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    given.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(in_home)))
}

/// Where the keys are kept that the embedded host and `up` make for themselves: in the store if it is a folder, else in
/// the user's data folder. `None` for a store that does not outlive the process.
pub(crate) fn own_key_folder(store: &str) -> Option<PathBuf> {
    let in_memory = store.starts_with("memory:");
    let of_user = || user_folder("XDG_DATA_HOME", ".local/share").map(|folder| folder.join("pvf/keys"));
    own_key_folder_in(store).or_else(|| if in_memory { None } else { of_user() })
}

/// The keys of the embedded host: those that it is told to use, or its own.
fn embedded_keys(global: &Global, store: &str) -> Result<Option<ArtifactKeys>, Failure> {
    let KeyArgs { signing_key, unsigned, .. } = &global.keys;
    let given = *unsigned || signing_key.as_ref().is_some_and(|path| !path.as_os_str().is_empty());
    if given {
        return Ok(Some(global.keys.of_signer()?));
    }
    let Some(folder) = own_key_folder(store) else { return Ok(None) };
    match own_keys(&folder) {
        Ok((keys, _)) => Ok(Some(keys)),
        // Keys that cannot be read or made because of their folder: nothing that the user gave is wrong. A store that
        // cannot be opened says more.
        Err(error @ KeyError::File { .. }) => {
            BlobStore::open_shared(store, ArtifactKeys::none())?;
            Err(Failure::NoResult(format!("store {store}: cannot write or read its keys: {error}")))
        }
        Err(error) => Err(error.into()),
    }
}

/// The connection to a fleet's bus, for a command that only makes sense with a fleet.
pub(crate) fn fleet_of<'a>(global: &'a Global, command: &str) -> Result<&'a NatsConnection, Failure> {
    let why = "--nats is required: the embedded host exists only while its command runs";
    global.bus.as_ref().ok_or_else(|| Failure::Input(format!("{command}: {why}")))
}

/// How long connecting to the bus takes at most.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection to the bus of the fleet that a command is about.
pub(crate) async fn bus_of(global: &Global, command: &str) -> Result<Arc<NatsBus>, Failure> {
    let nats = fleet_of(global, command)?;
    Ok(Arc::new(NatsBus::connect(nats, &format!("pvf {command}"), CONNECT_TIMEOUT).await?))
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
        let bus = NatsBus::connect(nats, "pvf", CONNECT_TIMEOUT).await?;
        let config =
            ClientConfig { fleet: global.fleet.clone(), answer_within: global.wait, ..ClientConfig::default() };
        let host = ValidationHost::connect(Arc::new(bus), config).await?;
        Ok(Self { host, driver: None })
    }

    /// Starts the embedded host on this store.
    pub(crate) async fn embedded(global: &Global, store: String) -> Result<Self, Failure> {
        let config = Config {
            keys: embedded_keys(global, &store)?,
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
