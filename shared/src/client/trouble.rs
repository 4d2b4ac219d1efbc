//! Why a client's requests make no progress, for people who wait: a refusal that may pass, a coordinator that does not
//! answer.

use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// The latest trouble of a client's requests, until something goes well again.
pub(super) struct Trouble {
    shown: watch::Sender<Option<String>>,
    /// Why no questions are answered at present: that is in the way of every request.
    questions: Mutex<Option<String>>,
}

impl Default for Trouble {
    fn default() -> Self {
        Self { shown: watch::Sender::new(None), questions: Mutex::default() }
    }
}

impl Trouble {
    fn questions(&self) -> MutexGuard<'_, Option<String>> {
        self.questions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what is in the way of one request. Returns whether it is another trouble than before.
    pub(super) fn report(&self, why: &str) -> bool {
        self.shown.send_if_modified(|trouble| {
            let is_new = trouble.as_deref() != Some(why);
            if is_new {
                *trouble = Some(why.to_owned());
            }
            is_new
        })
    }

    /// Notes why the coordinator does not answer questions. Returns whether it is another trouble than before.
    pub(super) fn report_questions(&self, why: &str) -> bool {
        *self.questions() = Some(why.to_owned());
        self.report(why)
    }

    /// Notes that something went well.
    pub(super) fn clear(&self) {
        *self.questions() = None;
        self.shown.send_if_modified(|trouble| trouble.take().is_some());
    }

    /// Why questions are not answered at present.
    pub(super) fn of_questions(&self) -> Option<String> {
        self.questions().clone()
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Option<String>> {
        self.shown.subscribe()
    }
}
