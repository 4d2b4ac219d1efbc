//! `pvf doctor`: checks whether this machine has what a role of a fleet needs, and says how to fix what it lacks.

mod cgroup;
mod machine;
mod reach;
mod sandbox;

use super::{
    args::{Doctor, Global, Role},
    failure::{Exit, Failure},
};
use serde_json::{Value, json};

/// The result of one check.
#[derive(Debug)]
struct Check {
    name: String,
    /// What was found.
    found: String,
    /// How to fix it. `None` if the check passed.
    fix: Option<String>,
}

impl Check {
    fn green(name: impl Into<String>, found: impl Into<String>) -> Self {
        Self { name: name.into(), found: found.into(), fix: None }
    }

    fn red(name: impl Into<String>, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { name: name.into(), found: found.into(), fix: Some(fix.into()) }
    }

    /// Green if `passed`, else red.
    fn of(name: &str, passed: bool, found: impl Into<String>, fix: &str) -> Self {
        if passed { Self::green(name, found) } else { Self::red(name, found, fix) }
    }

    fn json(&self) -> Value {
        json!({"name": self.name, "ok": self.fix.is_none(), "found": self.found, "fix": self.fix})
    }

    fn print(&self) {
        let state = if self.fix.is_none() { "green" } else { "RED  " };
        outln!("{state} {:19} {}", self.name, self.found);
        if let Some(fix) = &self.fix {
            outln!("      {:19} fix: {fix}", "");
        }
    }
}

/// Succeeds if all checks are green.
pub(crate) async fn doctor(global: &Global, args: &Doctor) -> Result<Exit, Failure> {
    let mut checks = machine::checks(args.cpu_baseline.as_deref());
    // A coordinator runs no validation code, so it needs no sandbox.
    if args.role != Some(Role::Coordinator) {
        checks.extend(sandbox::checks(&args.allow_missing));
        checks.push(machine::memory_of_jobs());
        let cache = global.cache_dir.clone().unwrap_or_else(pvf_worker::agent::default_cache_dir);
        let tried = pvf_worker::agent::TriedFolder::open(&cache);
        checks.push(machine::cache_folder(&tried));
        checks.push(machine::self_test(args.cpu_baseline.as_deref(), &tried).await);
    }
    checks.extend(reach::checks(global, args.role).await);
    let red = checks.iter().filter(|check| check.fix.is_some()).count();
    if global.json {
        let all: Vec<_> = checks.iter().map(Check::json).collect();
        outln!("{}", json!({"ok": red == 0, "red": red, "checks": all}));
    } else {
        checks.iter().for_each(Check::print);
        match red {
            0 => outln!("all {} checks green", checks.len()),
            red => outln!("{red} of {} checks red", checks.len()),
        }
    }
    Ok(if red == 0 { Exit::Success } else { Exit::Negative })
}
