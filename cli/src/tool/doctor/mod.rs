//! `pvf doctor`: what this machine can and cannot do for a fleet, and what helps.

mod cgroup;
mod machine;
mod reach;

use super::{
    Failure,
    args::{Doctor, Global, Role},
};
use serde_json::{Value, json};

/// One thing that was looked at.
#[derive(Debug)]
struct Check {
    name: String,
    /// What was found.
    found: String,
    /// What helps; absent: nothing is wrong.
    fix: Option<String>,
}

impl Check {
    fn green(name: impl Into<String>, found: impl Into<String>) -> Self {
        Self { name: name.into(), found: found.into(), fix: None }
    }

    fn red(name: impl Into<String>, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { name: name.into(), found: found.into(), fix: Some(fix.into()) }
    }

    /// Green if it is `well`.
    fn of(name: &str, well: bool, found: impl Into<String>, fix: &str) -> Self {
        if well { Self::green(name, found) } else { Self::red(name, found, fix) }
    }

    fn json(&self) -> Value {
        json!({"name": self.name, "ok": self.fix.is_none(), "found": self.found, "fix": self.fix})
    }

    fn print(&self) {
        let state = if self.fix.is_none() { "green" } else { "RED  " };
        println!("{state} {:18} {}", self.name, self.found);
        if let Some(fix) = &self.fix {
            println!("      {:18} fix: {fix}", "");
        }
    }
}

/// Exit code 0: all green; 1: something is red.
pub(crate) async fn doctor(global: &Global, args: &Doctor) -> Result<u8, Failure> {
    let mut checks = machine::checks(args.cpu_baseline.as_deref());
    // A coordinator runs nobody's code.
    if args.role != Some(Role::Coordinator) {
        checks.extend(machine::sandbox());
    }
    checks.extend(reach::checks(global).await);
    let red = checks.iter().filter(|check| check.fix.is_some()).count();
    if global.json {
        let all: Vec<_> = checks.iter().map(Check::json).collect();
        println!("{}", json!({"ok": red == 0, "red": red, "checks": all}));
    } else {
        checks.iter().for_each(Check::print);
        match red {
            0 => println!("all green"),
            red => println!("{red} of {} red", checks.len()),
        }
    }
    Ok(u8::from(red > 0))
}
