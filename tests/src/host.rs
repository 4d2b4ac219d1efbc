//! A host of either deployment, so that one test runs on both: embedded, and a fleet of processes on NATS.

use crate::{fleet::Fleet, processes::binary};
use pvf::{Config, Metrics, ValidationHost};
use pvf_shared::wire::FleetStatus;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A host with one prepare slot and two execute slots.
pub enum Host {
    /// Coordinator and workers in this process.
    Embedded {
        /// The handle.
        host: ValidationHost,
        /// The folder of its store.
        store: PathBuf,
        /// The temporary folder with the store in it.
        _dir: TempDir,
    },
    /// Coordinator and workers in processes of their own.
    Fleet(Box<Fleet>),
}

impl Host {
    /// Starts an embedded host; its jobs run in `pvf-execute-worker` processes.
    pub async fn embedded() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = dir.path().join("not/there/yet");
        let config = Config {
            execute_slots: 2,
            worker_exe: Some(binary("pvf-execute-worker")),
            ..Config::new(store.to_str().unwrap())
        };
        let (host, run) = pvf::start(config, Metrics::default()).await.unwrap();
        tokio::spawn(run);
        Self::Embedded { host, store, _dir: dir }
    }

    /// Starts a fleet of processes.
    pub async fn fleet() -> Self {
        Self::Fleet(Box::new(Fleet::start(1, 2).await))
    }

    /// A client's handle.
    pub fn handle(&self) -> &ValidationHost {
        match self {
            Self::Embedded { host, .. } => host,
            Self::Fleet(fleet) => &fleet.host,
        }
    }

    /// The folder of its store.
    pub fn store(&self) -> &Path {
        match self {
            Self::Embedded { store, .. } => store,
            Self::Fleet(fleet) => fleet.store(),
        }
    }

    /// The coordinator's status report.
    pub async fn status(&self) -> FleetStatus {
        self.handle().status().await.expect("a coordinator that answers")
    }

    /// The artifact files in its store.
    pub fn artifacts(&self) -> Vec<PathBuf> {
        artifacts_in(self.store())
    }
}

/// The artifact files in this store.
pub fn artifacts_in(store: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![store.join("artifacts")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.path().is_dir() { folders.push(entry.path()) } else { files.push(entry.path()) }
        }
    }
    files
}
