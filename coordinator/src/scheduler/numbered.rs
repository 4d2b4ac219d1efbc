//! Values by number, where numbers are given one after another: what came together lies together, and finding one
//! among a million costs one cache miss. Memory follows what is there, not what has been.

use super::{
    artifacts::ArtifactKey,
    prefetch::{prefetch, prefetch_all},
    slab::{Number as Place, Slab},
};
use pvf_shared::ids::JobId;
use std::{collections::VecDeque, marker::PhantomData, num::NonZeroU64};

/// Numbers of one page, and pages of one chapter.
const PAGE: u64 = 256;

/// A number that is given once.
pub(super) trait Number: Copy {
    fn number(self) -> u64;
    fn from_number(number: u64) -> Option<Self>;
}

impl Number for JobId {
    fn number(self) -> u64 {
        self.0
    }
    fn from_number(number: u64) -> Option<Self> {
        Some(Self(number))
    }
}

impl Number for ArtifactKey {
    fn number(self) -> u64 {
        self.0.get()
    }
    fn from_number(number: u64) -> Option<Self> {
        NonZeroU64::new(number).map(Self)
    }
}

/// The places of the values of a page, zero where there is none, and how many there are.
#[derive(Debug)]
struct Page {
    places: [Place; PAGE as usize],
    live: u32,
}

impl Default for Page {
    fn default() -> Self {
        Self { places: [0; PAGE as usize], live: 0 }
    }
}

/// Pages in a row, and how many there are.
#[derive(Debug)]
struct Chapter {
    pages: [Option<Box<Page>>; PAGE as usize],
    live: u32,
}

impl Default for Chapter {
    fn default() -> Self {
        Self { pages: [const { None }; PAGE as usize], live: 0 }
    }
}

/// Values by number. From the first to the last chapter that has any there is one word for each that has none: 65536
/// numbers.
#[derive(Debug)]
pub(super) struct Numbered<K, V> {
    chapters: VecDeque<Option<Box<Chapter>>>,
    /// The number of the first of them.
    first: u64,
    values: Slab<V>,
    keys: PhantomData<K>,
}

impl<K, V> Default for Numbered<K, V> {
    fn default() -> Self {
        Self { chapters: VecDeque::new(), first: 0, values: Slab::default(), keys: PhantomData }
    }
}

/// The chapter of a number, the page in it, and where it stands on that.
fn split(key: impl Number) -> (u64, usize, usize) {
    let number = key.number();
    (number / (PAGE * PAGE), (number / PAGE % PAGE) as usize, (number % PAGE) as usize)
}

impl<K: Number, V> Numbered<K, V> {
    fn chapter(&self, number: u64) -> Option<usize> {
        number.checked_sub(self.first).and_then(|at| usize::try_from(at).ok())
    }

    /// Where a number's place is noted.
    fn place(&self, key: &K) -> Option<&Place> {
        let (chapter, page, at) = split(*key);
        let chapter = self.chapters.get(self.chapter(chapter)?)?.as_deref()?;
        chapter.pages[page].as_deref().map(|page| &page.places[at])
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.values.get(*self.place(key)?)
    }

    /// The first step of reading ahead: asks for where a value's place is noted.
    pub(super) fn look(&self, key: &K) {
        if let Some(place) = self.place(key) {
            prefetch(place);
        }
    }

    /// The second step: asks for the value.
    pub(super) fn fetch(&self, key: &K) {
        if let Some(value) = self.place(key).and_then(|place| self.values.at(*place)) {
            prefetch_all(value);
        }
    }

    pub(super) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let place = *self.place(key)?;
        self.values.get_mut(place)
    }

    pub(super) fn contains_key(&self, key: &K) -> bool {
        self.get(key).is_some()
    }

    /// Adds a value; what had its number before is gone.
    pub(super) fn insert(&mut self, key: K, value: V) {
        let (number, page, at) = split(key);
        if self.chapters.is_empty() {
            self.first = number;
        }
        while self.first > number {
            self.first -= 1;
            self.chapters.push_front(None);
        }
        let chapter = (number - self.first) as usize;
        while self.chapters.len() <= chapter {
            self.chapters.push_back(None);
        }
        let chapter = self.chapters[chapter].get_or_insert_default();
        let page = chapter.pages[page].get_or_insert_with(|| {
            chapter.live += 1;
            Box::default()
        });
        let before = std::mem::replace(&mut page.places[at], self.values.add(value));
        if before == 0 {
            page.live += 1;
        } else {
            self.values.take(before);
        }
    }

    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        let (number, page, at) = split(*key);
        let nth = self.chapter(number)?;
        let whole = self.chapters.get_mut(nth)?;
        let chapter = whole.as_deref_mut()?;
        let there = chapter.pages[page].as_deref_mut()?;
        let gone = self.values.take(std::mem::take(&mut there.places[at]))?;
        there.live -= 1;
        if there.live == 0 {
            chapter.pages[page] = None;
            chapter.live -= 1;
            if chapter.live == 0 {
                *whole = None;
                self.trim();
            }
        }
        Some(gone)
    }

    /// Forgets chapters without values at both ends.
    fn trim(&mut self) {
        while let Some(None) = self.chapters.front() {
            self.chapters.pop_front();
            self.first += 1;
        }
        while let Some(None) = self.chapters.back() {
            self.chapters.pop_back();
        }
    }

    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    /// Every value, in no order that means anything: for checks only, never for a decision.
    pub(super) fn iter(&self) -> impl Iterator<Item = (K, &V)> {
        let pages = (self.first..).zip(&self.chapters).flat_map(|(chapter, pages)| {
            let pages = pages.iter().flat_map(|chapter| chapter.pages.iter().enumerate());
            pages.filter_map(move |(n, page)| Some((chapter * PAGE + n as u64, page.as_deref()?)))
        });
        pages.flat_map(move |(page, values)| {
            let places = values.places.iter().enumerate();
            places
                .filter_map(move |(n, place)| Some((K::from_number(page * PAGE + n as u64)?, self.values.get(*place)?)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_a_map_by_number() {
        let mut map = Numbered::default();
        for n in (1..=100_000).rev() {
            map.insert(JobId(n), n * 2);
        }
        assert_eq!((map.get(&JobId(64)), map.get(&JobId(0)), map.len()), (Some(&128), None, 100_000));
        *map.get_mut(&JobId(7)).unwrap() = 1;
        assert_eq!(map.remove(&JobId(7)), Some(1));
        assert_eq!(
            (map.remove(&JobId(7)), map.contains_key(&JobId(7)), map.get(&JobId(u64::MAX))),
            (None, false, None)
        );
        let mut all: Vec<_> = map.iter().map(|(key, value)| (key.0, *value)).collect();
        all.sort_unstable();
        assert_eq!((all.len(), all[6], all[99_998]), (99_999, (8, 16), (100_000, 200_000)));
    }

    #[test]
    fn what_has_gone_takes_no_room() {
        let mut map = Numbered::default();
        let pages = |map: &Numbered<JobId, ()>| map.chapters.iter().flatten().map(|c| c.live).sum::<u32>();
        for n in 0..1_000_000 {
            map.insert(JobId(n), ());
            map.remove(&JobId(n.wrapping_sub(100)));
            assert!(map.chapters.len() <= 2 && pages(&map) <= 2, "{} pages", pages(&map));
        }
        (0..1_000_000).for_each(|n| assert_eq!(map.remove(&JobId(n)).is_some(), n >= 999_900));
        assert_eq!((map.len(), map.chapters.len()), (0, 0));
    }
}
