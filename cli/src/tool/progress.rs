//! The progress of a command, on stderr where that is a terminal.

use crate::ValidationHost;
use indicatif::{ProgressBar, ProgressStyle};
use pvf_shared::wire::CompileProgress;
use std::{
    pin::pin,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// The progress of a command, on stderr where that is a terminal: how long it has waited, and what is in the way.
pub(crate) struct Progress {
    pub(crate) bar: ProgressBar,
    /// What is being done; empty for a batch, whose bar says enough.
    what: Mutex<String>,
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
        Self { bar, what: Mutex::new(what) }
    }

    /// Says what is being done now.
    pub(crate) fn now(&self, what: String) {
        self.bar.set_message(what.clone());
        *self.what() = what;
    }

    fn what(&self) -> MutexGuard<'_, String> {
        self.what.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does the work, and shows meanwhile how far the compiler has come with the codes that the host's requests need,
    /// and what is in the way of the requests.
    pub(crate) async fn during<T>(&self, host: &ValidationHost, work: impl Future<Output = T>) -> T {
        let (mut trouble, mut compiling) = (host.trouble(), host.compiling());
        let mut work = pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                Ok(()) = trouble.changed() => {}
                Ok(()) = compiling.changed() => {}
            }
            let (why, progress) = (trouble.borrow_and_update().clone(), *compiling.borrow_and_update());
            let message = message(&self.what(), why.as_deref(), progress);
            self.bar.set_message(message);
        }
    }
}

fn message(what: &str, trouble: Option<&str>, compiling: Option<CompileProgress>) -> String {
    let detail = match (trouble, compiling) {
        (Some(why), _) => format!("(waiting: {why})"),
        (None, Some(progress)) => format!("({progress})"),
        (None, None) => return what.into(),
    };
    if what.is_empty() { detail } else { format!("{what} {detail}") }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn style(template: &str, default: fn() -> ProgressStyle) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_the_way_is_shown_before_what_goes_well() {
        let progress = Some(CompileProgress { compiled: 2, functions: 7 });
        assert_eq!(message("preparing", None, None), "preparing");
        assert_eq!(message("preparing", None, progress), "preparing (2 of 7 functions compiled)");
        assert_eq!(message("preparing", Some("overloaded"), progress), "preparing (waiting: overloaded)");
        assert_eq!(message("", None, progress), "(2 of 7 functions compiled)");
    }
}
