//! The coordinator's settings file. Unknown keys are refused by name.

use crate::{ceilings::Ceilings, lease::LeaseConfig};
use pvf_scheduler::Policy;
use std::path::Path;

/// Settings of a coordinator. The sample in `compose/coordinator.toml` has every key.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CoordinatorConfig {
    /// No longer used: large block data stays with the client. The key is accepted, with a warning, until the next
    /// release.
    pub inline_budget: Option<u64>,
    /// No longer used. The key is accepted, with a warning, until the next release.
    pub reserve_memory: Option<u64>,
    /// Policy of the queues.
    pub policy: Policy,
    /// The most that a request may ask for.
    pub ceilings: Ceilings,
    /// Which of several coordinators is active.
    pub lease: LeaseConfig,
}

impl CoordinatorConfig {
    /// Reads a settings file; the defaults without one. The error names the file and the key.
    pub fn load(path: Option<&Path>) -> Result<Self, String> {
        let Some(path) = path else { return Ok(Self::default()) };
        let wrong = |why: &dyn std::fmt::Display| format!("settings file {}: {why}", path.display());
        let text = std::fs::read_to_string(path).map_err(|e| wrong(&e))?;
        let mut config = Self::parse(&text).map_err(|e| wrong(&e))?;
        for (name, retired) in
            [("inline_budget", &mut config.inline_budget), ("reserve_memory", &mut config.reserve_memory)]
        {
            if retired.take().is_some() {
                tracing::warn!(path = %path.display(), "the setting {name} has no effect any more; remove it");
            }
        }
        Ok(config)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let config: Self = toml::from_str(text).map_err(|e| e.to_string())?;
        config.policy.check().map_err(|e| format!("policy.{e}"))?;
        config.lease.check().map_err(|e| format!("lease.{e}"))?;
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
        // A limit needs both its numbers.
        let optional = |line: &&str| line.contains('=') && !line.starts_with("requests") && !line.starts_with("bytes");
        for line in sample.lines().filter(optional) {
            let key = line.split('=').next().unwrap().trim();
            let without = sample.replacen(line, "", 1);
            assert_eq!(CoordinatorConfig::parse(&without).unwrap(), CoordinatorConfig::default(), "{key}");
        }
    }

    #[test]
    fn invalid_settings_are_refused_by_name() {
        for (text, word) in [
            ("inline_budgett = 1", "inline_budgett"),
            ("[policy]\nshares = { window = 0 }", "shares.window: 0 is outside 1..=1000"),
            ("[policy]\nshares = { percent = [70, 80, 101, 100] }", "shares.percent: 101"),
            ("[policy]\nahead = 9", "ahead: 9 is outside 0..=4"),
            ("[policy]\nprune_min_age = \"40 days\"", "artifact_ttl: shorter than prune_min_age"),
            ("[policy]\nclient_silence = 3", "client_silence"),
            ("[policy.cross_check]\ninvalid = 1.5", "1.5 is outside 0..=1"),
            ("[policy.cross_check]\nwait = \"1ms\"", "cross_check.wait (ms): 1 is outside 100..=3600000"),
            ("[policy.cross_check]\ndisputes = true", "disputes"),
            ("[ceilings]\nmemory = 1", "memory"),
            ("[ceilings]\nexecute_timeout = 2", "execute_timeout"),
            ("[lease]\nduration = \"100ms\"", "lease.duration (ms): 100 is outside 500..=60000"),
            ("[lease]\nreplicas = 0", "lease.replicas: 0 is outside 1..=5"),
            ("[lease]\ndurations = \"2s\"", "durations"),
            ("[policy.per_kind]\nrequests = 0\nbytes = 1", "per_kind.requests: 0"),
        ] {
            let error = CoordinatorConfig::parse(text).unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
        let error = CoordinatorConfig::load(Some(Path::new("/does/not/exist"))).unwrap_err();
        assert!(error.contains("/does/not/exist"), "{error}");
    }
    #[test]
    fn the_retired_keys_are_accepted_and_have_no_effect() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("coordinator.toml");
        std::fs::write(&file, "reserve_memory = 67108864\ninline_budget = 0").unwrap();
        assert_eq!(CoordinatorConfig::load(Some(&file)).unwrap(), CoordinatorConfig::default());
    }
}
