//! The coordinator's settings file. A key that is not known is refused, by name.

use crate::scheduler::Policy;
use std::path::Path;

/// The most that may be reserved: 64 GiB.
const MAX_RESERVE: u64 = 64 << 30;

/// What an operator may decide about a coordinator. The sample in `compose/coordinator.toml` has every key.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CoordinatorConfig {
    /// Block data waits in memory as long as all of it together has at most this many bytes, and in the store
    /// beyond.
    pub inline_budget: u64,
    /// So many bytes of memory are taken at the start and kept, so that queues do not wait for it as they grow: about
    /// one KiB a queued request.
    pub reserve_memory: u64,
    /// How the queues are run.
    pub policy: Policy,
}

impl Default for CoordinatorConfig {
    fn default() -> Self {
        Self { inline_budget: 256 << 20, reserve_memory: 64 << 20, policy: Policy::default() }
    }
}

impl CoordinatorConfig {
    /// Reads a settings file; without one, the defaults.
    pub fn load(path: Option<&Path>) -> Result<Self, String> {
        let Some(path) = path else { return Ok(Self::default()) };
        let wrong = |why: &dyn std::fmt::Display| format!("settings file {}: {why}", path.display());
        let text = std::fs::read_to_string(path).map_err(|e| wrong(&e))?;
        Self::parse(&text).map_err(|e| wrong(&e))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let config: Self = toml::from_str(text).map_err(|e| e.to_string())?;
        if config.reserve_memory > MAX_RESERVE {
            return Err(format!("reserve_memory: {} is outside 0..={MAX_RESERVE} bytes", config.reserve_memory));
        }
        config.policy.check().map_err(|e| format!("policy.{e}"))?;
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_has_every_key_with_its_default() {
        let sample = include_str!("../../compose/coordinator.toml");
        assert_eq!(CoordinatorConfig::parse(sample).unwrap(), CoordinatorConfig::default());
        assert_eq!(CoordinatorConfig::parse("").unwrap(), CoordinatorConfig::default());
        // A limit has both its numbers or neither.
        let optional = |line: &&str| line.contains('=') && !line.starts_with("requests") && !line.starts_with("bytes");
        for line in sample.lines().filter(optional) {
            let key = line.split('=').next().unwrap().trim();
            let without = sample.replacen(line, "", 1);
            assert_eq!(CoordinatorConfig::parse(&without).unwrap(), CoordinatorConfig::default(), "{key}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_name() {
        for (text, word) in [
            ("inline_budgett = 1", "inline_budgett"),
            ("[policy]\nshares = { window = 0 }", "shares.window: 0 is outside 1..=1000"),
            ("[policy]\nshares = { percent = [70, 80, 101, 100] }", "shares.percent: 101"),
            ("reserve_memory = 68719476737", "reserve_memory: 68719476737 is outside 0..=68719476736 bytes"),
            ("[policy]\nahead = 9", "ahead: 9 is outside 0..=4"),
            ("[policy]\nprune_min_age = \"40 days\"", "artifact_ttl: shorter than prune_min_age"),
            ("[policy]\nclient_silence = 3", "client_silence"),
            ("[policy.per_kind]\nrequests = 0\nbytes = 1", "per_kind.requests: 0"),
        ] {
            let error = CoordinatorConfig::parse(text).unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
        let error = CoordinatorConfig::load(Some(Path::new("/does/not/exist"))).unwrap_err();
        assert!(error.contains("/does/not/exist"), "{error}");
    }
}
