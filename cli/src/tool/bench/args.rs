//! Options of `pvf bench`.

use crate::tool::{network::args::LimitArgs, request_args::ExtensionArgs};
use clap::Args as ClapArgs;
use pvf_shared::{
    priority::ExecuteKind,
    units::{parse_duration, parse_timeout},
};
use std::{fmt, path::PathBuf, str::FromStr, time::Duration};

#[derive(Debug, ClapArgs)]
#[command(group = clap::ArgGroup::new("candidates").required(true).multiple(true).args(["params", "pov"]))]
#[command(group = clap::ArgGroup::new("pace").args(["rate", "concurrency"]))]
pub(crate) struct Bench {
    /// File with validation code, as of `pvf execute`; repeated, and each one has the candidates that follow it
    #[arg(long, required = true, value_name = "FILE")]
    pub(crate) code: Vec<PathBuf>,
    /// Files with SCALE-encoded ValidationParams of the code before them; of a folder all *.params
    #[arg(long, value_name = "FILE|DIR", num_args = 1..)]
    pub(crate) params: Vec<PathBuf>,
    /// PoVs as collators export them, of the code before them; of a folder all *.pov
    #[arg(long, value_name = "FILE|DIR", num_args = 1..)]
    pub(crate) pov: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) extension: ExtensionArgs,
    #[command(flatten)]
    pub(crate) load: LoadArgs,
    /// Execution kinds, in turns: backing, backing-system, approval or dispute; a list: backing,approval
    #[arg(long, default_value = "backing", value_delimiter = ',', value_name = "KIND")]
    pub(crate) kind: Vec<ExecuteKind>,
    /// CPU time limit of each execution, 1ms to 1h [default: the limit of the executor parameters for the kind]
    #[arg(long, value_name = "TIME", value_parser = parse_timeout)]
    pub(crate) timeout: Option<Duration>,
    /// Let requests for the same validation share one execution, as a host does; without this each has its own
    #[arg(long)]
    pub(crate) coalesce: bool,
    #[command(flatten)]
    pub(crate) limits: LimitArgs,
}

/// How many requests are sent, and when.
#[derive(Debug, ClapArgs)]
#[command(next_help_heading = "Load")]
pub(crate) struct LoadArgs {
    /// Open loop: send so many requests in a second or minute, whatever has been answered: 50/s, 0.5/s, 90/m
    ///
    /// The latency of a request counts from the time that it was due, so a host that stands still for a second shows in
    /// every request that was due in that second.
    #[arg(long, value_name = "N/s")]
    pub(crate) rate: Option<Rate>,
    /// Closed loop: keep so many requests in flight, 1 to 65536 [default: as many as there are slots for executions]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(crate) concurrency: Option<u32>,
    /// With --rate: at most so many requests in flight; what is due waits, and its latency counts, 1 to 65536
    #[arg(long, default_value_t = 10_000, value_name = "N", requires = "rate",
        value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(crate) max_in_flight: u32,
    /// How long requests are sent, 1ms to 24h
    #[arg(long, default_value = "30s", value_name = "TIME", value_parser = parse_duration)]
    pub(crate) duration: Duration,
    /// Send so many requests, however long that takes
    #[arg(long, value_name = "N", conflicts_with = "duration", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) requests: Option<u64>,
    /// What is sent before and not measured: `once`: each candidate once, so that every code is prepared; `none`; or
    /// the same load for this time
    #[arg(long, default_value_t, value_name = "once|none|TIME")]
    pub(crate) warm_up: WarmUp,
}

/// Requests in each second: more than 0 and at most 100,000.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rate(f64);

impl Rate {
    pub(crate) fn per_second(self) -> f64 {
        self.0
    }
}

impl FromStr for Rate {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("rate: {text:?} is not a number followed by /s or /m (for instance 50/s)");
        let (number, seconds) = match text.split_once('/') {
            None | Some((_, "s")) => (text.trim_end_matches("/s"), 1.0),
            Some((number, "m")) => (number, 60.0),
            Some(_) => return Err(wrong()),
        };
        let rate = number.trim().parse::<f64>().map_err(|_| wrong())? / seconds;
        match (0.000_1..=100_000.0).contains(&rate) {
            true => Ok(Self(rate)),
            false => Err(format!("rate: {text:?} is outside 0.0001/s to 100000/s")),
        }
    }
}

/// What is sent before the measurement.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum WarmUp {
    None,
    #[default]
    Once,
    For(Duration),
}

impl FromStr for WarmUp {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self::None),
            "once" => Ok(Self::Once),
            text => parse_duration(text).map(Self::For).map_err(|why| format!("neither once nor none, and {why}")),
        }
    }
}

impl fmt::Display for WarmUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Once => f.write_str("once"),
            Self::For(time) => write!(f, "{}s", time.as_secs_f64()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_parsed_within_their_range() {
        for (text, rate) in [("50/s", 50.0), ("50", 50.0), ("0.5/s", 0.5), ("90/m", 1.5), ("100000/s", 100_000.0)] {
            assert_eq!(text.parse::<Rate>().unwrap().per_second(), rate, "{text}");
        }
        for bad in ["", "/s", "0/s", "-1/s", "nan/s", "inf", "100001/s", "5/h", "5/s/s", "x/s"] {
            assert!(bad.parse::<Rate>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_warm_up_reads_as_it_is_shown() {
        for warm_up in [WarmUp::None, WarmUp::Once, WarmUp::For(Duration::from_millis(1500))] {
            assert_eq!(warm_up.to_string().parse::<WarmUp>().unwrap(), warm_up);
        }
        assert!("twice".parse::<WarmUp>().unwrap_err().contains("neither once nor none"));
    }
}
