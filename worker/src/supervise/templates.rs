//! The templates of a worker: one for each artifact and parameters that are in use, each with forks made ahead of
//! time, the least recently used going first.

use super::{
    cores::{Cores, Seat},
    fork::{Done, Fork},
    template::{Next, NoFork, PATIENCE, Template},
    turn::{Occupant, Turn},
    watch::Limits,
};
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
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{sync::Mutex as AsyncMutex, time::Instant};

/// Templates that are kept,
const MAX_TEMPLATES: usize = 64;
/// as long as the memory of all of them is not more than this, spares counted as much as their template. The last one
/// used is kept in any case.
const MAX_MEMORY: u64 = 1 << 30;
/// How often a job is handed over that nobody took, or that waited with a process that ended: a spare may have died
/// unnoticed, and its template too.
const TRIES: u32 = 3;

/// Files are named for their content by whoever verified them, so the path says which artifact it is.
type Key = (PathBuf, ParamsHash);

/// A template and its spare forks.
#[derive(Default)]
struct Entry {
    /// Only one job starts it.
    template: AsyncMutex<Option<Template>>,
    spares: Mutex<Vec<Fork>>,
    /// Spares that are being made.
    coming: AtomicUsize,
    /// Memory of the template, bytes; none before there is one.
    memory: AtomicU64,
}

/// The place of a spare that is being made.
struct Place(Arc<Entry>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.coming.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Place {
    fn fill(self, fork: Fork) {
        self.0.spares().push(fork);
    }
}

/// A fork that has a job.
pub(super) struct Busy {
    /// Given up before the process can be reaped.
    seat: Option<Seat>,
    fork: Fork,
    entry: Arc<Entry>,
    spares: usize,
    cores: Arc<Cores>,
}

impl Busy {
    /// What whoever comes behind it has to know.
    pub(super) fn occupant(&self) -> std::io::Result<Occupant> {
        let (pid, pidfd) = self.fork.process()?;
        Ok(Occupant { pid, pidfd: pidfd.clone(), core: self.seat.as_ref().map(|seat| seat.core().clone()) })
    }

    /// Waits until it begins; false if it ended before that. It may have ended since.
    pub(super) async fn begins(&mut self, turn: &mut Turn, before: &Occupant) -> std::io::Result<bool> {
        let told = tokio::select! {
            biased;
            told = turn.comes() => told,
            () = self.fork.gone() => {
                if !before.has_ended() {
                    return Ok(false);
                }
                turn.comes().await
            }
        };
        if !told {
            // It was given up, perhaps, and is only about to end.
            before.ended().await?;
            return Ok(true);
        }
        // The slot that is free now is another one's than that which it was to have.
        let (pid, pidfd) = self.fork.process()?;
        if self.seat.take().is_some() {
            self.cores.loosen(pid);
        }
        self.seat = self.cores.take().map(|core| core.seat(pid, pidfd));
        let went = self.fork.go();
        self.seat.iter().for_each(Seat::begun);
        Ok(went.is_ok() || before.has_ended())
    }

    /// Watches it do its job. When it has ended a spare is made in its place, if there are not enough.
    pub(super) async fn done(self, limits: Limits, max_reply: usize, ended: impl FnOnce()) -> std::io::Result<Done> {
        let Self { seat, fork, entry, spares, .. } = self;
        let ended = || {
            drop(seat);
            ended();
        };
        let next = move || entry.place(spares).map(|place| -> Next { Box::new(move |fork| place.fill(fork)) });
        fork.done(limits, max_reply, (ended, next)).await
    }
}

/// A counter of uses, and each entry with when it was used last.
type Entries = (u64, HashMap<Key, (u64, Arc<Entry>)>);

/// The templates of a worker.
pub(super) struct Templates {
    exe: PathBuf,
    baseline: CpuBaseline,
    /// Forks of each that wait for a job.
    spares: usize,
    cores: Arc<Cores>,
    sandbox: Plan,
    /// Bytes.
    max_memory: u64,
    /// How long one may take for anything that it is told.
    patience: Duration,
    entries: Mutex<Entries>,
}

impl fmt::Debug for Templates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Templates").field("exe", &self.exe).finish_non_exhaustive()
    }
}

impl Templates {
    pub(super) fn new(exe: PathBuf, baseline: CpuBaseline, sandbox: Plan) -> Self {
        Self {
            exe,
            baseline,
            sandbox,
            spares: 1,
            cores: Cores::for_jobs(1),
            max_memory: MAX_MEMORY,
            patience: PATIENCE,
            entries: Mutex::default(),
        }
    }

    /// The same for so many jobs at once, with so many spares.
    pub(super) fn of_size(self, slots: usize, spares: usize) -> Self {
        Self { spares, cores: Cores::for_jobs(slots), ..self }
    }

    /// The same with so many bytes for all templates and their spares.
    pub(super) fn with_memory(self, max_memory: u64) -> Self {
        Self { max_memory, ..self }
    }

    /// The same with so much time for each to do as it is told; one that takes longer is replaced.
    pub(super) fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
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
        self.bound(map);
        entry
    }

    /// Forgets the least recently used ones.
    fn bound(&self, map: &mut HashMap<Key, (u64, Arc<Entry>)>) {
        let each = 1 + self.spares as u64;
        let memory = |map: &HashMap<Key, (u64, Arc<Entry>)>| -> u64 {
            map.values().map(|(_, entry)| entry.memory.load(Ordering::Relaxed).saturating_mul(each)).sum()
        };
        while map.len() > MAX_TEMPLATES || (map.len() > 1 && memory(map) > self.max_memory) {
            let Some(oldest) = map.iter().min_by_key(|(_, (used, _))| *used).map(|(key, _)| key.clone()) else { break };
            map.remove(&oldest);
        }
    }

    /// Has the job begin in a fork of the artifact's template when it is its turn, and says when that was.
    pub(super) async fn begin(
        &self,
        artifact: &Path,
        params: &ExecutorParams,
        job: &Execution<'_>,
        turn: &mut Turn,
    ) -> Result<(Busy, Instant), NoFork> {
        let mut died = 0;
        loop {
            if died == TRIES {
                // It gets its process when it has its slot.
                turn.comes().await;
            }
            let before = turn.before().await;
            let mut since = Instant::now();
            let mut fork = self.hand_over(artifact, params, job, before.as_deref()).await?;
            if let Some(before) = before {
                if !fork.begins(turn, &before).await? {
                    // It ended while it waited, and did nothing.
                    died += 1;
                    continue;
                }
                since = Instant::now();
            }
            turn.runs(fork.occupant()?);
            return Ok((fork, since));
        }
    }

    /// Gives the job to a fork of the artifact's template, which is started if there is none. It begins when the one
    /// before it has ended, if there is one.
    async fn hand_over(
        &self,
        artifact: &Path,
        params: &ExecutorParams,
        job: &Execution<'_>,
        before: Option<&Occupant>,
    ) -> Result<Busy, NoFork> {
        let entry = self.entry((artifact.to_owned(), params.hash()));
        let core = before.map_or_else(|| self.cores.take(), Occupant::held_core);
        let mut why = String::new();
        for _ in 0..TRIES {
            let fork = match entry.spare() {
                Some(fork) => Ok(fork),
                None => entry.template(self, artifact, params).await?.fork().await,
            };
            let handed = fork.and_then(|fork| {
                let (pid, pidfd) = fork.process()?;
                let seat = core.as_ref().map(|core| core.seat(pid, pidfd));
                fork.hand(job, before)?;
                seat.iter().for_each(Seat::begun);
                Ok((fork, seat))
            });
            match handed {
                Ok((fork, seat)) => {
                    entry.refill(self.spares);
                    return Ok(Busy { seat, fork, entry, spares: self.spares, cores: self.cores.clone() });
                }
                Err(error) => why = error.to_string(),
            }
        }
        Err(NoFork::Gone(why))
    }
}

impl Entry {
    fn spares(&self) -> MutexGuard<'_, Vec<Fork>> {
        self.spares.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spare(&self) -> Option<Fork> {
        let mut spares = self.spares();
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
        let template = Template::start(&templates.exe, &setup, templates.patience).await?;
        self.memory.store(template.memory(), Ordering::Relaxed);
        *slot = Some(template.clone());
        let mut entries = templates.entries.lock().unwrap_or_else(PoisonError::into_inner);
        templates.bound(&mut entries.1);
        drop(entries);
        Ok(template)
    }

    /// A place for one more spare, if there are fewer than so many.
    fn place(self: &Arc<Self>, spares: usize) -> Option<Place> {
        let there = self.spares();
        if there.len() + self.coming.load(Ordering::Acquire) >= spares {
            return None;
        }
        self.coming.fetch_add(1, Ordering::AcqRel);
        Some(Place(self.clone()))
    }

    /// Makes the next job's fork while this one runs, if there is none; else one is made when this one ends.
    fn refill(self: &Arc<Self>, spares: usize) {
        if spares == 0 || !self.spares().is_empty() || self.coming.load(Ordering::Acquire) > 0 {
            return;
        }
        let Some(place) = self.place(spares) else { return };
        tokio::spawn(async move {
            let template = place.0.template.lock().await.clone();
            let Some(template) = template else { return };
            match template.fork().await {
                Ok(fork) => place.fill(fork),
                // The next job tries itself, and says so if it cannot be.
                Err(error) => tracing::debug!(%error, "no spare fork"),
            }
        });
    }
}
