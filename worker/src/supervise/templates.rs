//! The templates of a worker: one for each artifact and parameters that are in use, each with a fork made ahead of
//! time, the least recently used going first.

use super::template::{Fork, NoFork, Template};
use crate::{
    job::protocol::{Execution, Setup},
    sandbox::Plan,
    wasm::CpuBaseline,
};
use pvf_shared::{ids::ParamsHash, params::ExecutorParams};
use std::{
    collections::HashMap,
    fmt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::sync::Mutex as AsyncMutex;

/// Templates that are kept.
const MAX_TEMPLATES: usize = 64;
/// Forks of each that wait for a job. They are refilled while the job runs, so that one is enough for a slot.
const SPARES: usize = 1;
/// How often a job is handed over that nobody took: a spare may have died unnoticed, and its template too.
const TRIES: u32 = 3;

/// Files are named for their content by whoever verified them, so the path says which artifact it is.
type Key = (PathBuf, ParamsHash);

/// A template and its spare forks.
#[derive(Default)]
struct Entry {
    /// Only one job starts it.
    template: AsyncMutex<Option<Template>>,
    spares: Mutex<Vec<Fork>>,
    refilling: AtomicBool,
}

/// A counter of uses, and each entry with when it was used last.
type Entries = (u64, HashMap<Key, (u64, Arc<Entry>)>);

/// The templates of a worker.
pub(super) struct Templates {
    exe: PathBuf,
    baseline: CpuBaseline,
    sandbox: Plan,
    entries: Mutex<Entries>,
}

impl fmt::Debug for Templates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Templates").field("exe", &self.exe).finish_non_exhaustive()
    }
}

impl Templates {
    pub(super) fn new(exe: PathBuf, baseline: CpuBaseline, sandbox: Plan) -> Self {
        Self { exe, baseline, sandbox, entries: Mutex::default() }
    }

    /// Whether there is a template of this artifact for these parameters.
    pub(super) fn has(&self, artifact: &Path, params: &ExecutorParams) -> bool {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((_, entry)) = entries.1.get(&(artifact.to_owned(), params.hash())) else { return false };
        entry.template.try_lock().is_ok_and(|template| template.as_ref().is_some_and(Template::lives))
    }

    fn entry(&self, key: Key) -> Arc<Entry> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let (clock, map) = &mut *entries;
        *clock += 1;
        let slot = map.entry(key).or_default();
        slot.0 = *clock;
        let entry = slot.1.clone();
        while map.len() > MAX_TEMPLATES {
            let Some(oldest) = map.iter().min_by_key(|(_, (used, _))| *used).map(|(key, _)| key.clone()) else { break };
            map.remove(&oldest);
        }
        entry
    }

    /// Gives the job to a fork of the artifact's template, which is started if there is none.
    pub(super) async fn hand_over(
        &self,
        artifact: &Path,
        params: &ExecutorParams,
        job: &Execution<'_>,
    ) -> Result<Fork, NoFork> {
        let entry = self.entry((artifact.to_owned(), params.hash()));
        let mut why = String::new();
        for _ in 0..TRIES {
            let fork = match entry.spare() {
                Some(fork) => Ok(fork),
                None => entry.template(self, artifact, params).await?.fork().await,
            };
            match fork.and_then(|fork| fork.begin(job).map(|()| fork)) {
                Ok(fork) => {
                    entry.refill();
                    return Ok(fork);
                }
                Err(error) => why = error.to_string(),
            }
        }
        Err(NoFork::Gone(why))
    }
}

impl Entry {
    fn spare(&self) -> Option<Fork> {
        let mut spares = self.spares.lock().unwrap_or_else(PoisonError::into_inner);
        std::iter::from_fn(|| spares.pop()).find(|fork| !fork.has_ended())
    }

    async fn template(
        &self,
        templates: &Templates,
        artifact: &Path,
        params: &ExecutorParams,
    ) -> Result<Template, NoFork> {
        let mut slot = self.template.lock().await;
        if let Some(template) = slot.as_ref().filter(|template| template.lives()) {
            return Ok(template.clone());
        }
        *slot = None;
        let setup = Setup {
            sandbox: templates.sandbox,
            baseline: templates.baseline,
            params: params.clone(),
            artifact: artifact.to_owned(),
        };
        let template = Template::start(&templates.exe, &setup).await?;
        *slot = Some(template.clone());
        Ok(template)
    }

    /// Makes the next job's fork while this one runs.
    fn refill(self: &Arc<Self>) {
        if self.refilling.swap(true, Ordering::AcqRel) {
            return;
        }
        let entry = self.clone();
        tokio::spawn(async move {
            let template = entry.template.lock().await.clone();
            while let Some(template) = &template
                && entry.spares.lock().unwrap_or_else(PoisonError::into_inner).len() < SPARES
            {
                match template.fork().await {
                    Ok(fork) => entry.spares.lock().unwrap_or_else(PoisonError::into_inner).push(fork),
                    Err(error) => {
                        // The next job tries itself, and says so if it cannot be.
                        tracing::debug!(%error, "no spare fork");
                        break;
                    }
                }
            }
            entry.refilling.store(false, Ordering::Release);
        });
    }
}
