//! Why a client's requests make no progress, for people who wait: a refusal that may pass, a coordinator that does not
//! answer.

use tokio::sync::watch;

/// The latest trouble of a client's requests, until something goes well again.
pub(super) struct Trouble(watch::Sender<Option<String>>);

impl Default for Trouble {
    fn default() -> Self {
        Self(watch::Sender::new(None))
    }
}

impl Trouble {
    /// Notes a trouble. Returns whether it is another one than before.
    pub(super) fn report(&self, why: &str) -> bool {
        self.0.send_if_modified(|trouble| {
            let is_new = trouble.as_deref() != Some(why);
            if is_new {
                *trouble = Some(why.to_owned());
            }
            is_new
        })
    }

    /// Notes that something went well.
    pub(super) fn clear(&self) {
        self.0.send_if_modified(|trouble| trouble.take().is_some());
    }

    pub(super) fn latest(&self) -> Option<String> {
        self.0.borrow().clone()
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Option<String>> {
        self.0.subscribe()
    }
}
