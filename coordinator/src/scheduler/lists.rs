//! Requests under something that many share, in short lists: one among a million costs as little as one among a
//! thousand, and what has ended is tidied away when most of a list has.

use pvf_shared::ids::RequestId;
use std::collections::BTreeMap;

/// Requests in one list.
const LIST: usize = 256;
/// A list with so many is tidied when most of its requests are gone.
const TIDY: usize = 32;

#[derive(Debug, Default)]
struct List {
    /// Also requests that have ended, until they are tidied away.
    ids: Vec<RequestId>,
    /// How many of the requests that were entered here have not ended, taken out or not.
    live: u32,
}

/// Requests by a key; each is remembered by its key and the number of its list.
#[derive(Debug)]
pub(super) struct Lists<K>(BTreeMap<(K, u32), List>);

impl<K> Default for Lists<K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Ord + Copy> Lists<K> {
    /// Enters a request; gives the number of its list.
    pub(super) fn add(&mut self, key: K, id: RequestId) -> u32 {
        let number = match self.0.range_mut((key, 0)..=(key, u32::MAX)).next_back() {
            Some(((_, number), list)) if list.ids.len() < LIST => {
                list.ids.push(id);
                list.live += 1;
                return *number;
            }
            Some(((_, full), _)) => full + 1,
            None => 0,
        };
        self.0.insert((key, number), List { ids: vec![id], live: 1 });
        number
    }

    /// A request has ended. Gives whether its list is to be tidied.
    pub(super) fn clear(&mut self, entry: (K, u32)) -> bool {
        let Some(list) = self.0.get_mut(&entry) else { return false };
        list.live = list.live.saturating_sub(1);
        if list.live == 0 {
            self.0.remove(&entry);
            return false;
        }
        list.ids.len() >= TIDY && list.live as usize * 4 < list.ids.len()
    }

    /// Leaves only the requests in a list that have not ended.
    pub(super) fn tidy(&mut self, entry: (K, u32), is_live: impl Fn(&RequestId) -> bool) {
        if let Some(list) = self.0.get_mut(&entry) {
            list.ids.retain(is_live);
            list.ids.shrink_to_fit();
        }
    }

    /// Takes a request of a key out, with the number of its list; it may have ended already.
    pub(super) fn take(&mut self, key: K) -> Option<(RequestId, u32)> {
        let mut lists = self.0.range_mut((key, 0)..=(key, u32::MAX));
        lists.find_map(|((_, number), list)| list.ids.pop().map(|id| (id, *number)))
    }

    /// How many lists there are, and what they hold.
    #[cfg(test)]
    pub(super) fn size(&self) -> (usize, usize) {
        (self.0.len(), self.0.values().map(|list| list.ids.len()).sum())
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
        let entries: Vec<_> = (0..2000_u128).map(|n| (n % 2, lists.add(n % 2, id(n)))).collect();
        assert_eq!(lists.size(), (8, 2000));
        let mut out: Vec<_> = std::iter::from_fn(|| lists.take(1)).collect();
        out.sort_unstable();
        assert_eq!((out.len(), out[0].0, out[999].0), (1000, id(1), id(1999)));
        for (id, list) in out {
            assert!(!lists.clear((1, list)), "{id:?}");
        }
        // The first list of the other key is gone, the rest is not.
        for entry in entries.into_iter().filter(|entry| *entry == (0, 0)) {
            lists.clear(entry);
        }
        assert_eq!(lists.size().0, 3);
    }

    #[test]
    fn a_list_that_was_emptied_is_not_given_to_others_while_those_it_held_live() {
        let mut lists = Lists::default();
        let running = (7, lists.add(7, id(1)));
        assert_eq!(lists.take(7), Some((id(1), 0)));
        let later = (7, lists.add(7, id(2)));
        lists.clear(running);
        assert_eq!((later, lists.take(7)), ((7, 0), Some((id(2), 0))));
    }
}
