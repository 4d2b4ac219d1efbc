//! Requests under something that many share, in short lists: one among a million costs as little as one among a
//! thousand, and what has ended is tidied away when most of a list has.

use pvf_shared::ids::RequestId;

/// Requests in one list.
const LIST: usize = 256;
/// A list with so many is tidied when most of its requests are gone.
const TIDY: usize = 32;

#[derive(Debug, Default)]
struct List {
    number: u32,
    /// How many of the requests that were entered here have not ended, taken out or not.
    live: u32,
    /// Also requests that have ended, until they are tidied away.
    ids: Vec<RequestId>,
}

/// Requests with something in common; each remembers the number of its list.
#[derive(Debug, Default)]
pub(super) struct Lists {
    /// Where requests are entered.
    last: List,
    /// Lists that are full, by number.
    full: Vec<List>,
}

impl Lists {
    /// Enters a request; gives the number of its list.
    pub(super) fn add(&mut self, id: RequestId) -> u32 {
        if self.last.ids.len() >= LIST {
            let next = List { number: self.last.number + 1, ..List::default() };
            self.full.push(std::mem::replace(&mut self.last, next));
        }
        self.last.ids.push(id);
        self.last.live += 1;
        self.last.number
    }

    /// A request has ended. Gives whether its list is to be tidied.
    pub(super) fn clear(&mut self, number: u32) -> bool {
        let Some(list) = self.list(number) else { return false };
        list.live = list.live.saturating_sub(1);
        if list.live == 0 {
            self.forget(number);
            return false;
        }
        list.ids.len() >= TIDY && list.live as usize * 4 < list.ids.len()
    }

    /// Leaves only the requests in a list that have not ended.
    pub(super) fn tidy(&mut self, number: u32, is_live: impl Fn(&RequestId) -> bool) {
        if let Some(list) = self.list(number) {
            list.ids.retain(is_live);
            list.ids.shrink_to_fit();
        }
    }

    /// Takes a request out, with the number of its list; it may have ended already.
    pub(super) fn take(&mut self) -> Option<(RequestId, u32)> {
        let mut lists = self.full.iter_mut().chain([&mut self.last]);
        lists.find_map(|list| list.ids.pop().map(|id| (id, list.number)))
    }

    /// Takes a request out that will not be cleared if it is the last of its list.
    pub(super) fn take_for_good(&mut self) -> Option<(RequestId, u32)> {
        let list = self.full.first_mut().unwrap_or(&mut self.last);
        let (id, number) = (list.ids.pop(), list.number);
        if list.ids.is_empty() {
            self.forget(number);
        }
        id.map(|id| (id, number))
    }

    /// Whether there is nobody to wait for.
    pub(super) fn is_empty(&self) -> bool {
        self.last.live == 0 && self.full.is_empty()
    }

    fn list(&mut self, number: u32) -> Option<&mut List> {
        if number == self.last.number {
            return Some(&mut self.last);
        }
        let at = self.full.binary_search_by_key(&number, |list| list.number).ok()?;
        Some(&mut self.full[at])
    }

    fn forget(&mut self, number: u32) {
        if number == self.last.number {
            self.last = self.full.pop().unwrap_or_default();
        } else {
            self.full.retain(|list| list.number != number);
        }
    }

    /// How many lists there are, and what they hold.
    #[cfg(test)]
    pub(super) fn size(&self) -> (usize, usize) {
        let lists = || self.full.iter().chain(Some(&self.last).filter(|list| list.live > 0));
        (lists().count(), lists().map(|list| list.ids.len()).sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u128) -> RequestId {
        RequestId(uuid::Uuid::from_u128(n))
    }

    #[test]
    fn each_comes_out_once_and_ends_where_it_was_entered() {
        let mut lists = Lists::default();
        let entries: Vec<_> = (0..1000).map(|n| lists.add(id(n))).collect();
        assert_eq!(lists.size(), (4, 1000));
        let mut out: Vec<_> = std::iter::from_fn(|| lists.take()).collect();
        out.sort_unstable();
        assert_eq!((out.len(), out[0], out[999]), (1000, (id(0), 0), (id(999), 3)));
        // One list after the other goes, the others stay, and in the end there is nothing.
        for (n, number) in entries.into_iter().enumerate() {
            assert_eq!(lists.size().0, 4 - n / LIST, "{n}");
            assert!(!lists.is_empty() && !lists.clear(number));
        }
        assert_eq!((lists.is_empty(), lists.size(), lists.clear(3)), (true, (0, 0), false));
    }

    #[test]
    fn a_list_that_was_emptied_is_not_given_to_others_while_those_it_held_live() {
        let mut lists = Lists::default();
        let running = lists.add(id(1));
        assert_eq!(lists.take(), Some((id(1), 0)));
        let later = lists.add(id(2));
        lists.clear(running);
        assert_eq!((later, lists.take(), lists.is_empty()), (0, Some((id(2), 0)), false));
    }

    #[test]
    fn what_is_taken_for_good_leaves_nothing() {
        let mut lists = Lists::default();
        let entered = (0..600).map(|n| lists.add(id(n))).max();
        assert_eq!(entered, Some(2));
        let out: Vec<_> = std::iter::from_fn(|| lists.take_for_good()).collect();
        assert_eq!((out.len(), lists.is_empty(), lists.size()), (600, true, (0, 0)));
    }
}
