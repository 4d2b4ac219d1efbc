//! What all parts of a check work with.

use super::report::Thresholds;
use crate::tool::{
    explain::{Explainer, args::ExplainArgs},
    files::pov::Extension,
    network::limits::Network,
    progress::Progress,
    target::Target,
};
use pvf_shared::{params::PvfExecKind, units::MAX_TIMEOUT};
use std::time::Duration;

/// A run may take this many times as long as the limit of backing.
const PATIENCE: u32 = 10;

/// What a check works with.
pub(crate) struct Checking<'a> {
    pub(crate) target: &'a Target,
    pub(crate) network: &'a Network,
    pub(crate) extension: Extension,
    pub(crate) thresholds: Thresholds,
    pub(crate) runs: u16,
    pub(crate) explain: &'a ExplainArgs,
    pub(crate) explainer: Explainer,
    pub(crate) progress: &'a Progress,
}

impl Checking<'_> {
    /// CPU time limit of a run: how far over the limit of backing a block is, is worth knowing.
    pub(crate) fn run_limit(&self) -> Duration {
        let params = &self.network.executor_params;
        let patient = params.exec_timeout(PvfExecKind::Backing).saturating_mul(PATIENCE);
        patient.max(params.exec_timeout(PvfExecKind::Approval)).min(MAX_TIMEOUT)
    }

    /// Says what is being done.
    pub(crate) fn now(&self, what: String) {
        self.progress.now(what);
    }
}
