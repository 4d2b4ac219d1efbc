//! Samples for plots: what happened in each interval.

use super::ended::{Ended, ratio};
use hdrhistogram::Histogram;
use pvf_scheduler::Gauges;
use pvf_shared::{job::JobUsage, wire::WorkerKind};
use serde::Serialize;
use std::{collections::VecDeque, time::Duration};

/// How long one sample is.
pub(crate) const SAMPLE_INTERVAL: Duration = Duration::from_secs(5);
/// Samples that are kept: half an hour.
const SAMPLES: usize = 360;
/// Precision of percentiles, significant digits.
const DIGITS: u8 = 2;

/// What happened in one interval.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Sample {
    at_ms: u64,
    verdicts: Verdicts,
    /// From arrival to verdict.
    total_ms: Percentiles,
    queued_ms: Percentiles,
    /// CPU time of the jobs that ended.
    cpu_ms: u64,
    cpu_limit_ratio_max: f64,
    prepare_busy: u64,
    prepare_slots: u64,
    execute_busy: u64,
    execute_slots: u64,
    prepare_queue: u64,
    execute_queue: u64,
    requests: u64,
}

#[derive(Debug, Clone, Default, Serialize)]
struct Verdicts {
    valid: u64,
    invalid: u64,
    failed: u64,
}

/// Percentiles of a time, milliseconds; 0 if nothing ended.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct Percentiles {
    p50: f64,
    p99: f64,
    max: f64,
}

/// The interval that is under way.
struct Interval {
    verdicts: Verdicts,
    total: Histogram<u64>,
    queued: Histogram<u64>,
    cpu: Duration,
    ratio: f64,
}

impl Default for Interval {
    fn default() -> Self {
        let histogram = || match Histogram::new(DIGITS) {
            Ok(histogram) => histogram,
            Err(error) => unreachable!("the precision of the histograms is wrong: {error}"),
        };
        let (total, queued) = (histogram(), histogram());
        Self { verdicts: Verdicts::default(), total, queued, cpu: Duration::ZERO, ratio: 0.0 }
    }
}

/// The samples of one coordinator.
#[derive(Default)]
pub(super) struct Samples {
    done: VecDeque<Sample>,
    now: Interval,
}

impl Samples {
    pub(super) fn ended(&mut self, ended: &Ended) {
        let Interval { verdicts, total, queued, .. } = &mut self.now;
        match ended.outcome {
            "valid" | "ok" => verdicts.valid += 1,
            "invalid" => verdicts.invalid += 1,
            _ => verdicts.failed += 1,
        }
        // Histograms grow to what is recorded; only a time that 64 bits cannot hold would be an error.
        for (histogram, time) in [(total, ended.timings.total), (queued, ended.timings.queued)] {
            let _ = histogram.record(micros(time));
        }
    }

    pub(super) fn used(&mut self, usage: &JobUsage) {
        // A worker may report any time.
        self.now.cpu = self.now.cpu.saturating_add(usage.cpu);
        self.now.ratio = self.now.ratio.max(ratio(usage.cpu, usage.cpu_limit));
    }

    /// Ends the interval if it is long enough.
    pub(super) fn observe(&mut self, gauges: &Gauges, now_ms: u64) {
        let interval = SAMPLE_INTERVAL.as_millis() as u64;
        if self.done.back().is_some_and(|last| now_ms.saturating_sub(last.at_ms) < interval) {
            return;
        }
        let Interval { verdicts, total, queued, cpu, ratio } = std::mem::take(&mut self.now);
        let [prepare, execute] = [WorkerKind::Prepare, WorkerKind::Execute].map(|kind| gauges.workers[kind as usize]);
        self.done.push_back(Sample {
            at_ms: now_ms,
            verdicts,
            total_ms: percentiles(&total),
            queued_ms: percentiles(&queued),
            cpu_ms: u64::try_from(cpu.as_millis()).unwrap_or(u64::MAX),
            cpu_limit_ratio_max: ratio,
            prepare_busy: prepare.2,
            prepare_slots: prepare.1,
            execute_busy: execute.2,
            execute_slots: execute.1,
            prepare_queue: gauges.prepare_queue.iter().sum(),
            execute_queue: gauges.execute_queue.iter().sum(),
            requests: gauges.requests,
        });
        if self.done.len() > SAMPLES {
            self.done.pop_front();
        }
    }

    pub(super) fn list(&self) -> Vec<Sample> {
        self.done.iter().cloned().collect()
    }
}

fn percentiles(of: &Histogram<u64>) -> Percentiles {
    let ms = |micros: u64| micros as f64 / 1000.0;
    Percentiles { p50: ms(of.value_at_quantile(0.5)), p99: ms(of.value_at_quantile(0.99)), max: ms(of.max()) }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_what_was_recorded() {
        let mut histogram = Interval::default().total;
        for ms in 1..=1000 {
            histogram.record(micros(Duration::from_millis(ms))).unwrap();
        }
        histogram.record(micros(Duration::from_secs(24 * 3600))).unwrap();
        let Percentiles { p50, p99, max } = percentiles(&histogram);
        assert!((490.0..=510.0).contains(&p50) && (980.0..=1010.0).contains(&p99), "{p50} {p99}");
        assert!((86_000_000.0..=87_500_000.0).contains(&max), "{max}");
    }

    #[test]
    fn an_interval_becomes_a_sample_when_it_is_over() {
        let mut samples = Samples::default();
        let usage = |cpu| JobUsage {
            cpu: Duration::from_millis(cpu),
            cpu_limit: Duration::from_secs(2),
            ..JobUsage::default()
        };
        let gauges = Gauges { execute_queue: [1, 2, 3, 4], workers: [(1, 2, 1), (3, 4, 2)], ..Gauges::default() };
        samples.used(&usage(100));
        samples.used(&usage(1000));
        samples.observe(&gauges, 1_000_000);
        samples.used(&usage(10));
        samples.observe(&gauges, 1_004_999);
        assert_eq!(samples.list().len(), 1);
        samples.observe(&gauges, 1_005_000);
        let json = serde_json::to_value(samples.list()).unwrap();
        assert_eq!((&json[0]["cpu_ms"], &json[0]["cpu_limit_ratio_max"]), (&1100.into(), &0.5.into()));
        assert_eq!((&json[1]["cpu_ms"], &json[1]["execute_queue"]), (&10.into(), &10.into()));
        assert_eq!((&json[1]["prepare_slots"], &json[1]["execute_busy"]), (&2.into(), &2.into()));
        for n in 0..2 * SAMPLES as u64 {
            samples.observe(&gauges, 2_000_000 + n * 5_000);
        }
        assert_eq!(samples.list().len(), SAMPLES);
    }
}
