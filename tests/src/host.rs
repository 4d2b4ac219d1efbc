//! The same tests on both ways to run: the embedded host, and a fleet of processes on NATS.

use crate::{fleet::Fleet, processes::binary};
use pvf::{Config, Metrics, ValidationHost};
use pvf_shared::wire::FleetStatus;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A host of either kind, with one prepare slot and two execute slots.
pub enum Host {
    /// In this process.
    Embedded {
        /// The handle.
        host: ValidationHost,
        /// Its store.
        store: PathBuf,
        /// Where that lies.
        _dir: TempDir,
    },
    /// In processes of their own.
    Fleet(Box<Fleet>),
}

impl Host {
    /// Within this process; jobs are run by `pvf-execute-worker`.
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

    /// In processes of their own.
    pub async fn fleet() -> Self {
        Self::Fleet(Box::new(Fleet::start(1, 2).await))
    }

    /// What to ask.
    pub fn handle(&self) -> &ValidationHost {
        match self {
            Self::Embedded { host, .. } => host,
            Self::Fleet(fleet) => &fleet.host,
        }
    }

    /// Its store's folder.
    pub fn store(&self) -> &Path {
        match self {
            Self::Embedded { store, .. } => store,
            Self::Fleet(fleet) => fleet.store(),
        }
    }

    /// What the coordinator says of itself.
    pub async fn status(&self) -> FleetStatus {
        self.handle().status().await.expect("a coordinator that answers")
    }

    /// The artifact files of its store.
    pub fn artifacts(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        let mut folders = vec![self.store().join("artifacts")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                if entry.path().is_dir() { folders.push(entry.path()) } else { files.push(entry.path()) }
            }
        }
        files
    }
}
