//! An operator ends a request. Its client gets a verdict, which blames the fleet: it says nothing about the candidate.

use super::Asked;
use crate::{
    core::{Core, FollowUp, Out},
    effect::Answer,
    keys::RequestKey,
    notice::Notice,
    operations::clients::find_request,
    tables::RequestTarget,
};
use pvf_proto::{
    identity::{ClientId, UserName},
    ids::RequestId,
    verdict::{InternalError, Outcome},
    wire::{Cancellation, MAX_SAME_ID, OperatorReply},
};

/// Ends the request with this id, of this client if one is named.
pub(super) fn on_cancel(core: &mut Core, out: &mut Out, asked: Asked<(RequestId, Option<ClientId>)>) {
    let Asked { operator, message: (id, client), reply } = asked;
    let found: Vec<(RequestKey, u32, ClientId)> = match client {
        Some(client) => find_request(core, client, id).and_then(|key| open(core, key)).into_iter().collect(),
        None => {
            let keys = core.clients.keys().map(|client| RequestKey { id, client });
            keys.filter_map(|key| open(core, key)).take(MAX_SAME_ID).collect()
        }
    };
    let answer = match found[..] {
        [] => Cancellation::NotOpen,
        [(request, others, client)] => {
            end(out, request, client, operator);
            Cancellation::Done { client, others }
        }
        _ => Cancellation::Several(found.iter().map(|(_, _, client)| *client).collect()),
    };
    out.reply(reply, Answer::Operator(OperatorReply::Cancel(answer)));
}

/// A request without a verdict, with how many others wait for the same execution, and its client. One whose execution
/// is over has its verdict among the background tasks.
fn open(core: &Core, key: RequestKey) -> Option<(RequestKey, u32, ClientId)> {
    let others = match &core.requests.get(&key)?.target {
        RequestTarget::Execution { job, .. } => core.executions.get(*job)?.waiters.len().saturating_sub(1) as u32,
        RequestTarget::Preparation(_) => 0,
    };
    Some((key, others, core.clients.get(key.client)?.id))
}

fn end(out: &mut Out, request: RequestKey, client: ClientId, operator: UserName) {
    out.notice(Notice::RequestCancelled { request: request.id, client, operator });
    let why = InternalError::WorkerDraining(format!("cancelled by operator {operator}"));
    out.follow_up(FollowUp::EndRequest { request, outcome: Some(Outcome::Internal(why)) });
}
