//! Which coordinator a client or worker obeys: the one with the highest token that it has heard of. What an earlier one
//! sent before it knew that it was replaced, or what was under way for long, counts for nothing.

use crate::{
    ids::{FencingToken, Term},
    wire,
};
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Notify;

/// The highest token that was heard.
#[derive(Debug, Default)]
pub struct Terms {
    highest: AtomicU64,
    raised: Notify,
}

impl Terms {
    /// Notes a term: whether it is the highest so far, or equal to it. Messages without a term are from a coordinator
    /// of an earlier version, and count.
    pub fn obey(&self, by: Option<Term>) -> bool {
        let Some(Term { token: FencingToken(token), .. }) = by else { return true };
        let before = self.highest.fetch_max(token, Ordering::Relaxed);
        if before < token {
            self.raised.notify_one();
        }
        before <= token
    }

    /// Waits until a higher token is heard than when this completed last, and returns it. One task may wait.
    pub async fn raised(&self) -> FencingToken {
        self.raised.notified().await;
        FencingToken(self.highest.load(Ordering::Relaxed))
    }

    /// As [`Terms::obey`], for an encoded message. One that cannot be decoded is looked at by its decoder.
    pub fn obey_message(&self, message: &[u8]) -> bool {
        self.obey(wire::term_of(message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::SubmitReply;
    use uuid::Uuid;

    #[test]
    fn only_the_highest_term_is_obeyed() {
        let terms = Terms::default();
        let term = |token| Term { token: FencingToken(token), id: Uuid::nil() };
        assert!(terms.obey(Some(term(2))) && terms.obey(Some(term(2))) && terms.obey(Some(term(3))));
        assert!(!terms.obey(Some(term(2))));
        assert!(terms.obey(None), "an earlier version");
        let accepted = SubmitReply::Accepted;
        assert!(!terms.obey_message(&wire::encode_by(term(1), &accepted)));
        assert!(terms.obey_message(&wire::encode_by(term(4), &accepted)));
        assert!(!terms.obey_message(&wire::encode_by(term(3), &accepted)));
        assert!(terms.obey_message(&wire::encode(&accepted)) && terms.obey_message(b"garbage"));
    }
}
