//! What operators change in a fleet besides its workers: requests that are to end, artifacts that are to stay or to go.
//!
//! Each action is sent once, after the coordinator has answered a message that asks for nothing: so a user who may not
//! act is told soon, while an action may wait for the store.

mod cancel;
mod pins;
mod removals;

pub(crate) use cancel::cancel;
pub(crate) use pins::pin;
pub(crate) use removals::{prune, rm};

use super::{api::Api, args::Global, failure::Failure, target::bus_of, text::escaped};
use pvf_shared::{
    bus::{Bus as _, BusError, SharedBus},
    client::{ClientConfig, ClientError, Operator},
    identity::UserName,
    ids::FleetName,
    wire::Refusal,
};

/// An operator of a fleet.
pub(crate) struct Operating {
    pub(crate) operator: Operator,
    bus: SharedBus,
    fleet: FleetName,
    user: UserName,
}

impl Operating {
    /// Connects to the fleet's bus for this command.
    pub(crate) async fn connect(global: &Global, command: &str) -> Result<Self, Failure> {
        let bus = bus_of(global, command).await?;
        let (user, fleet) = (bus.user(), global.fleet.clone());
        let config = ClientConfig { fleet: fleet.clone(), ..ClientConfig::default() };
        Ok(Self { operator: Operator::new(bus.clone(), &config), bus, fleet, user })
    }

    /// The coordinator's read API, on the same connection.
    fn api(&self) -> Api {
        Api::on(self.bus.clone(), self.fleet.clone())
    }

    /// Has the coordinator do something, once it is known that it answers this user.
    async fn act<T>(&self, action: impl Future<Output = Result<T, ClientError>>) -> Result<T, Failure> {
        // Of a machine that no worker is on: the answer is small.
        let version = self.operator.status(Some("")).await?.version;
        self.operator.check().await.map_err(|error| self.not_taken(error))?;
        action.await.map_err(|error| not_done(error, &version))
    }

    /// The coordinator has just told its status, and does not answer an operator.
    pub(crate) fn not_taken(&self, error: ClientError) -> Failure {
        match error {
            ClientError::NoCoordinator { .. } | ClientError::Bus(BusError::TimedOut(_)) => {
                let user = &self.user;
                let roles =
                    "on a server with permissions it must have the role operator (`pvf nats add-user operator`)";
                let older = "and the coordinator must be of a version that knows operators, with its permissions \
                             (`pvf nats render`)";
                Failure::NoResult(format!("the coordinator does not answer requests of user {user}: {roles}, {older}"))
            }
            error => error.into(),
        }
    }
}

/// Why an action has no answer, of a coordinator of this version that knows operators.
fn not_done(error: ClientError, version: &str) -> Failure {
    match error {
        ClientError::Refused(Refusal::Malformed(why)) => Failure::NoResult(format!(
            "the coordinator (version {}) does not know this request: upgrade it ({})",
            escaped(version),
            escaped(&why)
        )),
        ClientError::Bus(BusError::TimedOut(_)) => Failure::NoResult(
            "the coordinator has not answered: it is being replaced, or waits for the store. It may or may not have done \
             it; asking again does no harm"
                .into(),
        ),
        error => error.into(),
    }
}

/// Nothing was done, for a reason that passes.
fn not_now(why: &str) -> Failure {
    Failure::NoResult(format!("the coordinator has done nothing, ask again: {}", escaped(why)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tool::failure::Exit;
    use pvf_shared::wire::{self, FromOperator, SubmitReply};

    /// What a coordinator of an earlier version answers to a request that it does not know.
    #[test]
    fn a_coordinator_that_does_not_know_a_request_is_to_be_upgraded() {
        let unknown = wire::encode(&FromOperator::Prune { older_than: None, dry_run: true });
        let why = wire::decode::<SubmitReply>(&unknown).unwrap_err().to_string();
        let failure = not_done(ClientError::Refused(Refusal::Malformed(why)), "1.2");
        let text = failure.to_string();
        assert!(text.starts_with("the coordinator (version 1.2) does not know this request: upgrade it ("), "{text}");
        assert_eq!(failure.exit(), Exit::NoResult);
    }
}
