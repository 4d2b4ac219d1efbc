//! `pvf drain`: has workers of a fleet drain, and waits until they have left.

pub(crate) mod args;
mod names;

use super::{
    args::Global,
    failure::{Exit, Failure},
    operate::Operating,
};
use args::Drain;
use names::Target;
use pvf_shared::{
    client::{ClientError, Operator},
    telemetry::to_stderr,
    wire::{DrainState, WorkerDrain},
};
use serde_json::json;
use std::time::Duration;
use tokio::time::Instant;

/// How often the coordinator is asked.
const INTERVAL: Duration = Duration::from_millis(500);
/// For how long a worker may be unknown to a coordinator that takes over: as long as its silence may last.
const UNKNOWN_FOR: Duration = Duration::from_secs(10);

/// Exit code 2 if a worker is not there or not named clearly, 3 if one was lost or does not leave in time.
pub(crate) async fn drain(global: &Global, args: &Drain) -> Result<Exit, Failure> {
    let operating = Operating::connect(global, "drain").await?;
    let operator = &operating.operator;
    let status = operator.status(args.host.as_deref()).await?;
    let targets = names::resolve(&status, args)?;
    let first = ask(operator, &targets).await.map_err(|error| operating.not_taken(error))?;
    let mut wait = Wait { global, no_wait: args.no_wait, waiting: targets, worst: Exit::Success };
    wait.hear(&first);
    let give_up = Instant::now() + global.wait;
    while !wait.waiting.is_empty() && Instant::now() < give_up {
        tokio::time::sleep(INTERVAL).await;
        match ask(operator, &wait.waiting).await {
            Ok(drains) => wait.hear(&drains),
            // Another coordinator may take over.
            Err(ClientError::NoCoordinator { .. } | ClientError::Bus(_)) => {
                to_stderr(format_args!("waiting for a coordinator that answers"));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(wait.over())
}

async fn ask(operator: &Operator, targets: &[Target]) -> Result<Vec<WorkerDrain>, ClientError> {
    let workers: Vec<_> = targets.iter().map(|target| target.worker).collect();
    operator.drain(&workers).await
}

/// The workers that have not left.
struct Wait<'a> {
    global: &'a Global,
    no_wait: bool,
    waiting: Vec<Target>,
    worst: Exit,
}

impl Wait<'_> {
    /// The coordinator says what has become of the workers.
    fn hear(&mut self, drains: &[WorkerDrain]) {
        for mut target in std::mem::take(&mut self.waiting) {
            let drain = drains.iter().find(|drain| drain.worker == target.worker);
            let state = drain.map_or(DrainState::Unknown, |drain| drain.state);
            if self.is_over(&mut target, state) {
                self.end(&target, state);
            } else {
                target.show(state);
                self.waiting.push(target);
            }
        }
    }

    /// Whether a worker is waited for no longer.
    fn is_over(&self, target: &mut Target, state: DrainState) -> bool {
        match state {
            DrainState::Left | DrainState::Lost => true,
            DrainState::Unknown => {
                let since = *target.unknown_since.get_or_insert_with(Instant::now);
                self.no_wait || since.elapsed() >= UNKNOWN_FOR
            }
            DrainState::Told { .. } | DrainState::Draining { .. } => {
                target.unknown_since = None;
                self.no_wait
            }
        }
    }

    /// Says what has become of a worker.
    fn end(&mut self, target: &Target, state: DrainState) {
        let error = match state {
            DrainState::Left | DrainState::Told { .. } | DrainState::Draining { .. } => None,
            DrainState::Lost => Some("it was lost while it drained: what it had is done elsewhere"),
            DrainState::Unknown => {
                Some("it is not registered any more, and the coordinator does not know whether it has left or was lost")
            }
        };
        self.report(target, state, error);
    }

    fn report(&mut self, target: &Target, state: DrainState, error: Option<&str>) {
        let Target { worker, host, .. } = target;
        if let Some(error) = error {
            self.worst = Exit::NoResult;
            to_stderr(format_args!("error: {worker}: {error}"));
        }
        let (name, jobs) = match state {
            DrainState::Told { jobs } => ("told", Some(jobs)),
            DrainState::Draining { jobs } => ("draining", Some(jobs)),
            DrainState::Left => ("left", None),
            DrainState::Lost => ("lost", None),
            DrainState::Unknown => ("unknown", None),
        };
        if self.global.json {
            let worker = worker.to_string();
            outln!("{}", json!({ "worker": worker, "host": host, "state": name, "jobs": jobs, "error": error }));
        } else if error.is_none() {
            outln!("{worker}: {}", described(state));
        }
    }

    /// What still waits has not left in time.
    fn over(mut self) -> Exit {
        for target in std::mem::take(&mut self.waiting) {
            let after = self.global.wait.as_secs_f32();
            let error = format!("it has not left after {after} s, and goes on draining ({})", described(target.state));
            self.report(&target, target.state, Some(&error));
        }
        self.worst
    }
}

/// A state in words.
fn described(state: DrainState) -> String {
    let with = |what: &str, jobs: u32| match jobs {
        0 => format!("{what}, no jobs"),
        1 => format!("{what}, 1 job"),
        jobs => format!("{what}, {jobs} jobs"),
    };
    match state {
        DrainState::Told { jobs } => with("told to drain", jobs),
        DrainState::Draining { jobs } => with("draining", jobs),
        DrainState::Left => "left".into(),
        DrainState::Lost => "lost".into(),
        DrainState::Unknown => "not registered".into(),
    }
}

impl Target {
    /// Shows on stderr what is waited for, when it has changed.
    fn show(&mut self, state: DrainState) {
        if self.shown.replace(state) != Some(state) {
            to_stderr(format_args!("{}: waiting: {}", self.worker, described(state)));
        }
        self.state = state;
    }
}
