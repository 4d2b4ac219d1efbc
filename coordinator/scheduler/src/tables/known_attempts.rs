//! The attempts of earlier coordinators that a worker has listed.

use crate::keys::AttemptKey;
use std::collections::BTreeSet;

/// Attempts of earlier coordinators that are remembered of one worker.
const MAX_KNOWN: usize = 4096;

/// The attempts of earlier coordinators that a worker has listed: each is looked at once, however often and however
/// late the messages are that list it.
#[derive(Debug, Default)]
pub(crate) struct KnownAttempts(BTreeSet<AttemptKey>);

impl KnownAttempts {
    /// Notes an attempt. Returns whether it is new. Of too many the ones with the lowest job ids are forgotten.
    pub(super) fn note(&mut self, at: AttemptKey) -> bool {
        let is_new = self.0.insert(at);
        if self.0.len() > MAX_KNOWN {
            self.0.pop_first();
        }
        is_new
    }

    /// Whether an attempt was noted. With too many of them that is not known, and then every one counts as noted.
    pub(crate) fn has(&self, at: AttemptKey) -> bool {
        self.0.len() >= MAX_KNOWN || self.0.contains(&at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pvf_proto::ids::JobId;

    #[test]
    fn each_attempt_is_new_once_and_of_too_many_all_count_as_noted() {
        let at = |n| AttemptKey { job: JobId(n), attempt: 1 };
        let mut known = KnownAttempts::default();
        assert!(known.note(at(1)) && !known.note(at(1)));
        assert!(known.has(at(1)) && !known.has(at(2)));
        (2..=MAX_KNOWN as u64 + 5).for_each(|n| assert!(known.note(at(n))));
        assert_eq!(known.0.len(), MAX_KNOWN);
        assert!(known.has(at(1)), "it is not listed again and again");
    }
}
