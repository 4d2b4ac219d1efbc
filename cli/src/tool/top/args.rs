//! Options of `pvf top`.

use clap::{Args as ClapArgs, ValueEnum};
use pvf_shared::units::parse_duration;
use std::time::Duration;

#[derive(Debug, ClapArgs)]
pub(crate) struct Top {
    /// How often the coordinator is asked, 100ms to 24h
    #[arg(long, default_value = "1s", value_name = "TIME", value_parser = interval)]
    pub(crate) interval: Duration,
    /// The page that is shown first
    #[arg(long, default_value = "overview", value_name = "PAGE")]
    pub(crate) page: Page,
    /// Print the page once, as text for 80 columns, and end; with --json print what the coordinator answers
    #[arg(long)]
    pub(crate) once: bool,
}

/// Four questions are asked each time, and a coordinator answers at most 50 in a second.
fn interval(text: &str) -> Result<Duration, String> {
    const SHORTEST: Duration = Duration::from_millis(100);
    match parse_duration(text)? {
        interval if interval >= SHORTEST => Ok(interval),
        _ => Err("shorter than 100ms".into()),
    }
}

/// A page of the display.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Page {
    /// Slots, queues, and what has happened
    Overview,
    /// The workers
    Workers,
    /// The requests
    Requests,
}

impl Page {
    pub(super) const ALL: [Self; 3] = [Self::Overview, Self::Workers, Self::Requests];

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Overview => "Overview",
            Self::Workers => "Workers",
            Self::Requests => "Requests",
        }
    }

    /// The page so many further on, round and round.
    pub(super) fn moved(self, by: usize) -> Self {
        let at = Self::ALL.iter().position(|page| *page == self).unwrap_or_default();
        Self::ALL[(at + by) % Self::ALL.len()]
    }
}
