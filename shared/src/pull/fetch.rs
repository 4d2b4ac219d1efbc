//! The side that needs the bytes.

use super::{
    HolderFault, PullError, PullSettings,
    assembly::{Assembly, Sink},
};
use crate::{
    bus::{BusError, SharedBus},
    content::Content,
    retry,
    subjects::Subject,
    wire::{self, Pull, PullReply},
};
use bytes::Bytes;
use futures::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use std::{io, ops::Range, sync::Arc};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

/// A holder that sends less than it is asked for sends at least this much, bytes: each chunk has a cost of its own.
const MIN_CHUNK: usize = 512;

/// What is wanted, and from whom.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The content.
    pub content: Content,
    /// Its length, bytes, if it is known. Then the first window is asked for at once, and a holder that tells another
    /// length is wrong.
    pub expected_len: Option<u64>,
    /// The longest content that is taken, bytes.
    pub max_len: u64,
    /// Subjects of those who may hold it, in the order in which they are asked.
    pub holders: Vec<Subject>,
}

/// Pulls content over one connection. Clones share the bound of what is outstanding.
#[derive(Clone)]
pub struct Puller {
    bus: SharedBus,
    settings: Arc<PullSettings>,
    /// Bytes that may still be asked for.
    room: Arc<Semaphore>,
}

impl Puller {
    /// Pulls over this connection. There should be one for each connection.
    pub fn new(bus: SharedBus, settings: PullSettings) -> Self {
        let outstanding = settings.outstanding_on(bus.max_payload());
        let settings = PullSettings { outstanding, ..settings };
        Self { bus, settings: Arc::new(settings), room: Arc::new(Semaphore::new(outstanding)) }
    }

    /// Pulls the content from the first holder that delivers it; what one has delivered stands when the next one goes
    /// on. `memory` is called with the length before as much memory is allocated, again if the length turns out
    /// different, and what it gave last is returned with the bytes: a permit, for instance.
    ///
    /// # Errors
    /// [`PullError::TooLarge`] if the content is over `max_len` bytes by its expected length, or by what every holder
    /// tells. Else [`PullError::Failed`], with the fault of each holder, when each has been tried for
    /// [`rounds`](PullSettings::rounds) times, or the [`patience`](PullSettings::patience) is over.
    pub async fn fetch<M, F>(&self, wanted: &Wanted, memory: impl Fn(u64) -> F) -> Result<(Bytes, M), PullError>
    where
        F: Future<Output = M>,
    {
        let pulled = self.fetch_into(wanted, memory, |len| Ok(Vec::with_capacity(len))).await;
        pulled.map(|(bytes, memory)| (bytes.into(), memory))
    }

    /// As [`Puller::fetch`], into what `sink` makes for so many bytes.
    ///
    /// # Errors
    /// Those of [`Puller::fetch`], and [`PullError::NoRoom`] where a sink cannot be made or refuses bytes.
    pub async fn fetch_into<M, F, S: Sink>(
        &self,
        wanted: &Wanted,
        memory: impl Fn(u64) -> F,
        sink: impl Fn(usize) -> io::Result<S>,
    ) -> Result<(S, M), PullError>
    where
        F: Future<Output = M>,
    {
        let content = wanted.content;
        if let Some(len) = wanted.expected_len.filter(|len| *len > wanted.max_len) {
            return Err(PullError::TooLarge { content, len, limit: wanted.max_len });
        }
        let now = Instant::now();
        let mut pull = InProgress {
            puller: self,
            wanted,
            memory,
            sink,
            here: None,
            alone: false,
            started: now,
            base: now + self.settings.patience,
            faults: vec![None; wanted.holders.len()],
        };
        let pulled = pull.run().await.map_err(|NoRoom(error)| PullError::NoRoom { content, error: error.into() })?;
        pulled.ok_or_else(|| pull.error())
    }

    /// Sends a request for a part. The answer holds its place among what is outstanding.
    async fn ask(
        &self,
        holder: &Subject,
        content: Content,
        part: Range<usize>,
        place: OwnedSemaphorePermit,
    ) -> Result<Answer, BusError> {
        let len = u32::try_from(part.len()).unwrap_or(u32::MAX);
        let request = wire::encode(&Pull { content, offset: part.start as u64, len });
        let outstanding = self.settings.outstanding.saturating_sub(self.room.available_permits());
        let timeout = self.settings.grace + self.settings.time_of(outstanding as u64);
        let answer = self.bus.send_request(holder, request, timeout).await?;
        Ok(async move {
            let answer = answer.await;
            drop(place);
            (part, answer)
        }
        .boxed())
    }

    async fn place(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        // The semaphore is never closed.
        self.room.clone().acquire_many_owned(u32::try_from(bytes).ok()?).await.ok()
    }

    fn free_place(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        self.room.clone().try_acquire_many_owned(u32::try_from(bytes).ok()?).ok()
    }
}

/// The answer for a part.
type Answer = BoxFuture<'static, (Range<usize>, Result<Bytes, BusError>)>;

/// The machine refuses what a sink needs.
struct NoRoom(io::Error);

/// Why a turn of a holder ends.
enum TurnEnd {
    Fault(HolderFault),
    NoRoom(io::Error),
}

impl From<HolderFault> for TurnEnd {
    fn from(fault: HolderFault) -> Self {
        Self::Fault(fault)
    }
}

impl From<BusError> for TurnEnd {
    fn from(error: BusError) -> Self {
        Self::Fault(error.into())
    }
}

/// What a pull has.
struct Here<M, S> {
    assembly: Assembly<S>,
    /// The holder that told the length; `None` if the caller did.
    length_of: Option<usize>,
    memory: M,
}

impl<M, S: Sink> Here<M, S> {
    /// Whether nothing here is of another holder than this one.
    fn is_only_of(&self, holder: usize) -> bool {
        self.length_of.is_none_or(|other| other == holder) && self.assembly.is_only_of(holder)
    }
}

struct InProgress<'a, M, R, S, N> {
    puller: &'a Puller,
    wanted: &'a Wanted,
    memory: R,
    sink: N,
    here: Option<Here<M, S>>,
    /// The bytes of several holders had a wrong hash together: from now on only those of one are joined.
    alone: bool,
    started: Instant,
    /// The end of the pull, without the time for its bytes.
    base: Instant,
    /// The last fault of each holder.
    faults: Vec<Option<HolderFault>>,
}

impl<M, F, R, S, N> InProgress<'_, M, R, S, N>
where
    F: Future<Output = M>,
    R: Fn(u64) -> F,
    S: Sink,
    N: Fn(usize) -> io::Result<S>,
{
    /// The bytes; `None` if no holder has delivered them.
    async fn run(&mut self) -> Result<Option<(S, M)>, NoRoom> {
        for round in 0..self.puller.settings.rounds.max(1) {
            if round > 0 {
                let pause = self.puller.settings.pause;
                tokio::time::sleep_until(self.deadline().min(Instant::now() + pause + retry::jitter(pause))).await;
            }
            for holder in 0..self.wanted.holders.len() {
                if self.faults[holder].as_ref().is_some_and(HolderFault::is_final) {
                    continue;
                }
                if Instant::now() >= self.deadline() {
                    return Ok(None);
                }
                match self.turn(holder).await {
                    Ok(()) => return Ok(self.here.take().map(|here| (here.assembly.into_sink(), here.memory))),
                    Err(TurnEnd::Fault(fault)) => self.failed(holder, fault),
                    Err(TurnEnd::NoRoom(error)) => return Err(NoRoom(error)),
                }
            }
        }
        Ok(None)
    }

    fn deadline(&self) -> Instant {
        let len = self.here.as_ref().map_or(0, |here| here.assembly.len());
        self.base + self.puller.settings.time_of(len)
    }

    fn failed(&mut self, holder: usize, fault: HolderFault) {
        let (content, subject) = (&self.wanted.content, &self.wanted.holders[holder]);
        if fault.is_final() {
            tracing::warn!(%content, holder = %subject, "pull: holder is not asked any more: {fault}");
            if self.here.as_ref().is_some_and(|here| here.length_of == Some(holder) || here.assembly.has_of(holder)) {
                self.here = None;
            }
        } else {
            tracing::info!(%content, holder = %subject, "pull: not from this holder: {fault}");
        }
        if let Some(here) = &mut self.here {
            here.assembly.forget_asked();
        }
        self.faults[holder] = Some(fault);
    }

    /// Pulls what is missing from one holder.
    async fn turn(&mut self, holder: usize) -> Result<(), TurnEnd> {
        if self.alone && self.here.as_ref().is_some_and(|here| !here.is_only_of(holder)) {
            self.here = None;
        }
        loop {
            if self.here.is_none() {
                self.begin(holder).await?;
            }
            let Some(here) = &mut self.here else { return Err(HolderFault::OutOfTime.into()) };
            let deadline = self.base + self.puller.settings.time_of(here.assembly.len());
            let rest = pull_rest(self.puller, self.wanted, holder, &mut here.assembly);
            let fault = match tokio::time::timeout_at(deadline, rest).await {
                Err(_) => return Err(HolderFault::OutOfTime.into()),
                Ok(Ok(())) if here.assembly.is_right() => return Ok(()),
                Ok(Ok(())) => HolderFault::WrongHash,
                Ok(Err(TurnEnd::Fault(fault))) => fault,
                Ok(Err(no_room)) => return Err(no_room),
            };
            match fault {
                // Who is wrong, is seen when nothing of others is here.
                HolderFault::WrongHash if !here.is_only_of(holder) => self.alone = true,
                HolderFault::WrongLength { .. } if here.length_of.is_some_and(|other| other != holder) => {}
                fault => return Err(fault.into()),
            }
            self.here = None;
        }
    }

    /// Finds the length, and allocates.
    async fn begin(&mut self, holder: usize) -> Result<(), TurnEnd> {
        let expected = self.wanted.expected_len;
        let first = match expected {
            Some(1..) => None,
            Some(0) | None => match tokio::time::timeout_at(self.base, self.ask_first(holder)).await {
                Err(_) => return Err(HolderFault::OutOfTime.into()),
                Ok(first) => Some(first?),
            },
        };
        let told = first.as_ref().map(|(_, total, _)| *total);
        if let (Some(expected), Some(told)) = (expected, told)
            && expected != told
        {
            return Err(HolderFault::WrongLength { told, expected }.into());
        }
        let total = expected.or(told).unwrap_or_default();
        let too_large = HolderFault::TooLarge { told: total, limit: self.wanted.max_len };
        let len = usize::try_from(total).ok().filter(|_| total <= self.wanted.max_len).ok_or(too_large)?;
        let waiting = Instant::now();
        let memory = (self.memory)(total).await;
        self.base += waiting.elapsed();
        let sink = (self.sink)(len).map_err(TurnEnd::NoRoom)?;
        let mut assembly = Assembly::new(self.wanted.content, len, sink);
        if let Some((asked, _, bytes)) = first
            && let Some(part) = assembly.ask(asked, asked)
        {
            check_chunk(&part, &bytes)?;
            assembly.add(holder, part, bytes).map_err(TurnEnd::NoRoom)?;
        }
        let length_of = expected.is_none().then_some(holder);
        self.here = Some(Here { assembly, length_of, memory });
        Ok(())
    }

    /// The first chunk: the length asked for, the length of the whole, and the bytes.
    async fn ask_first(&self, holder: usize) -> Result<(usize, u64, Bytes), HolderFault> {
        let puller = self.puller;
        let chunk = puller.settings.chunk_on(puller.bus.max_payload());
        let place = puller.place(chunk).await.ok_or(HolderFault::OutOfTime)?;
        let answer = puller.ask(&self.wanted.holders[holder], self.wanted.content, 0..chunk, place).await?;
        let (total, bytes) = chunk_of(0, &answer.await.1?)?;
        Ok((chunk, total, bytes))
    }

    fn error(&mut self) -> PullError {
        let content = self.wanted.content;
        let too_large = |fault: &Option<HolderFault>| match fault {
            Some(HolderFault::TooLarge { told, .. }) => Some(*told),
            _ => None,
        };
        if let Some(Some(len)) = self.faults.first().map(too_large)
            && self.faults.iter().all(|fault| too_large(fault).is_some())
        {
            return PullError::TooLarge { content, len, limit: self.wanted.max_len };
        }
        let holders = self.wanted.holders.iter().cloned().zip(std::mem::take(&mut self.faults)).collect();
        PullError::Failed { content, after: self.started.elapsed(), holders }
    }
}

/// Asks one holder for all that is missing, a window at a time.
async fn pull_rest<S: Sink>(
    puller: &Puller,
    wanted: &Wanted,
    holder: usize,
    assembly: &mut Assembly<S>,
) -> Result<(), TurnEnd> {
    let (settings, subject) = (&puller.settings, &wanted.holders[holder]);
    let chunk = settings.chunk_on(puller.bus.max_payload());
    let mut answers = FuturesUnordered::new();
    loop {
        while let Some(part) = assembly.ask(chunk, settings.window) {
            // Without a place, the next answer makes one. Who has nothing outstanding waits in line for one.
            let place = match puller.free_place(part.len()) {
                None if answers.is_empty() => puller.place(part.len()).await,
                place => place,
            };
            let Some(place) = place else {
                assembly.put_back(part);
                break;
            };
            let answer = puller.ask(subject, wanted.content, part, place).await?;
            answers.push(answer);
        }
        let Some((part, answer)) = answers.next().await else { return Ok(()) };
        let (told, bytes) = chunk_of(part.start as u64, &answer?)?;
        let expected = assembly.len();
        if told != expected {
            return Err(HolderFault::WrongLength { told, expected }.into());
        }
        check_chunk(&part, &bytes)?;
        assembly.add(holder, part, bytes).map_err(TurnEnd::NoRoom)?;
    }
}

/// The length of the whole and the bytes in an answer.
fn chunk_of(offset: u64, answer: &Bytes) -> Result<(u64, Bytes), HolderFault> {
    match wire::decode_pull_reply(answer)? {
        PullReply::Chunk { total, bytes } => Ok((total, bytes)),
        PullReply::Missing => Err(HolderFault::Missing),
        PullReply::OutOfRange { total } => Err(HolderFault::OutOfRange { offset, told: total }),
        PullReply::NotUnderstood(why) => Err(HolderFault::NotUnderstood(why)),
    }
}

fn check_chunk(part: &Range<usize>, bytes: &Bytes) -> Result<(), HolderFault> {
    if bytes.len() < part.len().min(MIN_CHUNK) || bytes.len() > part.len() {
        return Err(HolderFault::WrongChunk { offset: part.start as u64, len: bytes.len(), asked: part.len() });
    }
    Ok(())
}
