//! Durations and ages as text for people.

use super::usage::time;
use std::time::Duration;

/// A time that is not known.
pub(crate) const UNKNOWN: &str = "-";

/// A duration in milliseconds. Long ones have no more than two units: `12.3 ms`, `1.21 s`, `3m12s`, `2h05m`, `3d04h`.
pub(crate) fn millis(ms: impl Into<Option<f64>>) -> String {
    let Some(ms) = ms.into().filter(|ms| ms.is_finite() && *ms >= 0.0) else { return UNKNOWN.into() };
    let seconds = (ms / 1e3) as u64;
    match seconds {
        0..60 => time(Duration::from_secs_f64(ms / 1e3)),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// How long this time is before another one, both in milliseconds since 1970 by the same clock.
pub(crate) fn between(then: Option<f64>, now: f64) -> String {
    millis(then.map(|then| (now - then).max(0.0)))
}

/// A hash of which people compare the beginning: 12 digits without `0x`.
pub(crate) fn short_hash(hash: &str) -> String {
    let digits = hash.strip_prefix("0x").unwrap_or(hash);
    match digits.char_indices().nth(12) {
        Some((end, _)) => format!("{}…", &digits[..end]),
        None => digits.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_two_units_at_most() {
        for (ms, text) in [
            (0.0, "0 ms"),
            (12.34, "12.3 ms"),
            (1210.0, "1.21 s"),
            (59_990.0, "59.99 s"),
            (192_000.0, "3m12s"),
            (7_500_000.0, "2h05m"),
            (273_600_000.0, "3d04h"),
        ] {
            assert_eq!(millis(ms), text);
        }
        assert_eq!([None, Some(f64::NAN), Some(-1.0)].map(millis), [UNKNOWN; 3]);
        assert_eq!(between(Some(1000.0), 3000.0), "2 s");
        assert_eq!(between(Some(3000.0), 1000.0), "0 ms", "a clock that was set back");
    }

    #[test]
    fn a_hash_is_shortened_to_its_beginning() {
        assert_eq!(short_hash(&format!("0x{}", "ab".repeat(32))), "abababababab…");
        assert_eq!(short_hash("éé"), "éé");
    }
}
