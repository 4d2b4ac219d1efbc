//! The templates of a worker: one for each artifact and set of parameters in use, each with its spare forks. The least
//! recently used ones are evicted.

use super::{
    budget::{Budget, Kept},
    fork::Fork,
    spares::Spares,
};
use crate::{
    job::protocol::TemplateSetup,
    sandbox::Plan,
    supervise::{
        ArtifactFile,
        template::{DEFAULT_TIMEOUT, ForkError, Template},
    },
    wasm::CpuBaseline,
};
use lru::LruCache;
use pvf_shared::{ids::ParamsHash, params::ExecutorParams};
use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::Mutex as AsyncMutex;

/// Default for [`PoolSettings::max_memory`], bytes.
const DEFAULT_MAX_MEMORY: u64 = 1 << 30;

/// What the templates of a worker and their spares take up, and may take up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Footprint {
    pub(crate) templates: u64,
    pub(crate) templates_limit: u64,
    /// Spare forks that are ready.
    pub(crate) spares: u64,
    pub(crate) bytes: u64,
    pub(crate) bytes_limit: u64,
}

/// How templates are started and how many are kept.
#[derive(Debug, Clone)]
pub(in crate::supervise) struct PoolSettings {
    pub(in crate::supervise) exe: PathBuf,
    pub(in crate::supervise) baseline: CpuBaseline,
    pub(in crate::supervise) sandbox: Plan,
    /// Templates and spare forks that are kept.
    pub(in crate::supervise) kept: Kept,
    /// Maximum memory of all templates and their spares, bytes; a spare counts as much as its template. The most
    /// recently used template is kept in any case.
    pub(in crate::supervise) max_memory: u64,
    /// How long a template may take to answer; one that takes longer is replaced.
    pub(in crate::supervise) timeout: Duration,
}

impl PoolSettings {
    pub(in crate::supervise) fn new(exe: PathBuf, baseline: CpuBaseline, sandbox: Plan) -> Self {
        let kept = Budget::of_this_machine().keep(1, 1);
        Self { exe, baseline, sandbox, kept, max_memory: DEFAULT_MAX_MEMORY, timeout: DEFAULT_TIMEOUT }
    }
}

/// Artifact files are named by content, by the code that verified them, so the path identifies the artifact.
type Key = (PathBuf, ParamsHash);

/// The template for one artifact and set of parameters, and its spare forks.
pub(super) struct ForkSource {
    key: Key,
    params: ExecutorParams,
    /// Locked while a template starts, so that only one job starts it.
    template: AsyncMutex<Option<Template>>,
    pub(super) spares: Arc<Spares>,
}

/// The templates of a worker.
pub(in crate::supervise) struct ForkPool {
    settings: PoolSettings,
    sources: Mutex<Sources>,
}

impl fmt::Debug for ForkPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForkPool").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl ForkPool {
    pub(in crate::supervise) fn new(settings: PoolSettings) -> Self {
        let PoolSettings { kept, max_memory, .. } = settings;
        let sources = Sources { max_memory, max_templates: kept.templates, memory: 0, cached: LruCache::unbounded() };
        Self { settings, sources: Mutex::new(sources) }
    }

    fn sources(&self) -> MutexGuard<'_, Sources> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is a template of this artifact for these parameters.
    pub(in crate::supervise) fn has(&self, artifact: &Path, params: &ExecutorParams) -> bool {
        let sources = self.sources();
        let Some(cached) = sources.cached.peek(&(artifact.to_owned(), params.hash())) else { return false };
        cached.source.template.try_lock().is_ok_and(|template| template.as_ref().is_some_and(Template::is_alive))
    }

    /// What the templates and their spares take up.
    pub(in crate::supervise) fn footprint(&self) -> Footprint {
        let sources = self.sources();
        Footprint {
            templates: sources.cached.len() as u64,
            templates_limit: sources.max_templates as u64,
            spares: sources.cached.iter().map(|(_, cached)| cached.source.spares.len() as u64).sum(),
            bytes: sources.memory,
            bytes_limit: sources.max_memory,
        }
    }

    /// Where forks of this artifact for these parameters come from.
    pub(super) fn source(&self, artifact: &Path, params: &ExecutorParams) -> Arc<ForkSource> {
        let key = (artifact.to_owned(), params.hash());
        self.sources().get_or_insert(key, |key| ForkSource {
            key,
            params: params.clone(),
            template: AsyncMutex::default(),
            spares: Arc::new(Spares::new(self.settings.kept.spares)),
        })
    }

    /// Gives up the source that was not used for the longest time, unless it is this one: the machine refuses what
    /// another process needs.
    pub(super) fn evict_other_than(&self, source: &ForkSource) {
        let mut sources = self.sources();
        let other = sources.cached.iter().rev().map(|(key, _)| key).find(|key| **key != source.key).cloned();
        if let Some(evicted) = other.and_then(|key| sources.cached.pop(&key)) {
            sources.memory -= evicted.memory;
        }
    }

    /// Gives up the templates of this artifact and their spares. Jobs that run on their forks go on.
    pub(in crate::supervise) fn give_up(&self, artifact: &Path) {
        let mut sources = self.sources();
        let of_it: Vec<_> =
            sources.cached.iter().map(|(key, _)| key).filter(|key| key.0 == artifact).cloned().collect();
        for key in of_it {
            if let Some(given_up) = sources.cached.pop(&key) {
                sources.memory -= given_up.memory;
            }
        }
    }

    /// The source's template, which is started on this artifact if there is none.
    pub(super) async fn template(
        &self,
        source: &Arc<ForkSource>,
        artifact: &ArtifactFile,
    ) -> Result<Template, ForkError> {
        let mut slot = source.template.lock().await;
        if let Some(template) = slot.as_ref().filter(|template| template.is_alive()) {
            return Ok(template.clone());
        }
        *slot = None;
        let PoolSettings { ref exe, baseline, sandbox, kept, timeout, .. } = self.settings;
        let has_start = artifact.has_start();
        let setup = TemplateSetup { sandbox, baseline, params: source.params.clone(), has_start };
        let artifact = artifact.verified().await?;
        let template = Template::start(exe, &setup, &artifact, timeout).await?;
        *slot = Some(template.clone());
        let memory = template.memory().saturating_mul(1 + kept.spares as u64);
        self.sources().set_memory(source, memory);
        Ok(template)
    }
}

impl ForkSource {
    /// Makes a spare while a job runs if there is none; further ones are made when jobs end.
    pub(super) fn refill(self: &Arc<Self>) {
        let Some(reservation) = self.spares.reserve_first() else { return };
        let source = self.clone();
        tokio::spawn(async move {
            let template = source.template.lock().await.clone();
            let Some(template) = template else { return };
            match template.fork().await {
                Ok(fork) => reservation.fill(Fork::from(fork)),
                // The next job requests a fork itself, and reports the error if there is none.
                Err(error) => tracing::debug!(%error, "no spare fork"),
            }
        });
    }
}

/// Fork sources by recency of use. `memory` is the sum over `cached`.
struct Sources {
    max_memory: u64,
    max_templates: usize,
    memory: u64,
    cached: LruCache<Key, Cached>,
}

struct Cached {
    source: Arc<ForkSource>,
    /// Memory of its template and spares, bytes; 0 until the template is ready.
    memory: u64,
}

impl Sources {
    /// Marks the source as used.
    fn get_or_insert(&mut self, key: Key, new: impl FnOnce(Key) -> ForkSource) -> Arc<ForkSource> {
        let cached = match self.cached.get(&key) {
            Some(cached) => cached.source.clone(),
            None => {
                let source = Arc::new(new(key.clone()));
                self.cached.put(key, Cached { source: source.clone(), memory: 0 });
                source
            }
        };
        self.evict();
        cached
    }

    /// Records the memory of a source, unless it was evicted.
    fn set_memory(&mut self, source: &Arc<ForkSource>, memory: u64) {
        if let Some(cached) = self.cached.peek_mut(&source.key).filter(|cached| Arc::ptr_eq(&cached.source, source)) {
            self.memory = self.memory - cached.memory + memory;
            cached.memory = memory;
        }
        self.evict();
    }

    fn evict(&mut self) {
        while self.cached.len() > self.max_templates || (self.cached.len() > 1 && self.memory > self.max_memory) {
            let Some((_, evicted)) = self.cached.pop_lru() else { break };
            self.memory -= evicted.memory;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pvf_shared::params::ExecutorParam;

    const MAX_TEMPLATES: usize = 8;

    fn pool(max_memory: u64) -> ForkPool {
        let settings = PoolSettings::new(PathBuf::new(), CpuBaseline::of_this_machine(), Plan::all());
        let kept = Kept { templates: MAX_TEMPLATES, spares: 1 };
        ForkPool::new(PoolSettings { max_memory, kept, ..settings })
    }

    fn source(pool: &ForkPool, n: usize) -> Arc<ForkSource> {
        pool.source(Path::new(&n.to_string()), &ExecutorParams::default())
    }

    /// The cached sources, the most recently used one first, and the sum of their memory.
    fn cached(pool: &ForkPool) -> (Vec<String>, u64) {
        let sources = pool.sources();
        let sum = sources.cached.iter().map(|(_, cached)| cached.memory).sum();
        assert_eq!(sources.memory, sum);
        (sources.cached.iter().map(|(key, _)| key.0.display().to_string()).collect(), sum)
    }

    #[test]
    fn the_least_recently_used_source_is_evicted() {
        let pool = pool(u64::MAX);
        let first = source(&pool, 0);
        for n in 1..MAX_TEMPLATES {
            source(&pool, n);
        }
        assert!(Arc::ptr_eq(&source(&pool, 0), &first));
        source(&pool, MAX_TEMPLATES);
        let (names, _) = cached(&pool);
        assert_eq!((names.len(), &names[1][..], &names[MAX_TEMPLATES - 1][..]), (MAX_TEMPLATES, "0", "2"));
    }

    #[test]
    fn sources_are_evicted_until_their_memory_is_within_the_limit() {
        let pool = pool(10);
        let sources: Vec<_> = (0..3).map(|n| source(&pool, n)).collect();
        let set_memory = |n: usize, bytes| pool.sources().set_memory(&sources[n], bytes);
        set_memory(0, 4);
        set_memory(1, 4);
        assert_eq!(cached(&pool), (vec!["2".into(), "1".into(), "0".into()], 8));
        set_memory(2, 4);
        assert_eq!(cached(&pool), (vec!["2".into(), "1".into()], 8));
        set_memory(2, 5);
        assert_eq!(cached(&pool).1, 9, "a template that was replaced counts once");
        // An evicted source counts no more, not even if there is another one for the same key.
        set_memory(0, 9);
        source(&pool, 0);
        set_memory(0, 9);
        assert_eq!(cached(&pool), (vec!["0".into(), "2".into(), "1".into()], 9));
        // The most recently used source is kept in any case.
        let newest = source(&pool, 0);
        pool.sources().set_memory(&newest, 11);
        assert_eq!(cached(&pool), (vec!["0".into()], 11));
    }

    #[test]
    fn when_the_machine_refuses_something_the_least_recently_used_other_source_is_given_up() {
        let pool = pool(u64::MAX);
        let sources: Vec<_> = (0..3).map(|n| source(&pool, n)).collect();
        pool.sources().set_memory(&sources[1], 4);
        pool.evict_other_than(&sources[0]);
        assert_eq!(cached(&pool), (vec!["2".into(), "0".into()], 0));
        pool.evict_other_than(&sources[0]);
        pool.evict_other_than(&sources[0]);
        assert_eq!(cached(&pool), (vec!["0".into()], 0));
    }

    #[test]
    fn the_templates_of_one_artifact_are_given_up_for_all_parameters() {
        let pool = pool(u64::MAX);
        let others = ExecutorParams(vec![ExecutorParam::StackLogicalMax(2048)]);
        let sources = [source(&pool, 0), source(&pool, 1), pool.source(Path::new("0"), &others)];
        sources.iter().for_each(|source| pool.sources().set_memory(source, 4));
        pool.give_up(Path::new("0"));
        assert_eq!(cached(&pool), (vec!["1".into()], 4));
        pool.give_up(Path::new("2"));
        assert_eq!(cached(&pool), (vec!["1".into()], 4));
    }
}
