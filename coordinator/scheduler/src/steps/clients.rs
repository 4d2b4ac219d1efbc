//! Messages of clients other than submissions, and their silence.

use crate::{
    core::{BackgroundTask, Core, FollowUp, Out},
    effect::{Answer, Effect},
    keys::ClientKey,
    notice::Notice,
    operations::clients::{find_request, forget_user, note_heard},
    policies::session_limit,
    tables::Timer,
    time::Timestamp,
};
use pvf_proto::{
    identity::ClientId,
    ids::RequestId,
    subjects::Subject,
    wire::{ActiveLeavesUpdate, AskReply, CompilingRequest, Refusal, SubmitReply},
};
use std::time::Duration;

/// How long the leaves of a client without requests are remembered.
const FORGET_CLIENT: Duration = Duration::from_secs(600);

/// A message of a client, and where the answer goes.
pub(crate) struct ClientMessage<T> {
    pub(crate) client: ClientId,
    pub(crate) body: T,
    pub(crate) reply: Option<Subject>,
}

/// A client's question.
pub(crate) struct Question {
    /// Requests without a verdict.
    pub(crate) requests: Vec<RequestId>,
    /// Requests whose verdicts have come.
    pub(crate) heard: Vec<RequestId>,
}

/// A client asks for verdicts that it misses: known ones are sent again, unknown requests are named. Those that it has
/// are forgotten.
pub(crate) fn on_ask(core: &mut Core, out: &mut Out, message: ClientMessage<Question>, now: Timestamp) {
    let ClientMessage { client, body: Question { requests, heard }, reply } = message;
    for id in heard {
        core.verdicts.heard(client, id, now);
    }
    // A question adds no client to the table: sessions cost nothing to invent.
    if let Some(client) = core.clients.find(&client) {
        note_heard(core, client, now);
    }
    let (mut unknown, mut compiling) = (Vec::new(), Vec::new());
    for id in requests {
        if let Some(verdict) = core.verdicts.get(&id, client) {
            out.effect(Effect::Verdict { client, verdict: verdict.clone(), about: None });
        } else if let Some(key) = find_request(core, client, id) {
            if let Some(job) = core.preparation_of(&key)
                && let Some(progress) = core.compile_progress(job)
            {
                compiling.push(CompilingRequest { request: id, job, progress });
            }
        } else {
            // A client that asks for it does not have it, whatever it said before.
            core.verdicts.remove(client, &id);
            unknown.push(id);
        }
    }
    out.reply(reply, Answer::Ask(AskReply { unknown, compiling }));
}

/// A client cancels one of its requests. The cancellation may overtake the submission.
pub(crate) fn on_cancel(core: &mut Core, out: &mut Out, message: ClientMessage<RequestId>) {
    let ClientMessage { client, body: id, reply } = message;
    out.reply(reply, Answer::Submit(SubmitReply::Accepted));
    // The submission, or a repetition of it, may still be on its way.
    core.cancellations.note(id, client);
    if let Some(request) = find_request(core, client, id) {
        out.follow_up(FollowUp::EndRequest { request, outcome: None });
    }
}

/// A client's view of the relay chain changed: requests of retired leaves expire, unless they run.
pub(crate) fn on_leaves(core: &mut Core, out: &mut Out, message: ClientMessage<ActiveLeavesUpdate>, now: Timestamp) {
    let ClientMessage { client: id, body: update, reply } = message;
    if core.clients.find(&id).is_none()
        && let Some(what) = session_limit(&core.clients, &core.config.policy, &id)
    {
        let retry_after = core.config.policy.retry_after;
        out.reply(reply, Answer::Submit(SubmitReply::Refused(Refusal::Overloaded { what, retry_after })));
        return;
    }
    out.reply(reply, Answer::Submit(SubmitReply::Accepted));
    let Some(client) = core.clients.find_or_add(id) else { return };
    note_heard(core, client, now);
    for leaf in core.clients.update_leaves(client, &update) {
        out.background.push_back(BackgroundTask::ExpireOrphans(client, leaf));
    }
}

/// The silence timer of a client fired.
pub(crate) fn on_silence(core: &mut Core, out: &mut Out, key: ClientKey, now: Timestamp) {
    let silence = core.config.policy.client_silence;
    let link = core.link_up_since.map(|up| now.since(up));
    let Some(client) = core.clients.get_mut(key) else {
        return out.inconsistent(format_args!("client {key:?} has a silence timer and is not known"));
    };
    let silent = now.since(client.last_heard);
    if !client.has_requests() && silent >= FORGET_CLIENT.max(silence) {
        let user = client.user;
        core.clients.forget(key);
        forget_user(core, user);
        return;
    }
    // Silence counts only while the coordinator itself was connected.
    let gone = silent >= silence && link.is_some_and(|up| up >= silence);
    if gone && !client.gone && client.has_requests() {
        out.notice(Notice::ClientGone { client: client.id, silent });
    }
    client.gone = gone;
    let at = now.after(if silent >= silence { silence } else { silence - silent });
    client.silence_timer = Some(at);
    core.timers.set(Timer::ClientSilence(key), at);
}
