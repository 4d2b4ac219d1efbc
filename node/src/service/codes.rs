//! The codes that the service keeps, so that a worker executable need not bring one with every call.

use bytes::Bytes;
use pvf_shared::ids::CodeHash;
use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Codes, the one that was used last at the end.
pub(super) struct Codes {
    kept: Mutex<VecDeque<(CodeHash, Bytes)>>,
    limit: u64,
}

impl Codes {
    /// At most so many bytes; the code that was used last is always kept.
    pub(super) fn new(limit: u64) -> Self {
        Self { kept: Mutex::default(), limit }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(CodeHash, Bytes)>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A code; it counts as used.
    pub(super) fn find(&self, hash: &CodeHash) -> Option<Bytes> {
        let mut kept = self.lock();
        let at = kept.iter().position(|(of, _)| of == hash)?;
        let found = kept.remove(at)?;
        let code = found.1.clone();
        kept.push_back(found);
        Some(code)
    }

    /// Keeps a code. Returns how many bytes are kept.
    pub(super) fn keep(&self, hash: CodeHash, code: Bytes) -> u64 {
        let mut kept = self.lock();
        kept.retain(|(of, _)| *of != hash);
        kept.push_back((hash, code));
        let mut bytes: u64 = kept.iter().map(|(_, code)| code.len() as u64).sum();
        while bytes > self.limit && kept.len() > 1 {
            bytes -= kept.pop_front().map_or(0, |(_, code)| code.len() as u64);
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codes_that_were_used_last_are_kept() {
        let codes = Codes::new(10);
        let hash = |n: u8| CodeHash([n; 32]);
        for n in 0..3 {
            codes.keep(hash(n), vec![n; 4].into());
        }
        let there = |n| codes.find(&hash(n)).is_some();
        assert_eq!([0, 1, 2].map(there), [false, true, true]);
        assert!(there(1));
        codes.keep(hash(3), vec![3; 4].into());
        assert_eq!([1, 2, 3].map(there), [true, false, true]);
        codes.keep(hash(4), vec![4; 100].into());
        assert_eq!([1, 3, 4].map(there), [false, false, true]);
        assert_eq!(codes.find(&hash(4)).unwrap().len(), 100);
    }
}
