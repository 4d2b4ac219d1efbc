//! Keeps bundles of a command's requests. A bundle that cannot be kept is a warning, and never changes a verdict.

use super::args::BundleArgs;
use crate::{Answer, ExecuteRequest, Pvf, ValidationHost, tool::failure::Failure};
use pvf_shared::{
    bundle::{Bundle, BundleError, BundleFolder, Retention, write_file},
    client::BundleSettings,
};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// The verdict is shown after this time, whatever the disk does.
const WITHIN: Duration = Duration::from_secs(10);

/// Which bundles a command keeps.
pub(crate) struct Keeper {
    folder: Option<BundleSettings>,
    file: Option<PathBuf>,
}

/// A request that was answered.
pub(crate) struct Asked<'a> {
    pub(crate) host: &'a ValidationHost,
    pub(crate) pvf: &'a Pvf,
    /// The candidate; `None` for a precheck.
    pub(crate) request: Option<&'a ExecuteRequest>,
}

/// What has become of a bundle.
#[derive(Default)]
pub(crate) struct Outcome {
    /// Where it is, if it was kept.
    pub(crate) path: Option<PathBuf>,
    /// Why it was not kept although it should be.
    pub(crate) warning: Option<String>,
}

impl Keeper {
    /// For a command with so many requests.
    pub(crate) fn new(args: &BundleArgs, requests: usize) -> Result<Self, Failure> {
        if args.bundle.is_some() && requests != 1 {
            let why = format!("it is for one request, and there are {requests}; --bundles DIR --bundle-all keeps all");
            return Err(Failure::Input(format!("--bundle: {why}")));
        }
        let folder = args.bundles.clone().map(|folder| BundleSettings {
            all: args.bundle_all,
            retention: args.retention.retention(),
            ..BundleSettings::new(folder)
        });
        Ok(Self { folder, file: args.bundle.clone() })
    }

    /// Keeps the bundle of every request in this folder.
    pub(crate) fn of_folder(folder: &Path, retention: Retention) -> Self {
        Self { folder: Some(BundleSettings { all: true, retention, ..BundleSettings::new(folder) }), file: None }
    }

    /// Keeps the bundle of a request, if that is wanted.
    pub(crate) async fn keep(&self, asked: Asked<'_>, answer: &Answer) -> Outcome {
        let folder = self.folder.as_ref().filter(|settings| settings.wants(&answer.outcome));
        let folder = folder.map(|settings| BundleFolder::new(&settings.folder, settings.retention));
        if folder.is_none() && self.file.is_none() {
            return Outcome::default();
        }
        let file = self.file.clone();
        let written = async {
            let bundle = asked.host.bundle(asked.pvf, asked.request, answer).await;
            tokio::task::spawn_blocking(move || write(folder, file, &bundle)).await
        };
        match tokio::time::timeout(WITHIN, written).await {
            Ok(Ok(Ok(path))) => Outcome { path, warning: None },
            Ok(Ok(Err(error))) => Outcome::failed(error),
            Ok(Err(error)) => Outcome::failed(error),
            Err(_) => Outcome::failed(format!("it took longer than {} s", WITHIN.as_secs())),
        }
    }
}

impl Outcome {
    fn failed(why: impl std::fmt::Display) -> Self {
        Self { path: None, warning: Some(format!("replay bundle not written: {why}")) }
    }
}

fn write(folder: Option<BundleFolder>, file: Option<PathBuf>, bundle: &Bundle) -> Result<Option<PathBuf>, BundleError> {
    let kept = folder.map(|folder| folder.write(bundle)).transpose()?;
    match file {
        Some(file) => write_file(&file, bundle).map(|()| Some(file)),
        None => Ok(kept),
    }
}
