//! What is printed.

use crate::fleet::Traffic;
use pvf_tests::bench::median;
use serde_json::{Value, json};
use std::time::Duration;

/// One measurement.
pub struct Run {
    traffic: Traffic,
    /// Time of as many bare messages.
    bare: Duration,
}

impl Run {
    fn per_second(&self) -> f64 {
        self.traffic.verdicts as f64 / self.traffic.took.as_secs_f64()
    }

    /// Verdicts a second, if the bare messages made them.
    fn bare_per_second(&self) -> f64 {
        self.traffic.verdicts as f64 / self.bare.as_secs_f64()
    }

    fn ratio(&self) -> f64 {
        self.bare.as_secs_f64() / self.traffic.took.as_secs_f64()
    }

    fn messages_per_verdict(&self) -> f64 {
        self.traffic.messages as f64 / self.traffic.verdicts as f64
    }

    /// CPU time for each verdict, microseconds: the coordinator's, the server's, and that of clients and workers.
    fn cpu_us(&self) -> [f64; 3] {
        let cpu = self.traffic.cpu;
        [cpu.coordinator, cpu.server, cpu.bench].map(|ticks| ticks as f64 * US_PER_TICK / self.traffic.verdicts as f64)
    }

    pub fn print(&self) {
        let [coordinator, server, bench] = self.cpu_us();
        println!(
            "{:.0} verdicts/s, {:.2} messages of {} bytes each; as many bare messages: {:.0} a second, enough for \
             {:.0} verdicts/s; {:.2} x; CPU time a verdict: coordinator {coordinator:.0} us, nats-server {server:.0} us, \
             clients and workers {bench:.0} us",
            self.per_second(),
            self.messages_per_verdict(),
            self.traffic.message_len(),
            self.traffic.messages as f64 / self.bare.as_secs_f64(),
            self.bare_per_second(),
            self.ratio(),
        );
    }

    fn json(&self) -> Value {
        let [coordinator, server, bench] = self.cpu_us();
        json!({
            "verdicts_per_second": self.per_second(),
            "messages_per_verdict": self.messages_per_verdict(),
            "bytes_per_message": self.traffic.message_len(),
            "bare_messages_per_second": self.traffic.messages as f64 / self.bare.as_secs_f64(),
            "bare_verdicts_per_second": self.bare_per_second(),
            "ratio": self.ratio(),
            "cpu_us_per_verdict": { "coordinator": coordinator, "nats_server": server, "bench": bench },
        })
    }
}

/// A clock tick of `/proc`, microseconds.
const US_PER_TICK: f64 = 10_000.0;

/// All measurements.
pub struct Report {
    requests: u64,
    in_flight: u64,
    runs: Vec<Run>,
}

impl Report {
    pub fn new(requests: u64, in_flight: u64) -> Self {
        Self { requests, in_flight, runs: Vec::new() }
    }

    /// Adds a measurement.
    pub fn add(&mut self, traffic: Traffic, bare: Duration) -> &Run {
        self.runs.push(Run { traffic, bare });
        &self.runs[self.runs.len() - 1]
    }

    /// The median of a figure, and its smallest and largest value.
    fn spread(&self, figure: impl Fn(&Run) -> f64) -> [f64; 3] {
        let mut values: Vec<f64> = self.runs.iter().map(figure).collect();
        let median = median(&mut values);
        [median, values[0], values[values.len() - 1]]
    }

    /// The median ratio.
    pub fn ratio(&self) -> f64 {
        self.spread(Run::ratio)[0]
    }

    pub fn print_median(&self) {
        let [ratio, least, most] = self.spread(Run::ratio);
        let [per_second, ..] = self.spread(Run::per_second);
        println!(
            "median of {} runs of {} requests, {} in flight: {per_second:.0} verdicts/s, {ratio:.2} x the rate of the \
             bare messages (from {least:.2} to {most:.2})",
            self.runs.len(),
            self.requests,
            self.in_flight,
        );
    }

    pub fn json(&self) -> Value {
        let [ratio, least, most] = self.spread(Run::ratio);
        json!({
            "requests": self.requests,
            "in_flight": self.in_flight,
            "verdicts_per_second": self.spread(Run::per_second)[0],
            "ratio": ratio,
            "ratio_min": least,
            "ratio_max": most,
            "runs": self.runs.iter().map(Run::json).collect::<Vec<_>>(),
        })
    }
}
