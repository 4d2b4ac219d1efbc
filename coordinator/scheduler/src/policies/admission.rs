//! Which submissions are accepted: the rules for their fields, and the limits for what is here at once.

use crate::{
    settings::{Limit, Policy},
    tables::{Clients, MAX_CLIENTS, MAX_USERS, RequestClass},
};
use pvf_proto::{
    config::{INLINE_MAX, MAX_PULLED},
    identity::ClientId,
    units::{MAX_BOMB_LIMIT, MAX_TIMEOUT, MAX_WAIT},
    wire::{ExecuteSubmission, Refusal, Submission, Work},
};
use std::time::Duration;

/// Checks every rule for the fields of a submission. Executor parameters are taken as they are. A refusal names the
/// field and the limit. The shell calls this before it makes an [`Event::Submit`](crate::Event::Submit); the scheduler
/// does not check again.
pub fn check(submission: &Submission) -> Result<(), Refusal> {
    let bytes = |field, value: u64| in_range(field, value, 1, MAX_BOMB_LIMIT, "bytes");
    let ms = |field, value: Duration, max: Duration| {
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        in_range(field, ms(value), 1, ms(max), "ms")
    };
    bytes("code bomb limit", submission.code_bomb_limit.into())?;
    ms("answer_within", submission.answer_within, MAX_WAIT)?;
    if let Some(timeout) = submission.prepare_timeout {
        ms("prepare timeout", timeout, MAX_TIMEOUT)?;
    }
    if let Work::Execute(execute) = &submission.work {
        let inline = execute.block_data.inline_len() as u64;
        in_range("inline block data", inline, 0, INLINE_MAX as u64, "bytes")?;
        in_range("block data", execute.block_data.len(), 0, MAX_PULLED, "bytes")?;
        bytes("PoV bomb limit", execute.pov_bomb_limit.into())?;
        if let Some(timeout) = execute.exec_timeout {
            ms("execution timeout", timeout, MAX_TIMEOUT)?;
        }
    }
    Ok(())
}

fn in_range(field: &str, value: u64, min: u64, max: u64, unit: &str) -> Result<(), Refusal> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    Err(Refusal::OutOfRange { field: field.into(), value, min, max, unit: unit.into() })
}

/// What a submission counts as for the limits, and the bytes that it holds in memory.
pub(crate) fn class_and_bytes(work: &Work) -> (RequestClass, u64) {
    match work {
        Work::Execute(work) => (RequestClass(Some(work.kind)), execute_bytes(work)),
        Work::Precheck | Work::HeadsUp { .. } => (RequestClass(None), 0),
    }
}

/// The bytes that an execution holds in memory.
pub(crate) fn execute_bytes(work: &ExecuteSubmission) -> u64 {
    (work.block_data.inline_len() + work.context.parent_head.len()) as u64
}

/// The limit that one more request of a client would exceed, if there is one.
pub(crate) fn admission_limit(
    clients: &Clients,
    policy: &Policy,
    from: &ClientId,
    class: RequestClass,
    bytes: u64,
) -> Option<String> {
    if clients.class_usage(class).exceeds(bytes, policy.per_kind) {
        let Limit { requests, bytes } = policy.per_kind;
        return Some(format!("{} requests of all users (limit {requests} or {bytes} bytes)", class.name()));
    }
    let limits = policy.limits_of(&from.user);
    let user = clients.users().find(&from.user).and_then(|key| clients.users().get(key));
    // Also for a user of whom nothing is here yet: one request may be over the limit of bytes.
    if user.map(|user| user.usage).unwrap_or_default().exceeds(bytes, limits.limit()) {
        let Limit { requests, bytes } = limits.limit();
        return Some(format!("requests of user {} (limit {requests} or {bytes} bytes)", from.user));
    }
    if clients.find(from).is_some() {
        return None;
    }
    session_limit(clients, policy, from)
}

/// The limit that one more session would exceed, if there is one.
pub(crate) fn session_limit(clients: &Clients, policy: &Policy, from: &ClientId) -> Option<String> {
    let most = policy.limits_of(&from.user).sessions;
    let user = clients.users().find(&from.user).and_then(|key| clients.users().get(key));
    match user {
        Some(user) if user.sessions >= most => Some(format!("sessions of user {} (limit {most})", from.user)),
        None if clients.users().is_full() => Some(format!("users (limit {MAX_USERS})")),
        _ if clients.is_full() => Some(format!("sessions of all users (limit {MAX_CLIENTS})")),
        _ => None,
    }
}

/// Refuses what the operator does not allow the user of a client to ask for.
pub(crate) fn check_kind(policy: &Policy, from: &ClientId, class: RequestClass) -> Result<(), Refusal> {
    if policy.limits_of(&from.user).allows(class.name()) {
        return Ok(());
    }
    Err(Refusal::NotAllowed { user: from.user.to_string(), kind: class.name().into() })
}
