//! Room for many values of one size: what was freed last is used first, because that is what the processor still has
//! at hand. Memory follows what is there: a shelf without values is given back.

/// Values on one shelf.
const SHELF: usize = 64;

#[derive(Debug)]
struct Shelf<T> {
    values: [Option<T>; SHELF],
    /// Places without a value, one bit each.
    free: u64,
}

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        Self { values: [const { None }; SHELF], free: u64::MAX }
    }
}

/// The number of a value's place; never zero.
pub(super) type Number = u32;

/// Room for many values.
#[derive(Debug)]
pub(super) struct Slab<T> {
    shelves: Vec<Option<Box<Shelf<T>>>>,
    /// Shelves that have room, the one to be used next at the end. One may stand here that is full by now, or twice.
    with_room: Vec<u32>,
    /// Shelves that were given back.
    gone: Vec<u32>,
    len: usize,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { shelves: Vec::new(), with_room: Vec::new(), gone: Vec::new(), len: 0 }
    }
}

fn place(number: Number) -> (usize, usize) {
    let at = number.wrapping_sub(1) as usize;
    (at / SHELF, at % SHELF)
}

impl<T> Slab<T> {
    pub(super) fn get(&self, number: Number) -> Option<&T> {
        let (shelf, at) = place(number);
        self.shelves.get(shelf)?.as_deref()?.values[at].as_ref()
    }

    pub(super) fn get_mut(&mut self, number: Number) -> Option<&mut T> {
        let (shelf, at) = place(number);
        self.shelves.get_mut(shelf)?.as_deref_mut()?.values[at].as_mut()
    }

    /// Where a value is or would be, without looking at it.
    pub(super) fn at(&self, number: Number) -> Option<&Option<T>> {
        let (shelf, at) = place(number);
        self.shelves.get(shelf)?.as_deref().map(|shelf| &shelf.values[at])
    }

    /// The shelf that the next value goes to.
    fn shelf_with_room(&mut self) -> u32 {
        while let Some(shelf) = self.with_room.last().copied() {
            if self.shelves[shelf as usize].as_deref().is_some_and(|shelf| shelf.free != 0) {
                return shelf;
            }
            self.with_room.pop();
        }
        let shelf = self.gone.pop().unwrap_or_else(|| {
            self.shelves.push(None);
            self.shelves.len() as u32 - 1
        });
        self.shelves[shelf as usize] = Some(Box::default());
        self.with_room.push(shelf);
        shelf
    }

    /// Adds a value.
    pub(super) fn add(&mut self, value: T) -> Number {
        let number = self.shelf_with_room();
        let shelf = self.shelves[number as usize].get_or_insert_default();
        let at = shelf.free.trailing_zeros();
        shelf.values[at as usize] = Some(value);
        shelf.free &= !(1 << at);
        self.len += 1;
        number * SHELF as u32 + at + 1
    }

    /// Takes a value out.
    pub(super) fn take(&mut self, number: Number) -> Option<T> {
        let (shelf, at) = place(number);
        let whole = self.shelves.get_mut(shelf)?;
        let there = whole.as_deref_mut()?;
        let gone = there.values[at].take()?;
        self.len -= 1;
        there.free |= 1 << at;
        if there.free == u64::MAX {
            *whole = None;
            self.gone.push(shelf as u32);
            if self.len == 0 {
                *self = Self::default();
            }
        } else if self.with_room.last() != Some(&(shelf as u32)) {
            self.with_room.push(shelf as u32);
            self.tidy();
        }
        Some(gone)
    }

    /// Forgets what stands among the shelves with room without reason.
    fn tidy(&mut self) {
        if self.with_room.len() <= 2 * self.shelves.len() + SHELF {
            return;
        }
        let mut seen = vec![false; self.shelves.len()];
        let mut kept: Vec<u32> = Vec::new();
        for shelf in self.with_room.drain(..).rev() {
            let has_room = self.shelves[shelf as usize].as_deref().is_some_and(|shelf| shelf.free != 0);
            if has_room && !std::mem::replace(&mut seen[shelf as usize], true) {
                kept.push(shelf);
            }
        }
        kept.reverse();
        self.with_room = kept;
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Every value, in no order that means anything.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.shelves.iter().flatten().flat_map(|shelf| shelf.values.iter().flatten())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn what_was_freed_last_is_used_first_and_nothing_is_kept_for_nothing() {
        let mut slab = Slab::default();
        let numbers: Vec<_> = (0..1000).map(|n| slab.add(n)).collect();
        assert_eq!((slab.take(numbers[500]), slab.take(numbers[10])), (Some(500), Some(10)));
        assert_eq!((slab.add(1), slab.add(2)), (numbers[10], numbers[500]));
        assert_eq!((slab.get(numbers[10]), slab.get(0), slab.len()), (Some(&1), None, 1000));
        for number in &numbers[..990] {
            assert!(slab.take(*number).is_some() && slab.take(*number).is_none());
        }
        assert!(slab.shelves.iter().flatten().count() <= 2);
        assert!(numbers[990..].iter().all(|number| slab.take(*number).is_some()));
        assert_eq!((slab.len(), slab.shelves.len(), slab.with_room.len()), (0, 0, 0));
    }

    #[test]
    fn keeps_what_it_is_given() {
        let (mut slab, mut model, mut random) = (Slab::default(), HashMap::new(), 1_u32);
        for n in 0..200_000_u32 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let some = model.keys().next().copied();
            if random >> 31 == 0 || model.len() < 100 {
                assert_eq!(model.insert(slab.add(n), n), None);
            } else if let Some(number) = some {
                assert_eq!(slab.take(number), model.remove(&number));
            }
            assert!(slab.with_room.len() <= 2 * slab.shelves.len() + SHELF);
        }
        assert_eq!((slab.len(), slab.iter().count()), (model.len(), model.len()));
        assert!(model.iter().all(|(number, n)| slab.get(*number) == Some(n)));
    }
}
