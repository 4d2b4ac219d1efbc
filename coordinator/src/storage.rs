//! What the scheduler wants from the object store: artifacts looked up, listed and dropped, when each was last used,
//! and which codes are pinned. No operation begins after the coordinator's
//! tenure; one that began in it may end later.

use crate::lease::Tenure;
use pvf_scheduler::{Event, Listed};
use pvf_shared::{
    ids::{ArtifactId, CodeHash},
    retry::{self, Retryable as _},
    store::BlobStore,
};
use std::{sync::Arc, time::Duration};
use tokio::sync::mpsc::UnboundedSender;

/// Artifacts in one [`Event::Listed`]: one event must not occupy the scheduler for long.
const LISTED_AT_ONCE: usize = 64;

/// Carries out operations on the store; results come back as events.
#[derive(Clone)]
pub(crate) struct Storage {
    pub(crate) store: BlobStore,
    pub(crate) events: UnboundedSender<Event>,
    pub(crate) tenure: Tenure,
}

impl Storage {
    /// Looks an artifact up; repeats it with back-off while the store fails.
    pub(crate) async fn look_up(self, artifact: Arc<ArtifactId>) {
        let found = (|| self.store.look_up(&artifact))
            .retry(retry::STORE_LOOK_UP)
            .notify(|error, _| tracing::warn!(%error, %artifact, "look-up of an artifact failed, will be repeated"))
            .await;
        let found = found.map_err(|error| error.to_string());
        let _ = self.events.send(Event::LookedUp { artifact, found });
    }

    /// Deletes an artifact. One that cannot be deleted counts as dropped: its next preparation overwrites it.
    pub(crate) async fn drop_artifact(self, artifact: Arc<ArtifactId>) {
        if !self.tenure.holds() {
            return;
        }
        let deleted = self.store.delete_artifact(&artifact).await;
        let error = deleted.err().map(|error| error.to_string());
        if let Some(error) = &error {
            tracing::error!(error, %artifact, "artifact could not be deleted from the store");
        }
        let _ = self.events.send(Event::Dropped { artifact, error });
    }

    /// Tells the scheduler which codes are pinned; asks until the store answers.
    pub(crate) async fn read_pins(self) {
        let codes = (|| self.store.read_pins())
            .retry(retry::PINS)
            .when(|_| self.tenure.holds())
            .notify(
                |error, _| tracing::warn!(%error, "pinned codes could not be read: no artifact is removed until then"),
            )
            .await;
        if let Ok(codes) = codes {
            let _ = self.events.send(Event::PinsRead { codes });
        }
    }

    /// Saves which codes are pinned.
    pub(crate) async fn save_pins(self, codes: Vec<CodeHash>) {
        if !self.tenure.holds() {
            return;
        }
        let saved = self.store.save_pins(&codes).await;
        let error = saved.err().map(|error| error.to_string());
        if let Some(error) = &error {
            tracing::error!(error, "pinned codes could not be saved");
        }
        let _ = self.events.send(Event::PinsSaved { error });
    }

    /// Tells the scheduler which artifacts the store has.
    pub(crate) async fn list_artifacts(self) {
        match self.store.list_artifacts().await {
            Ok(listed) => {
                tracing::info!(artifacts = listed.len(), "artifacts in the store");
                for some in listed.chunks(LISTED_AT_ONCE) {
                    let listed = some.iter().map(|(artifact, bytes, idle)| Listed {
                        artifact: artifact.clone(),
                        bytes: *bytes,
                        idle: *idle,
                    });
                    let _ = self.events.send(Event::Listed(listed.collect()));
                }
            }
            // An artifact that is requested is still found by its look-up; one that is not requested is not pruned.
            Err(error) => tracing::warn!(%error, "artifacts in the store could not be listed"),
        }
    }

    /// Saves for how long each artifact has been idle, for the next coordinator.
    pub(crate) async fn save_idle_times(self, idle: Vec<(Arc<ArtifactId>, Duration)>) {
        if !self.tenure.holds() {
            return;
        }
        let idle = idle.iter().map(|(artifact, idle)| ((**artifact).clone(), *idle)).collect();
        if let Err(error) = self.store.save_needed(idle).await {
            tracing::warn!(%error, "last-used times of artifacts could not be saved");
        }
    }
}
