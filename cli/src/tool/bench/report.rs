//! The result of a load test, as text and as JSON.

use super::{
    args::WarmUp,
    load::{Load, Pace},
    measured::Measured,
    pace::Until,
    times::Times,
};
use crate::tool::usage::time;
use pvf_shared::{ids::FencingToken, usage::ms, wire::FleetStatus};
use serde_json::{Value, json};
use std::time::Duration;

/// Width of the longest bar, characters.
const BAR: usize = 40;
/// The quantiles of the table.
const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)];

/// Counters of the coordinator, of all clients together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counters {
    token: FencingToken,
    executed: u64,
    prepared: u64,
    coalesced: u64,
    overloaded: u64,
}

impl Counters {
    pub(super) fn of(status: &FleetStatus) -> Self {
        let FleetStatus { token, executed, prepared, coalesced, overloaded, .. } = *status;
        Self { token, executed, prepared, coalesced, overloaded }
    }

    /// What has been added; `None` if another coordinator has taken over, whose counters begin at zero.
    pub(super) fn since(self, before: &Self) -> Option<Self> {
        let same = self.token == before.token;
        same.then(|| Self {
            token: self.token,
            executed: self.executed.saturating_sub(before.executed),
            prepared: self.prepared.saturating_sub(before.prepared),
            coalesced: self.coalesced.saturating_sub(before.coalesced),
            overloaded: self.overloaded.saturating_sub(before.overloaded),
        })
    }
}

/// All that is shown.
pub(super) struct Report {
    pub(super) place: String,
    /// Different codes.
    pub(super) codes: usize,
    /// What came before the measurement, and how long that took.
    pub(super) warm_up: (WarmUp, Duration),
    pub(super) load: Load,
    pub(super) measured: Measured,
    /// CPU time of this process.
    pub(super) own_cpu: Duration,
    pub(super) fleet: Option<Counters>,
}

impl Report {
    fn kinds(&self) -> String {
        self.load.kinds.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(",")
    }

    fn load_text(&self) -> String {
        let until = match self.load.until {
            Until::Elapsed(length) => format!(" for {}", time(length)),
            Until::Sent(requests) => format!(", {requests} requests"),
        };
        match self.load.pace {
            Pace::Open { rate, most } => {
                let rate = rate.per_second();
                format!(
                    "open loop, {rate}/s{until}, at most {most} in flight; latency from the time that a request was due"
                )
            }
            Pace::Closed { concurrency } => {
                format!("closed loop, {concurrency} in flight{until}; latency from the time that a request was sent")
            }
        }
    }

    /// The rows of the table. A load with one kind has no row for it.
    fn rows(&self) -> Vec<(String, &Times)> {
        let of = &self.measured;
        let mut rows = vec![("latency".to_owned(), &of.latency)];
        if of.by_kind.len() > 1 {
            rows.extend(of.by_kind.iter().map(|(kind, times)| (format!("  {kind}"), times)));
        }
        let stages = [("total", &of.total), ("queued", &of.queued), ("prepare", &of.prepare), ("execute", &of.execute)];
        rows.extend(stages.map(|(name, times)| (name.to_owned(), times)));
        rows
    }

    pub(super) fn text(&self) -> String {
        let of = &self.measured;
        let mut out = String::new();
        let mut line = |label: &str, text: String| out += &format!("{label:<14}{text}\n");
        line("host", self.place.clone());
        line("load", self.load_text());
        let (codes, candidates) = (self.codes, self.load.candidates.len());
        line("candidates", format!("{candidates} of {codes} codes; kind {}", self.kinds()));
        line(
            "warm-up",
            match self.warm_up {
                (WarmUp::None, _) => "none".into(),
                (WarmUp::Once, took) => format!("each candidate once, {}", time(took)),
                (WarmUp::For(_), took) => format!("the same load, {}", time(took)),
            },
        );
        let (answered, rate) = (of.answered_count(), of.throughput());
        line("requests", format!("{} sent, {answered} answered in {}: {rate:.2}/s", of.sent, time(of.elapsed)));
        if of.is_interrupted {
            line("interrupted", format!("{} requests were in flight, and are cancelled", of.cancelled));
        }
        line("verdicts", listed(of.verdicts.iter().map(|(name, count)| (name.replace('_', " "), *count))));
        for (why, count) in &of.reasons {
            line("", format!("{count} x {why}"));
        }
        for (why, count) in &of.unanswered {
            line("no verdict", format!("{count} x {why}"));
        }
        if of.retried > 0 {
            line("retried", format!("{} requests took more than one attempt", of.retried));
        }
        let cores = of.execute_cpu.as_secs_f64() / of.elapsed.as_secs_f64().max(0.001);
        line(
            "CPU",
            format!(
                "executions {} ({cores:.2} cores), preparations {}, this process {}",
                time(of.execute_cpu),
                time(of.prepare_cpu()),
                time(self.own_cpu)
            ),
        );
        line(
            "coordinator",
            match self.fleet {
                Some(Counters { executed, prepared, coalesced, overloaded, .. }) => format!(
                    "{executed} executions, {prepared} preparations, {coalesced} requests coalesced, {overloaded} refused as \
                 overloaded; of all clients"
                ),
                None => "its counters are not known: another one has taken over, or none answers".into(),
            },
        );
        out += &self.table();
        out += &bars(&of.latency);
        out
    }

    fn table(&self) -> String {
        let header: String = QUANTILES.iter().map(|(name, _)| format!("{name:>11}")).collect();
        let mut out = format!("\n{:<16}{header}{:>11}{:>11}\n", "", "max", "mean");
        for (name, times) in self.rows() {
            let quantiles: String =
                QUANTILES.iter().map(|(_, part)| format!("{:>11}", time(times.quantile(*part)))).collect();
            out += &format!("{name:<16}{quantiles}{:>11}{:>11}\n", time(times.longest()), time(times.mean()));
        }
        out
    }

    pub(super) fn json(&self) -> Value {
        let of = &self.measured;
        let (requests, duration) = match self.load.until {
            Until::Elapsed(time) => (None, Some(ms(time))),
            Until::Sent(requests) => (Some(requests), None),
        };
        let (rate, concurrency, max_in_flight) = match self.load.pace {
            Pace::Open { rate, most } => (Some(rate.per_second()), None, Some(most)),
            Pace::Closed { concurrency } => (None, Some(concurrency), None),
        };
        let kinds = of.by_kind.iter().map(|(kind, times)| (kind.name().to_owned(), times.json()));
        json!({
            "host": self.place,
            "load": {
                "loop": if rate.is_some() { "open" } else { "closed" }, "rate_per_s": rate, "concurrency": concurrency,
                "max_in_flight": max_in_flight, "duration_ms": duration, "requests": requests,
                "kinds": self.load.kinds.iter().map(|kind| kind.name()).collect::<Vec<_>>(),
                "codes": self.codes, "candidates": self.load.candidates.len(),
                "warm_up": self.warm_up.0.to_string(), "warm_up_ms": ms(self.warm_up.1),
            },
            "elapsed_ms": ms(of.elapsed), "interrupted": of.is_interrupted,
            "sent": of.sent, "answered": of.answered_count(), "unanswered": of.unanswered_count(),
            "cancelled": of.cancelled, "retried": of.retried, "throughput_per_s": of.throughput(),
            "verdicts": of.verdicts, "reasons": of.reasons, "errors": of.unanswered,
            "latency": of.latency.json(), "latency_by_kind": kinds.collect::<serde_json::Map<_, _>>(),
            "total": of.total.json(), "queued": of.queued.json(), "prepare": of.prepare.json(),
            "execute": of.execute.json(),
            "cpu_ms": {
                "executions": ms(of.execute_cpu), "preparations": ms(of.prepare_cpu()), "this_process": ms(self.own_cpu),
            },
            "coordinator": self.fleet.map(|counters| json!({
                "executed": counters.executed, "prepared": counters.prepared, "coalesced": counters.coalesced,
                "overloaded": counters.overloaded,
            })),
        })
    }
}

/// `12 valid, 1 invalid`.
fn listed(counts: impl Iterator<Item = (String, u64)>) -> String {
    let all: Vec<_> = counts.map(|(name, count)| format!("{count} {name}")).collect();
    if all.is_empty() { "none".into() } else { all.join(", ") }
}

/// How the times are spread, a line for each class.
fn bars(times: &Times) -> String {
    let classes = times.classes();
    let Some(most) = classes.iter().map(|class| class.count).max() else { return String::new() };
    let all = times.count().max(1);
    let mut out = "\nlatency\n".to_owned();
    for class in classes {
        let length = (class.count as f64 / most as f64 * BAR as f64).ceil() as usize;
        let [from, to] = [class.from, class.to].map(|micros| limit(Duration::from_micros(micros)));
        let percent = class.count as f64 / all as f64 * 100.0;
        out += &format!("{from:>9} to {to:<9}{:<BAR$} {percent:5.1} % {:>9}\n", "#".repeat(length), class.count);
    }
    out
}

/// A limit of a class, which is a round number.
fn limit(time: Duration) -> String {
    match time.as_micros() {
        0 => "0".into(),
        micros @ 1..1000 => format!("{micros} us"),
        micros @ 1000..1_000_000 => format!("{} ms", micros / 1000),
        micros => format!("{} s", micros / 1_000_000),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::measured::tests::sample, *};
    use pvf_shared::priority::ExecuteKind;
    use pvf_testkit::fixtures::fleet_status;

    fn report(pace: Pace) -> Report {
        let until = Until::Elapsed(Duration::from_secs(2));
        Report {
            place: "the embedded host".into(),
            codes: 1,
            warm_up: (WarmUp::Once, Duration::from_millis(1500)),
            load: Load { candidates: vec![], kinds: vec![ExecuteKind::Approval], pace, until },
            measured: sample(),
            own_cpu: Duration::from_millis(20),
            fleet: None,
        }
    }

    #[test]
    fn the_text_has_what_was_sent_answered_and_used() {
        let text = report(Pace::Open { rate: "2.5/s".parse().unwrap(), most: 9 }).text();
        for part in [
            "open loop, 2.5/s for 2 s, at most 9 in flight; latency from the time that a request was due",
            "4 sent, 3 answered in 2 s: 1.50/s",
            "verdicts      1 internal, 2 invalid\n",
            "2 x worker reported invalid: \\u{1b}[2Jtrap",
            "no verdict    1 x refused: ",
            "executions 9 ms (0.00 cores), preparations 100 ms, this process 20 ms",
            "each candidate once, 1.5 s",
            "   5 ms to 10 ms    ########################################",
            "100.0 %         3\n",
        ] {
            assert!(text.contains(part), "{part:?} is not in:\n{text}");
        }
        assert!(text.lines().all(|line| line.len() < 160), "{text}");
        let closed = report(Pace::Closed { concurrency: 7 }).text();
        assert!(closed.contains("closed loop, 7 in flight for 2 s"), "{closed}");
    }

    #[test]
    fn json_has_the_same() {
        let json = report(Pace::Closed { concurrency: 7 }).json();
        assert_eq!((&json["sent"], &json["answered"], &json["unanswered"]), (&json!(4), &json!(3), &json!(1)));
        assert_eq!(json["verdicts"], json!({"invalid": 2, "internal": 1}));
        assert_eq!((&json["load"]["loop"], &json["load"]["rate_per_s"]), (&json!("closed"), &Value::Null));
        assert_eq!(json["load"]["duration_ms"], 2000.0);
        assert_eq!(json["latency"]["count"], 3);
        assert_eq!(json["latency_by_kind"]["approval"]["count"], 3);
        assert_eq!(json["cpu_ms"], json!({"executions": 9.0, "preparations": 100.0, "this_process": 20.0}));
        assert_eq!(json["coordinator"], Value::Null);
    }

    #[test]
    fn counters_of_another_coordinator_are_not_compared() {
        let status = |token, executed| FleetStatus { token: FencingToken(token), executed, ..fleet_status() };
        let [before, after, other] = [(1, 5), (1, 9), (2, 1)].map(|(token, n)| Counters::of(&status(token, n)));
        assert_eq!(after.since(&before).map(|of| of.executed), Some(4));
        assert_eq!(other.since(&before), None);
    }
}
