//! Operators pin codes, so that their artifacts stay however long they are not needed. An operator is answered when the
//! store has it: then a coordinator that takes over knows it too.

use super::{Asked, PINS_NOT_KNOWN, TOO_MANY_WAIT};
use crate::{
    core::{Core, Out},
    effect::{Answer, Effect},
    notice::Notice,
    tables::PinAsked,
};
use pvf_proto::{
    ids::CodeHash,
    subjects::Subject,
    verdict::clean_reason,
    wire::{MAX_PINNED, OperatorReply, Pinning},
};

/// A code is pinned, or not any more.
pub(super) fn on_pin(core: &mut Core, out: &mut Out, asked: Asked<(CodeHash, bool)>) {
    let Asked { operator, message: (code, pinned), reply } = asked;
    if !core.pins.are_known() {
        return answer(out, reply, Pinning::NotNow(PINS_NOT_KNOWN.into()));
    }
    if core.pins.are_waited_for() {
        return answer(out, reply, Pinning::NotNow(TOO_MANY_WAIT.into()));
    }
    if pinned && !core.pins.contains(&code) && core.pins.are_full() {
        return answer(out, reply, Pinning::TooMany(MAX_PINNED as u32));
    }
    let changed = core.pins.set(code, pinned);
    if changed {
        out.notice(Notice::CodePinned { code, pinned, operator });
    }
    let asked = PinAsked { code, changed, reply };
    if core.pins.are_saved() {
        return answer_saved(core, out, asked);
    }
    core.pins.wait(asked);
    save(core, out);
}

/// The store has what was pinned, or could not take it for this reason.
pub(crate) fn on_pins_saved(core: &mut Core, out: &mut Out, error: Option<&str>) {
    for asked in core.pins.saved(error.is_some()) {
        match error {
            None => answer_saved(core, out, asked),
            Some(error) => answer(out, asked.reply, Pinning::NotSaved(clean_reason(error))),
        }
    }
    save(core, out);
}

fn save(core: &mut Core, out: &mut Out) {
    if let Some(codes) = core.pins.begin_saving() {
        out.effect(Effect::SavePins { codes });
    }
}

fn answer_saved(core: &Core, out: &mut Out, asked: PinAsked) {
    let of_code = core.artifacts.of_code(asked.code).filter_map(|key| core.artifacts.get(key));
    let (artifacts, bytes) = of_code.fold((0, 0), |(n, bytes), artifact| (n + 1, bytes + artifact.bytes));
    answer(out, asked.reply, Pinning::Saved { changed: asked.changed, artifacts, bytes });
}

fn answer(out: &mut Out, reply: Option<Subject>, answer: Pinning) {
    out.reply(reply, Answer::Operator(OperatorReply::Pin(answer)));
}
