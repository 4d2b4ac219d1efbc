//! Answers to a node's questions about security.

use super::{Probes, route::Route};
use crate::{config::Config, security::Probe};
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, sleep, timeout_at};

/// How long a fleet that does not answer is asked: it may start at the same time as the node.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(500);

impl Probes {
    /// The question, if one was asked.
    pub(super) fn asked(&self) -> Option<Probe> {
        let Self { check_can_enable_landlock, check_can_enable_seccomp, .. } = *self;
        let change_root = self.check_can_unshare_user_namespace_and_change_root.is_some();
        [
            (check_can_enable_landlock, Probe::Landlock),
            (check_can_enable_seccomp, Probe::Seccomp),
            (change_root, Probe::ChangeRoot),
            (self.check_can_do_secure_clone, Probe::SecureClone),
        ]
        .into_iter()
        .find_map(|(asked, probe)| asked.then_some(probe))
    }
}

/// Answers a question: `Ok` is yes.
///
/// # Errors
/// What is missing, or that the fleet does not answer.
pub(super) async fn answer(config: &Config, probe: Probe) -> Result<(), String> {
    // What the workers need; the node does not start without it, so it is found out here.
    config.artifact_key()?;
    config.connection()?;
    let route = Route::new(Arc::new(config.clone()));
    let deadline = Instant::now() + PATIENCE;
    loop {
        let why = match timeout_at(deadline, route.security()).await {
            Ok(Ok(security)) => return security.answer(probe),
            Ok(Err(why)) => why,
            Err(_) => "no answer".into(),
        };
        if Instant::now() + PAUSE > deadline {
            let what_helps = "start the fleet, or the node without --workers-path";
            return Err(format!("not known, the fleet does not say: {why}; {what_helps}"));
        }
        sleep(PAUSE).await;
    }
}
