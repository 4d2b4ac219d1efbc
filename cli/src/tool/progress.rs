//! The progress of a command, on stderr where that is a terminal.

use crate::ValidationHost;
use indicatif::{ProgressBar, ProgressStyle};
use std::{pin::pin, time::Duration};

/// The progress of a command, on stderr where that is a terminal: how long it has waited, and what is in the way.
pub(crate) struct Progress {
    pub(crate) bar: ProgressBar,
    what: String,
}

impl Progress {
    /// Progress of one request.
    pub(crate) fn spinner(what: String) -> Self {
        let bar =
            ProgressBar::new_spinner().with_style(style("{spinner} {msg} [{elapsed}]", ProgressStyle::default_spinner));
        bar.enable_steady_tick(Duration::from_millis(120));
        Self::new(bar, what)
    }

    /// Progress of a batch of this many requests.
    pub(crate) fn of_batch(requests: usize) -> Self {
        let style = style("{bar:30} {pos}/{len} {elapsed} {msg}", ProgressStyle::default_bar);
        Self::new(ProgressBar::new(requests as u64).with_style(style), String::new())
    }

    /// Progress of a load test, which is over when this number is reached.
    pub(crate) fn of_load(end: u64) -> Self {
        let style = style("{bar:20} {elapsed} {prefix} {msg}", ProgressStyle::default_bar);
        Self::new(ProgressBar::new(end).with_style(style), String::new())
    }

    fn new(bar: ProgressBar, what: String) -> Self {
        bar.set_message(what.clone());
        Self { bar, what }
    }

    /// Does the work, and shows meanwhile what is in the way of the host's requests.
    pub(crate) async fn during<T>(&self, host: &ValidationHost, work: impl Future<Output = T>) -> T {
        let mut trouble = host.trouble();
        let mut work = pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                Ok(()) = trouble.changed() => {
                    let why = trouble.borrow_and_update().clone();
                    self.bar.set_message(match why {
                        Some(why) => format!("{} (waiting: {why})", self.what),
                        None => self.what.clone(),
                    });
                }
            }
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn style(template: &str, default: fn() -> ProgressStyle) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| default())
}
