//! Steps: what each event and each follow-up does. Steps use operations, policies and tables, and never each other:
//! what follows is pushed as a `FollowUp` and comes through [`run`].

pub(crate) mod artifacts;
pub(crate) mod attempts;
pub(crate) mod background;
pub(crate) mod clients;
pub(crate) mod delivery;
pub(crate) mod dispatch;
pub(crate) mod finish;
pub(crate) mod operators;
pub(crate) mod placing;
pub(crate) mod recall;
pub(crate) mod status;
pub(crate) mod submit;
pub(crate) mod workers;

use crate::{
    core::{Core, FollowUp, Out},
    time::Timestamp,
};
use artifacts::Serving;
use finish::{ExecutionEnd, PreparationEnd};

/// Runs a follow-up.
pub(crate) fn run(core: &mut Core, out: &mut Out, follow_up: FollowUp, now: Timestamp) {
    match follow_up {
        FollowUp::PlaceExecution(job) => placing::place_execution(core, out, job, now),
        FollowUp::PlacePreparation(request) => placing::place_preparation(core, out, request, now),
        FollowUp::NeedArtifact(need) => artifacts::need(core, out, need, now),
        FollowUp::ServeWaiter { waiter, artifact } => {
            artifacts::serve(core, out, Serving { waiter, artifact, waited: true }, now);
        }
        FollowUp::FinishExecution { job, outcome, worker } => {
            finish::execution(core, out, ExecutionEnd { job, outcome, worker }, now);
        }
        FollowUp::FinishPreparation { request, outcome, prepared } => {
            finish::preparation(core, out, PreparationEnd { request, outcome, prepared }, now);
        }
        FollowUp::EndRequest { request, outcome } => finish::end_request(core, out, request, outcome, now),
        FollowUp::ReassignStranded => workers::reassign_stranded(core, out, now),
        FollowUp::AdoptedReport { worker, report } => attempts::on_adopted_report(core, out, worker, *report, now),
        FollowUp::AttemptLost { ended, loss } => attempts::on_lost(core, out, ended, loss, now),
    }
}
