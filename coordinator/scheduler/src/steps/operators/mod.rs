//! What operators ask for. Each message is bounded work, and has one answer.

mod cancel;
mod drain;
mod pins;
mod remove;

pub(crate) use pins::on_pins_saved;

use crate::{
    core::{Core, Out},
    time::Timestamp,
};
use pvf_proto::{identity::UserName, subjects::Subject, wire::FromOperator};

/// A message of an operator, and where the answer goes.
pub(crate) struct Asked<T> {
    pub(crate) operator: UserName,
    pub(crate) message: T,
    pub(crate) reply: Option<Subject>,
}

/// Why nothing is changed or removed before the store has said which codes are pinned.
const PINS_NOT_KNOWN: &str = "the coordinator has not read yet which codes are pinned: it has just become active, or the \
                              store does not answer";
/// Why nothing is changed or removed for one more operator.
const TOO_MANY_WAIT: &str = "too many requests of operators wait for the store";

/// An operator asks for something.
pub(crate) fn on_message(core: &mut Core, out: &mut Out, asked: Asked<FromOperator>, now: Timestamp) {
    let Asked { operator, message, reply } = asked;
    match message {
        FromOperator::Drain { workers } => drain::on_drain(core, out, (operator, workers), reply),
        FromOperator::Cancel { request, client } => {
            cancel::on_cancel(core, out, Asked { operator, message: (request, client), reply });
        }
        FromOperator::Pin { code } => pins::on_pin(core, out, Asked { operator, message: (code, true), reply }),
        FromOperator::Unpin { code } => pins::on_pin(core, out, Asked { operator, message: (code, false), reply }),
        FromOperator::Remove { artifacts } => {
            remove::on_remove(core, out, Asked { operator, message: artifacts, reply }, now);
        }
        FromOperator::Prune { older_than, dry_run } => {
            remove::on_prune(core, out, Asked { operator, message: (older_than, dry_run), reply }, now);
        }
    }
}
