//! Size and duration limits with their units, and their text forms for users.

use std::time::Duration;

/// One kibibyte.
pub const KIB: usize = 1024;
/// One mebibyte.
pub const MIB: usize = 1024 * KIB;

/// One gibibyte.
pub const GIB: usize = 1024 * MIB;

/// Default limit of decompressed validation code, bytes. The relay chain's configuration has the same default.
pub const DEFAULT_CODE_BOMB_LIMIT: u32 = (30 * MIB) as u32;
/// Default limit of a decompressed PoV, bytes: four times the 10 MiB that a compressed PoV may have.
pub const POV_BOMB_LIMIT: u32 = (40 * MIB) as u32;
/// Largest limit of decompressed code or of a decompressed PoV that a request may ask for, bytes.
pub const MAX_BOMB_LIMIT: u64 = GIB as u64;
/// The largest artifact, bytes.
pub const MAX_ARTIFACT: usize = GIB;
/// A job's wall-clock limit is its CPU time limit times this factor.
pub const WALL_CLOCK_FACTOR: u32 = 4;

/// The longest CPU time limit that a request may ask for.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(3600);
/// The longest wait for an answer that a request may ask for.
pub const MAX_WAIT: Duration = Duration::from_secs(24 * 3600);

/// Parses a CPU time limit: 1 ms to [`MAX_TIMEOUT`].
pub fn parse_timeout(s: &str) -> Result<Duration, String> {
    match parse_duration(s)? {
        time if time > MAX_TIMEOUT => Err(format!("duration: {s:?} is outside 1ms to 1h")),
        time => Ok(time),
    }
}

/// Parses `250ms`, `2s`, `1.5s`, `3m`, `1h`: 1 ms to [`MAX_WAIT`].
pub fn parse_duration(s: &str) -> Result<Duration, String> {
    let wrong = || format!("duration: {s:?} is not a number followed by ms, s, m or h (for instance 2s)");
    let split = s.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(wrong)?;
    let number: f64 = s[..split].trim().parse().map_err(|_| wrong())?;
    let unit = match &s[split..] {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(wrong()),
    };
    let seconds = number * unit;
    if !seconds.is_finite() || !(0.001..=MAX_WAIT.as_secs_f64()).contains(&seconds) {
        return Err(format!("duration: {s:?} is outside 1ms to 24h"));
    }
    Ok(Duration::from_secs_f64(seconds))
}

/// Parses `90s`, `12h`, `30d`: 1 s to 3650 d.
pub fn parse_age(s: &str) -> Result<Duration, String> {
    const DAY: f64 = 24.0 * 3600.0;
    let wrong = || format!("age: {s:?} is not a number followed by s, m, h or d (for instance 30d)");
    let split = s.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(wrong)?;
    let number: f64 = s[..split].trim().parse().map_err(|_| wrong())?;
    let unit = match &s[split..] {
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => DAY,
        _ => return Err(wrong()),
    };
    let seconds = number * unit;
    if !(1.0..=3650.0 * DAY).contains(&seconds) {
        return Err(format!("age: {s:?} is outside 1s to 3650d"));
    }
    Ok(Duration::from_secs_f64(seconds))
}

/// Parses `512MiB`, `16GiB`, `1.5TiB`: at least 1 B.
pub fn parse_bytes(s: &str) -> Result<u64, String> {
    let wrong = || format!("size: {s:?} is not a number followed by B, KiB, MiB, GiB or TiB (for instance 16GiB)");
    let split = s.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(wrong)?;
    let (number, unit) = s.split_at_checked(split).ok_or_else(wrong)?;
    let number: f64 = number.trim().parse().map_err(|_| wrong())?;
    let unit = match unit {
        "B" => 1,
        "KiB" => KIB,
        "MiB" => MIB,
        "GiB" => GIB,
        "TiB" => 1024 * GIB,
        _ => return Err(wrong()),
    };
    let bytes = number * unit as f64;
    if !(1.0..u64::MAX as f64).contains(&bytes) {
        return Err(format!("size: {s:?} is less than 1B, or too large"));
    }
    Ok(bytes as u64)
}

/// A size for users: `12.3 MiB`, `4.0 KiB`, `17 B`.
pub fn human_bytes(n: u64) -> String {
    match n {
        0..1024 => format!("{n} B"),
        1024..1_048_576 => format!("{:.1} KiB", n as f64 / 1024.0),
        _ => format!("{:.1} MiB", n as f64 / 1_048_576.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_parsed_within_their_range() {
        assert_eq!(parse_bytes("1B").unwrap(), 1);
        assert_eq!(parse_bytes("512MiB").unwrap(), 512 << 20);
        assert_eq!(parse_bytes("1.5 GiB").unwrap(), 3 << 29);
        assert_eq!(parse_bytes("2TiB").unwrap(), 2 << 40);
        for bad in ["", "5", "GiB", "-1B", "0B", "0.5B", "1GB", "1g", "nanB", "infB", "1e30TiB"] {
            assert!(parse_bytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ages_are_parsed_within_their_range() {
        assert_eq!(parse_age("1s").unwrap(), Duration::from_secs(1));
        assert_eq!(parse_age("1.5h").unwrap(), Duration::from_secs(5400));
        assert_eq!(parse_age("3650d").unwrap(), Duration::from_secs(3650 * 86_400));
        for bad in ["", "30", "d", "0s", "500ms", "-1d", "3651d", "nand", "infd"] {
            assert!(parse_age(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_are_parsed_within_their_range() {
        assert_eq!(parse_duration("250ms").unwrap(), Duration::from_millis(250));
        assert_eq!(parse_duration("2s").unwrap(), Duration::from_secs(2));
        assert_eq!(parse_duration("1.5m").unwrap(), Duration::from_secs(90));
        assert_eq!(parse_duration("24h").unwrap(), MAX_WAIT);
        assert_eq!(parse_timeout("1h").unwrap(), MAX_TIMEOUT);
        assert_eq!(parse_timeout("61m").unwrap_err(), "duration: \"61m\" is outside 1ms to 1h");
        for bad in ["", "2", "s", "-1s", "0s", "2d", "25h", "nans", "1e99s"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }
}
