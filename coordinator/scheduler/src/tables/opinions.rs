//! Second opinions: what an execution was found to be, while another machine is asked or after that.

use crate::{
    keys::{AttemptKey, AttemptSite},
    time::Timestamp,
};
use pvf_proto::{
    job::AttemptEnd,
    verdict::{Outcome, WireOutcome},
    wire::{Opinion, OpinionResult, SecondOpinion},
};

/// An attempt has decided about a candidate.
#[derive(Debug)]
pub(crate) struct Decision {
    pub(crate) at: AttemptKey,
    pub(crate) site: AttemptSite,
    /// Valid or invalid.
    pub(crate) outcome: WireOutcome,
}

impl Decision {
    /// What the record of the verdict says of it.
    fn opinion(&self) -> Opinion {
        let origin = &self.site.origin;
        Opinion {
            attempt: self.at.attempt,
            worker: self.site.worker,
            host: origin.host_name.to_string(),
            engine: origin.engine.clone(),
            host_functions: origin.host_functions.to_string(),
            version: origin.version.to_string(),
            end: if let Outcome::Valid(_) = self.outcome { AttemptEnd::Valid } else { AttemptEnd::Invalid },
            reason: self.outcome.reason(),
            result: if let Outcome::Valid(result) = &self.outcome { Some(result.hash()) } else { None },
        }
    }
}

/// The first opinion on a candidate, while the second one is awaited.
#[derive(Debug)]
pub(crate) struct FirstOpinion {
    pub(crate) decision: Decision,
    /// When it stands, even if an attempt elsewhere has begun.
    pub(crate) end: Timestamp,
    /// When its timer fires: first when an attempt elsewhere must have begun.
    pub(crate) timer: Timestamp,
}

impl FirstOpinion {
    /// The record if there is no second opinion.
    pub(crate) fn alone(&self, why: String) -> SecondOpinion {
        SecondOpinion { result: OpinionResult::Missing(why), opinions: vec![self.decision.opinion()] }
    }

    /// The record if this is the second opinion.
    pub(crate) fn with(&self, second: &Decision) -> SecondOpinion {
        let opinions = vec![self.decision.opinion(), second.opinion()];
        let agree = opinions[0].agrees_with(&opinions[1]);
        let result = if agree { OpinionResult::Agreed } else { OpinionResult::Disagreed };
        SecondOpinion { result, opinions }
    }
}

/// Whether an execution has, or gets, a second opinion.
#[derive(Debug, Default)]
pub(crate) enum Opinions {
    /// It was not decided yet, or needs none.
    #[default]
    None,
    /// It was decided once, and another machine is asked.
    First(Box<FirstOpinion>),
    /// Asking is over: the execution ends in the same step.
    Over(Box<SecondOpinion>),
}

impl Opinions {
    /// The first opinion, while the second one is awaited.
    pub(crate) fn first(&self) -> Option<&FirstOpinion> {
        if let Self::First(first) = self { Some(first) } else { None }
    }

    /// The same, to change it.
    pub(crate) fn first_mut(&mut self) -> Option<&mut FirstOpinion> {
        if let Self::First(first) = self { Some(first) } else { None }
    }

    /// Takes the first opinion, if the second one is awaited.
    pub(crate) fn take_first(&mut self) -> Option<Box<FirstOpinion>> {
        match std::mem::take(self) {
            Self::First(first) => Some(first),
            other => {
                *self = other;
                None
            }
        }
    }

    /// Takes the record, if asking is over.
    pub(crate) fn take_record(&mut self) -> Option<Box<SecondOpinion>> {
        match std::mem::take(self) {
            Self::Over(record) => Some(record),
            other => {
                *self = other;
                None
            }
        }
    }
}
