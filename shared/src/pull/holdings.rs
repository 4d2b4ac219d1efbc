//! What a process has to offer for as long as somebody may need it.

use crate::content::Content;
use bytes::Bytes;
use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Content that can be pulled while at least one [`Hold`] of it lives. Clones share it.
#[derive(Clone, Default)]
pub struct Holdings(Arc<Mutex<Held>>);

#[derive(Default)]
struct Held(HashMap<Content, (Bytes, usize)>);

impl Holdings {
    /// Offers content until the guard is dropped. The same content may be offered several times; the bytes are kept
    /// once.
    #[must_use = "the content is offered only as long as the guard lives"]
    pub fn hold(&self, content: Content, bytes: Bytes) -> Hold {
        self.lock().0.entry(content).or_insert((bytes, 0)).1 += 1;
        Hold { holdings: self.clone(), content }
    }

    /// The bytes of this content, if it is offered.
    pub fn find(&self, content: &Content) -> Option<Bytes> {
        self.lock().0.get(content).map(|(bytes, _)| bytes.clone())
    }

    /// How many contents are offered.
    pub fn len(&self) -> usize {
        self.lock().0.len()
    }

    /// Whether nothing is offered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Holdings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.lock().0.keys()).finish()
    }
}

/// Keeps content in [`Holdings`] until it is dropped.
#[derive(Debug)]
pub struct Hold {
    holdings: Holdings,
    content: Content,
}

impl Hold {
    /// The content.
    pub fn content(&self) -> Content {
        self.content
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut held = self.holdings.lock();
        if let Some((_, holds)) = held.0.get_mut(&self.content) {
            *holds -= 1;
            if *holds == 0 {
                held.0.remove(&self.content);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_offered_until_the_last_guard_is_dropped() {
        let holdings = Holdings::default();
        let bytes = Bytes::from_static(b"block");
        let content = Content::of_blob(&bytes);
        let first = holdings.hold(content, bytes.clone());
        let second = holdings.hold(content, Bytes::copy_from_slice(&bytes));
        assert_eq!(second.content(), content);
        assert_eq!(holdings.len(), 1);
        drop(first);
        assert_eq!(holdings.find(&content), Some(bytes));
        assert_eq!(holdings.find(&Content::of_code(b"block")), None);
        drop(second);
        assert_eq!(holdings.find(&content), None);
        assert!(holdings.is_empty());
    }
}
