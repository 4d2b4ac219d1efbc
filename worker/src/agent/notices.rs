//! The log lines of what the core notes.

use pvf_worker_core::{DrainReason, Notice};

/// Logs a notice of the core.
pub(super) fn log(notice: &Notice) {
    match notice {
        Notice::Registered { token } => tracing::info!(token = token.0, "registered with the coordinator"),
        Notice::CoordinatorReplaced { token } => {
            tracing::info!(token = token.0, "another coordinator is active: registering with it");
        }
        Notice::RegistrationLost => tracing::warn!("the coordinator does not know this worker: registering again"),
        Notice::RegistrationRefused { why } => tracing::error!(%why, "the coordinator refuses this worker"),
        Notice::CoordinatorSilent { why } => tracing::warn!(error = %why, "the coordinator does not answer"),
        Notice::JobTaken { attempt } => tracing::debug!(%attempt, "job taken"),
        Notice::CommandRefused { why } => tracing::info!(%why, "command refused"),
        Notice::JobDisplaced { attempt } => tracing::debug!(%attempt, "staged job displaced by a more urgent one"),
        Notice::ReportUnacknowledged { attempt, why } => {
            tracing::warn!(%attempt, error = %why, "report not acknowledged, sending it again");
        }
        Notice::ReportRefused { attempt, why } => {
            tracing::error!(%attempt, %why, "the coordinator refuses a report");
        }
        Notice::Draining { jobs, why } => {
            let why = match why {
                DrainReason::Shutdown => "this process is asked to end",
                DrainReason::Asked => "an operator asks for it",
            };
            tracing::info!(jobs, why, "worker drains");
        }
        Notice::Inconsistent { what } => tracing::error!(%what, "the worker's state is inconsistent: a bug"),
    }
}
