//! Programs of protocol version 3 and before: they speak on subjects of their own, and do not know those of this
//! version. Each is told to be upgraded, and the log names that there are some.
//!
//! The coordinator hears them only on a server without permissions: no role may publish there. It answers only to what
//! can be an inbox of such a program, because the sender of a request chooses its reply subject.

use crate::outbox::Outbox;
use futures::StreamExt as _;
use pvf_shared::{
    Bytes,
    bus::Subscription,
    repeats::Repeats,
    subjects::Subject,
    wire::{self, FromClient, FromWorker, WireError},
};
use std::time::Duration;
use tokio::time::Instant;

/// They are logged at most once in this time.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// What speaks on a subject of earlier versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Older {
    Client,
    Worker,
}

impl Older {
    fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Worker => "worker",
        }
    }

    /// Why the message is not understood, whatever version it has.
    fn error(self, payload: &[u8]) -> String {
        let decoded: Result<(), WireError> = match self {
            Self::Client => wire::decode::<FromClient>(payload).map(drop),
            Self::Worker => wire::decode::<FromWorker>(payload).map(drop),
        };
        let on_old_subject = || "message on a subject of protocol version 3: upgrade the sender".into();
        decoded.map_or_else(|error| error.to_string(), |()| on_old_subject())
    }

    fn refusal(self, why: &str) -> Bytes {
        match self {
            Self::Client => wire::refuse_older_client(why),
            Self::Worker => wire::refuse_older_worker(why),
        }
    }

    /// Refuses what comes, until the subscription ends.
    pub(crate) async fn refuse(self, mut messages: Subscription, outbox: Outbox) {
        let mut repeats = Repeats::of(LOG_INTERVAL);
        while let Some(message) = messages.next().await {
            let (what, why) = (self.name(), self.error(&message.payload));
            if let Some(unlogged) = repeats.happened(Instant::now()) {
                tracing::warn!(
                    subject = %message.subject, %why, messages_before = unlogged,
                    "a {what} of an older version of the protocol is refused: it speaks on a subject that this version \
                     does not have; upgrade it"
                );
            }
            if let Some(reply) = message.reply.filter(Subject::is_inbox_of_older) {
                outbox.refuse_older(reply, self.refusal(&why));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        outbound::Outbound,
        testing::{fleet, in_time, local_bus, new_client, term},
    };
    use pvf_shared::{
        bus::{Bus as _, Message},
        config::ProtocolTimeouts,
        subjects,
    };

    /// The goodbye of a worker of version 3; its content does not matter.
    const FRAME: &[u8] = b"\x82\xa1v\x03\xa1m\xa7goodbye";

    #[tokio::test]
    async fn each_is_told_to_be_upgraded_in_its_own_encoding_and_only_in_its_own_inbox() {
        let bus = local_bus(4096);
        let inbox = Subject::received("_INBOX.abc.7");
        let victim = subjects::client_verdicts(&fleet(), &new_client());
        let [mut answers, mut stolen] = [bus.subscribe(&inbox).await.unwrap(), bus.subscribe(&victim).await.unwrap()];
        for (older, subject) in [
            (Older::Client, subjects::from_older_clients(&fleet())),
            (Older::Worker, subjects::from_older_workers(&fleet())),
        ] {
            let (outbox, posted) = Outbox::open();
            let message = |reply: Option<&Subject>| Message {
                subject: subject.clone(),
                payload: Bytes::from_static(FRAME),
                reply: reply.cloned(),
                trace: None,
            };
            let messages = vec![message(Some(&victim)), message(None), message(Some(&inbox))];
            in_time(older.refuse(futures::stream::iter(messages).boxed(), outbox)).await;
            let term = term();
            let outbound = Outbound { bus: bus.clone(), fleet: fleet(), timing: ProtocolTimeouts::default(), term };
            in_time(outbound.publish(posted)).await;
            let why = "message of protocol version 3, but this build supports versions 4: upgrade the sender";
            assert_eq!(in_time(answers.next()).await.unwrap().payload, older.refusal(why));
        }
        assert!(futures::FutureExt::now_or_never(stolen.next()).is_none());
        assert!(futures::FutureExt::now_or_never(answers.next()).is_none());
    }

    #[test]
    fn the_error_names_the_version_or_the_subject() {
        for older in [Older::Client, Older::Worker] {
            assert!(older.error(FRAME).contains("version 3"));
            assert!(older.error(b"\xc1").contains("malformed"));
        }
        let current = wire::encode(&FromWorker::Goodbye);
        assert!(Older::Worker.error(&current).contains("subject of protocol version 3"));
    }
}
