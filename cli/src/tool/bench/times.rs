//! How often which time was measured.

use crate::tool::failure::Failure;
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use std::time::Duration;

/// Significant digits: 12.3 ms are told from 12.4 ms.
const DIGITS: u8 = 3;
/// The longest time that is told from longer ones, microseconds: a day, as long as a request may wait.
const LONGEST: u64 = 24 * 3600 * 1_000_000;

/// Times in microseconds.
pub(super) struct Times(Histogram<u64>);

impl Times {
    pub(super) fn new() -> Result<Self, Failure> {
        let times = Histogram::new_with_bounds(1, LONGEST, DIGITS);
        times.map(Self).map_err(|error| Failure::no_result("histogram", error))
    }

    pub(super) fn add(&mut self, time: Duration) {
        self.0.saturating_record(u64::try_from(time.as_micros()).unwrap_or(LONGEST));
    }

    pub(super) fn count(&self) -> u64 {
        self.0.len()
    }

    /// The time that this part of all, from 0 to 1, does not exceed.
    pub(super) fn quantile(&self, part: f64) -> Duration {
        Duration::from_micros(self.0.value_at_quantile(part))
    }

    pub(super) fn mean(&self) -> Duration {
        Duration::from_secs_f64(self.0.mean() / 1e6)
    }

    pub(super) fn longest(&self) -> Duration {
        Duration::from_micros(self.0.max())
    }

    /// Classes with the steps 1, 2, 5, 10 …, from the first to the last one that has a time.
    pub(super) fn classes(&self) -> Vec<Class> {
        let ends = (0..12).flat_map(|power| [1, 2, 5].map(|step| step * 10_u64.pow(power)));
        let mut from = 0;
        let mut classes: Vec<_> =
            ends.map(|to| Class { from: std::mem::replace(&mut from, to), to, count: 0 }).collect();
        for recorded in self.0.iter_recorded() {
            // Not `count_between`: a value at the limit of two classes would be in both, because it stands for a range.
            let value = self.0.lowest_equivalent(recorded.value_iterated_to());
            let at = classes.partition_point(|class| class.to <= value);
            if let Some(class) = classes.get_mut(at) {
                class.count += recorded.count_at_value();
            }
        }
        let last = classes.iter().rposition(|class| class.count > 0).map_or(0, |last| last + 1);
        classes.truncate(last);
        let first = classes.iter().position(|class| class.count > 0).unwrap_or_default();
        classes.split_off(first)
    }

    pub(super) fn json(&self) -> Value {
        let ms = |time: Duration| pvf_shared::usage::ms(time);
        let classes = self.classes().into_iter().map(
            |class| json!({"from_ms": class.from as f64 / 1e3, "to_ms": class.to as f64 / 1e3, "count": class.count}),
        );
        json!({
            "count": self.count(), "mean_ms": ms(self.mean()), "p50_ms": ms(self.quantile(0.5)),
            "p90_ms": ms(self.quantile(0.9)), "p95_ms": ms(self.quantile(0.95)), "p99_ms": ms(self.quantile(0.99)),
            "p999_ms": ms(self.quantile(0.999)), "max_ms": ms(self.longest()),
            "classes": classes.collect::<Vec<_>>(),
        })
    }
}

/// How many times are from here, inclusive, to there, exclusive; microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Class {
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) count: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(micros: &[u64]) -> Times {
        let mut times = Times::new().unwrap();
        micros.iter().for_each(|micros| times.add(Duration::from_micros(*micros)));
        times
    }

    #[test]
    fn every_time_is_in_one_class_and_quantiles_have_three_digits() {
        // The histogram does not tell 49,990 from 50,010.
        let measured = times(&[1500, 1900, 2000, 4000, 50_000]);
        let counts: Vec<_> = measured.classes().iter().map(|class| (class.from, class.to, class.count)).collect();
        assert_eq!(counts[..2], [(1000, 2000, 2), (2000, 5000, 2)]);
        assert_eq!(counts.last(), Some(&(20_000, 50_000, 1)));
        assert_eq!(counts.iter().map(|class| class.2).sum::<u64>(), 5);
        let p50 = measured.quantile(0.5).as_secs_f64();
        assert!((p50 / 0.002 - 1.0).abs() < 0.001, "{p50}");
        assert!(measured.longest() >= Duration::from_micros(50_000));
        assert_eq!(measured.json()["count"], 5);
    }

    #[test]
    fn nothing_and_extremes_are_measured() {
        assert_eq!(times(&[]).classes(), []);
        assert_eq!(times(&[]).quantile(0.99), Duration::ZERO);
        let extremes = times(&[0, u64::MAX]);
        assert_eq!(extremes.count(), 2);
        assert_eq!(extremes.classes()[0], Class { from: 0, to: 1, count: 1 });
        assert_eq!(extremes.classes().iter().map(|class| class.count).sum::<u64>(), 2);
    }
}
