//! The way of a request to its acceptance: it is submitted until a coordinator accepts it. A first submission and a
//! repeated one are the same.
//!
//! Only three things end this: the acceptance; an error that another attempt cannot change, such as a field out of
//! range; and that no coordinator answers, as long as this client has never heard of one. Everything else passes: a
//! coordinator or a bus that stands still, an overload. The caller has the request's deadline.

use super::{ClientError, Inner, announcements};
use crate::{
    bus::BusError,
    retry,
    wire::{Refusal, Submission, SubmitReply},
};
use backon::BackoffBuilder as _;
use bytes::Bytes;
use std::time::Duration;
use tokio::{sync::watch, time::Instant};

/// The longest pause while no coordinator is there: one that starts is found soon.
const LONGEST_ABSENCE_CHECK: Duration = Duration::from_secs(1);
/// The pause after an attempt without an answer.
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
/// An attempt waits for its answer at most this many times as long as the first one.
const LONGEST_WAIT_FACTOR: u32 = 4;

/// Submits a request until a coordinator accepts it. `last` is why it has not been accepted yet. A change of
/// `announced` that is not seen afterwards came after the acceptance.
pub(super) async fn obtain(
    client: &Inner,
    submission: &Submission,
    last: &mut Option<String>,
    announced: &mut watch::Receiver<u64>,
) -> Result<(), ClientError> {
    let mut attempts = Attempts {
        client,
        message: client.payloads.encode(submission.clone())?,
        wait: client.config.timing.ack,
        coordinator_seen: client.coordinator.was_heard(),
    };
    let patience_ends = &mut None;
    let mut delays = retry::SUBMISSION.build();
    loop {
        // Another coordinator knows nothing of what was sent to the one before.
        let attempt = tokio::select! {
            attempt = attempts.next() => attempt,
            () = announcements::next(announced) => {
                (attempts.wait, delays) = (client.config.timing.ack, retry::SUBMISSION.build());
                continue;
            }
        };
        let Err(error) = attempt else {
            *last = None;
            client.trouble.clear();
            return Ok(());
        };
        if is_final(&error) {
            return Err(error);
        }
        let mut pause = match &error {
            ClientError::Refused(Refusal::Overloaded { retry_after, .. }) => *retry_after,
            // The attempt itself has waited.
            ClientError::Bus(BusError::TimedOut(_)) => SHORTEST_PAUSE,
            _ => delays.next().unwrap_or_default(),
        };
        pause += retry::jitter(pause / 2);
        if matches!(error, ClientError::NoCoordinator { .. }) {
            pause = pause.min(LONGEST_ABSENCE_CHECK);
            if !attempts.coordinator_seen {
                let now = Instant::now();
                let left = patience_ends.get_or_insert(now + client.config.patience).saturating_duration_since(now);
                if left.is_zero() {
                    return Err(error);
                }
                pause = pause.min(left);
            }
        } else {
            attempts.coordinator_seen = true;
        }
        note(client, submission, last, error.to_string());
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = announcements::next(announced) => delays = retry::SUBMISSION.build(),
        }
    }
}

/// Notes why a request was not accepted. It is logged once, not with each attempt.
fn note(client: &Inner, submission: &Submission, last: &mut Option<String>, why: String) {
    let request = submission.id;
    if last.as_ref() == Some(&why) {
        tracing::debug!(%request, %why, "the request is still not accepted, submitting it again");
    } else {
        tracing::warn!(%request, %why, "the request is not accepted yet, submitting it again");
    }
    client.trouble.report(&why);
    *last = Some(why);
}

/// Whether another attempt cannot succeed.
fn is_final(error: &ClientError) -> bool {
    match error {
        ClientError::Refused(refusal) => match refusal {
            Refusal::OutOfRange { .. }
            | Refusal::Malformed(_)
            | Refusal::UnsupportedVersion { .. }
            | Refusal::NotAllowed { .. } => true,
            Refusal::Overloaded { .. } => false,
        },
        ClientError::Bus(BusError::TooLarge { .. }) => true,
        ClientError::Bus(_) | ClientError::NoCoordinator { .. } => false,
        ClientError::TooLarge { .. } | ClientError::Wire(_) | ClientError::NotAnswered { .. } | ClientError::Ended => {
            true
        }
    }
}

/// The attempts to submit one request.
struct Attempts<'a> {
    client: &'a Inner,
    /// The encoded submission.
    message: Bytes,
    /// How long the next attempt waits for its answer.
    wait: Duration,
    /// Whether there is or was a coordinator, or a bus that does not say that there is none.
    coordinator_seen: bool,
}

impl Attempts<'_> {
    async fn next(&mut self) -> Result<(), ClientError> {
        match self.client.coordinator.ask_once(&self.message, self.wait).await {
            Ok(SubmitReply::Accepted) => Ok(()),
            Ok(SubmitReply::Refused(refusal)) => Err(refusal.into()),
            Err(error) => {
                if matches!(error, ClientError::Bus(BusError::TimedOut(_))) {
                    // A coordinator that is slow gets more time, because each attempt is work for it.
                    self.wait = (self.wait * 2).min(self.client.config.timing.ack * LONGEST_WAIT_FACTOR);
                }
                Err(error)
            }
        }
    }
}
