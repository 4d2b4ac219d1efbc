//! Two runs side by side, code by code.

use super::result::{Entry, Sweep};
use crate::tool::text::escaped;
use pvf_shared::units::human_bytes;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A change of this much is shown, percent.
const SHOWN: f64 = 10.0;

/// What is different.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Compared {
    /// Codes that are not prepared now, and were before, or were not tried before.
    new_failures: Vec<(String, String)>,
    /// Codes that were not prepared before, and are now.
    mended: Vec<String>,
    /// Codes that are only in one of the runs.
    only_before: Vec<String>,
    only_now: Vec<String>,
    /// Sizes of artifacts and CPU times that have changed by [`SHOWN`].
    changed: Vec<String>,
    /// Over all codes that both runs prepared.
    artifact_bytes: (u64, u64),
    cpu_ms: (f64, f64),
    both: usize,
    /// Whether the runs had different executor parameters.
    other_params: bool,
}

/// Compares two runs.
pub(super) fn compare(before: &Sweep, now: &Sweep) -> Compared {
    let by_hash = |of: &Sweep| -> BTreeMap<String, Entry> {
        of.codes.iter().map(|entry| (entry.code_hash.clone(), entry.clone())).collect()
    };
    let (old, new) = (by_hash(before), by_hash(now));
    let only = |of: &BTreeMap<String, Entry>, other: &BTreeMap<String, Entry>| -> Vec<String> {
        of.iter().filter(|(hash, _)| !other.contains_key(*hash)).map(|(_, entry)| entry.name.clone()).collect()
    };
    let mut compared = Compared {
        new_failures: vec![],
        mended: vec![],
        only_before: only(&old, &new),
        only_now: only(&new, &old),
        changed: vec![],
        artifact_bytes: (0, 0),
        cpu_ms: (0.0, 0.0),
        both: 0,
        other_params: before.executor_params() != now.executor_params(),
    };
    for (hash, now) in &new {
        let before = old.get(hash);
        let knew = before.is_some_and(Entry::is_unpreparable);
        if now.is_unpreparable() && !knew {
            compared.new_failures.push((now.name.clone(), now.reason.clone().unwrap_or_default()));
        }
        match before {
            Some(_) if knew && !now.failed() => compared.mended.push(now.name.clone()),
            Some(before) if !before.failed() && !now.failed() => compared.add(before, now),
            _ => {}
        }
    }
    compared
}

impl Compared {
    fn add(&mut self, before: &Entry, now: &Entry) {
        self.both += 1;
        if let (Some(old), Some(new)) = (before.artifact_bytes, now.artifact_bytes) {
            self.artifact_bytes = (self.artifact_bytes.0 + old, self.artifact_bytes.1 + new);
            if is_shown(old as f64, new as f64) {
                let percent = percent(old as f64, new as f64);
                self.changed.push(format!(
                    "{}: artifact {} to {}{percent}",
                    now.name,
                    human_bytes(old),
                    human_bytes(new)
                ));
            }
        }
        if let (Some(old), Some(new)) = (before.cpu_ms, now.cpu_ms) {
            self.cpu_ms = (self.cpu_ms.0 + old, self.cpu_ms.1 + new);
            if is_shown(old, new) {
                self.changed.push(format!("{}: CPU {old:.0} ms to {new:.0} ms{}", now.name, percent(old, new)));
            }
        }
    }

    /// Whether a code is not prepared that was, or that is new.
    pub(super) fn is_worse(&self) -> bool {
        !self.new_failures.is_empty()
    }

    pub(super) fn text(&self) -> String {
        let mut out = format!("\ncompared with the baseline, over {} codes that both prepared\n", self.both);
        let (old, new) = self.artifact_bytes;
        let change = percent(old as f64, new as f64);
        out += &format!("  artifacts {} to {}{change}\n", human_bytes(old), human_bytes(new));
        out += &format!(
            "  CPU {:.0} ms to {:.0} ms{}\n",
            self.cpu_ms.0,
            self.cpu_ms.1,
            percent(self.cpu_ms.0, self.cpu_ms.1)
        );
        if self.other_params {
            out += "  the runs had different executor parameters\n";
        }
        for (name, why) in &self.new_failures {
            out += &format!("  NOT PREPARED, AND NOT KNOWN OF THE BASELINE {}: {}\n", escaped(name), escaped(why));
        }
        for (what, names) in [
            ("prepared now and not before", &self.mended),
            ("only in the baseline", &self.only_before),
            ("not in the baseline", &self.only_now),
            ("changed", &self.changed),
        ] {
            names.iter().for_each(|name| out += &format!("  {what}: {}\n", escaped(name)));
        }
        out
    }

    pub(super) fn json(&self) -> Value {
        let failures = self.new_failures.iter().map(|(name, why)| json!({"name": name, "reason": why}));
        json!({
            "codes": self.both,
            "new_failures": failures.collect::<Vec<_>>(),
            "mended": self.mended,
            "only_before": self.only_before,
            "only_now": self.only_now,
            "artifact_bytes": change(self.artifact_bytes.0 as f64, self.artifact_bytes.1 as f64),
            "cpu_ms": change(self.cpu_ms.0, self.cpu_ms.1),
            "other_executor_params": self.other_params,
        })
    }
}

/// A number and its change as JSON.
fn change(before: f64, after: f64) -> Value {
    json!({"before": before, "after": after})
}

fn is_shown(before: f64, after: f64) -> bool {
    before > 0.0 && ((after / before - 1.0) * 100.0).abs() >= SHOWN
}

fn percent(before: f64, after: f64) -> String {
    if before > 0.0 { format!(" ({:+.1} %)", (after / before - 1.0) * 100.0) } else { String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tool::{network::limits::Network, sweep::result::NO_RESULT};
    use pvf_shared::params::ExecutorParams;

    fn entry(hash: &str, verdict: &str, bytes: u64) -> Entry {
        Entry {
            name: format!("para {hash}"),
            code_hash: hash.into(),
            code_bytes: 1,
            verdict: verdict.into(),
            reason: (verdict != "ok").then(|| "why".into()),
            artifact_bytes: Some(bytes),
            engine: None,
            cpu_ms: Some(100.0),
            max_rss_bytes: None,
        }
    }

    fn run(entries: Vec<Entry>) -> Sweep {
        let network = Network {
            snapshot: None,
            executor_params: ExecutorParams::default(),
            code_bomb_limit: 1,
            overridden: vec![],
        };
        Sweep::new(&network, entries)
    }

    #[test]
    fn what_is_different_between_two_runs_is_named() {
        let failed = "preparation_failed";
        let before = run(vec![entry("a", "ok", 100), entry("b", "ok", 10), entry("c", failed, 0), entry("d", "ok", 1)]);
        let now =
            run(vec![entry("a", "ok", 120), entry("b", failed, 0), entry("c", "ok", 5), entry("e", NO_RESULT, 0)]);
        let compared = compare(&before, &now);
        assert!(compared.is_worse());
        let text = compared.text();
        for line in [
            "NOT PREPARED, AND NOT KNOWN OF THE BASELINE para b: why",
            "prepared now and not before: para c",
            "only in the baseline: para d",
            "not in the baseline: para e",
            "changed: para a: artifact 100 B to 120 B (+20.0 %)",
            "artifacts 100 B to 120 B (+20.0 %)",
        ] {
            assert!(text.contains(line), "{line:?} is not in:\n{text}");
        }
        let new = run(vec![entry("f", failed, 0)]);
        assert!(compare(&before, &new).is_worse(), "a code that the baseline does not have");
        let unknown = run(vec![entry("a", NO_RESULT, 0)]);
        assert!(!compare(&before, &unknown).is_worse());
        let same = compare(&before, &before);
        assert!(!same.is_worse() && same.changed.is_empty());
    }
}
