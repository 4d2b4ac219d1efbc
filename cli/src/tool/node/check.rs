//! Whether a fleet has what a node asks its worker executables for.

use super::super::failure::Failure;
use pvf_node::{
    config::Config,
    fleet::Fleet,
    security::{FleetSecurity, Probe},
};
use serde_json::{Value, json};

/// What the fleet answers to a node's questions.
pub(super) struct Checked(FleetSecurity);

/// Asks the fleet of these settings.
pub(super) async fn check(config: &Config) -> Result<Checked, Failure> {
    let bus = config.connection().map_err(Failure::Input)?;
    let fleet = Fleet::connect(&bus, &config.fleet.name).await?;
    let security = fleet.security().await;
    security.map(Checked).map_err(|why| Failure::no_result(&format!("fleet {}", config.fleet.name), why))
}

impl Checked {
    /// Whether a node in secure validator mode starts with it: seccomp, and a root of its own or landlock.
    pub(super) fn is_enough(&self) -> bool {
        let has = |probe| self.0.answer(probe).is_ok();
        has(Probe::Seccomp) && (has(Probe::Landlock) || has(Probe::ChangeRoot))
    }

    /// For people, a line for each question.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!("{} workers", self.0.workers())];
        lines.extend(Probe::ALL.map(|probe| match self.0.answer(probe) {
            Ok(()) => format!("yes  {}", probe.option()),
            Err(why) => format!("no   {}: {why}", probe.option()),
        }));
        if !self.0.insecure().is_empty() {
            lines.push(format!("without a complete sandbox: workers on {}", self.0.insecure().join(", ")));
        }
        lines
    }

    pub(super) fn to_json(&self) -> Value {
        let probes: serde_json::Map<_, _> = Probe::ALL
            .map(|probe| {
                let why = self.0.answer(probe).err();
                (probe.option().trim_start_matches('-').to_owned(), json!({ "yes": why.is_none(), "reason": why }))
            })
            .into_iter()
            .collect();
        json!({ "workers": self.0.workers(), "enough": self.is_enough(), "probes": probes })
    }
}
