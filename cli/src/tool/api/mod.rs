//! The read API of a fleet's coordinator, over the bus: `pvf workers`, `requests`, `artifacts`, `why` and `top`.
//!
//! A question is a request on the subject `<fleet>.v4.api.<name>` with a JSON object of parameters, and the answer is a
//! JSON object. What it contains comes from other machines: it is shown as text in which nothing can change how a
//! terminal shows what is around it (`table`).
//!
//! * `model` has the parts of answers that are shown as text; `--json` shows answers as they are.

pub(crate) mod args;
pub(crate) mod artifacts;
pub(crate) mod model;
mod prefix;
pub(crate) mod requests;
mod why;
pub(crate) mod workers;

pub(crate) use why::why;

use super::{args::Global, failure::Failure, target::bus_of, text::escaped};
use pvf_shared::{
    Bytes,
    bus::{BusError, SharedBus},
    client::{ClientConfig, fleet_status},
    ids::FleetName,
    subjects,
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::time::Duration;

/// How long a question waits for its answer: longer than the coordinator takes for any answer.
const TIMEOUT: Duration = Duration::from_secs(12);

/// Asks the coordinator of a fleet.
pub(crate) struct Api {
    bus: SharedBus,
    fleet: FleetName,
}

impl Api {
    /// Connects to the fleet's bus for this command.
    pub(crate) async fn connect(global: &Global, command: &str) -> Result<Self, Failure> {
        Ok(Self { bus: bus_of(global, command).await?, fleet: global.fleet.clone() })
    }

    /// The same on a connection that is there.
    pub(crate) fn on(bus: SharedBus, fleet: FleetName) -> Self {
        Self { bus, fleet }
    }

    /// The answer to a question. `parameters` is a JSON object; those that are null are not given.
    pub(crate) async fn ask(&self, name: &str, parameters: Value) -> Result<Value, Failure> {
        let given = match parameters {
            Value::Object(all) => all.into_iter().filter(|(_, value)| !value.is_null()).collect(),
            _ => serde_json::Map::new(),
        };
        let question = Bytes::from(Value::Object(given).to_string());
        match self.bus.request(&subjects::api(&self.fleet, name), question, TIMEOUT).await {
            Ok(answer) => decoded(&answer),
            Err(error @ (BusError::NoResponders(_) | BusError::TimedOut(_))) => Err(self.why(name, error).await),
            Err(error) => Err(error.into()),
        }
    }

    /// Why a question has no answer. A question for the status, which every role may ask, tells a coordinator that does
    /// not know this API, or a user who may not use it, from a coordinator that is not there.
    async fn why(&self, name: &str, error: BusError) -> Failure {
        let config = ClientConfig { fleet: self.fleet.clone(), ..ClientConfig::default() };
        // Of a machine that no worker is on: the answer is small.
        let version = match fleet_status(self.bus.clone(), &config, Some("")).await {
            Ok(status) => escaped(&status.version),
            Err(error) => return error.into(),
        };
        let coordinator = format!("the coordinator (version {version})");
        Failure::NoResult(match error {
            BusError::NoResponders(_) => format!(
                "{coordinator} does not offer {name:?}: it is of a version without this API, or its user has the \
                 permissions of such a version (`pvf nats render` writes those of this one)"
            ),
            _ => format!(
                "{coordinator} does not answer {name:?} to user {} within {} s: on a server with permissions the user \
                 must have the role observer or operator (`pvf nats add-user observer`), with the permissions of this \
                 version (`pvf nats render`)",
                self.bus.user(),
                TIMEOUT.as_secs()
            ),
        })
    }
}

/// The answer, or the error that it is.
fn decoded(answer: &[u8]) -> Result<Value, Failure> {
    let value = serde_json::from_slice::<Value>(answer);
    let value = value.map_err(|error| Failure::no_result("answer of the coordinator: not JSON", error))?;
    match value["error"].as_str() {
        None => Ok(value),
        // A standby, a coordinator that has just lost its lease, or one that has too much to do: later there may be an
        // answer.
        Some(error) if value["standby"] == true || value["code"].as_u64().is_some_and(|code| code >= 500) => {
            Err(Failure::NoResult(format!("coordinator: {error}")))
        }
        Some(error) => Err(Failure::Input(format!("coordinator: {error}"))),
    }
}

/// A part of an answer. Fields that this version does not know are ignored, and those that are missing or null are
/// empty.
pub(crate) fn part<T: DeserializeOwned>(value: &Value) -> Result<T, Failure> {
    T::deserialize(without_nulls(value)).map_err(|error| Failure::no_result("answer of the coordinator", error))
}

fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let known = fields.iter().filter(|(_, value)| !value.is_null());
            Value::Object(known.map(|(name, value)| (name.clone(), without_nulls(value))).collect())
        }
        Value::Array(values) => Value::Array(values.iter().map(without_nulls).collect()),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::StreamExt as _;
    use pvf_shared::{
        bus::{Bus as _, local::LocalBus},
        wire::encode,
    };
    use pvf_testkit::fixtures::fleet_status;
    use serde_json::json;
    use std::sync::Arc;

    fn api(bus: &Arc<LocalBus>) -> Api {
        Api { bus: bus.clone(), fleet: FleetName::default() }
    }

    /// Answers each message on a subject.
    async fn answer(bus: &Arc<LocalBus>, subject: subjects::Subject, answer: impl Fn(Bytes) -> Bytes + Send + 'static) {
        let mut messages = bus.subscribe(&subject).await.unwrap();
        let bus = bus.clone();
        tokio::spawn(async move {
            while let Some(message) = messages.next().await {
                let reply = message.reply.unwrap();
                bus.publish(&reply, answer(message.payload)).await.unwrap();
            }
        });
    }

    #[tokio::test]
    async fn a_question_has_the_parameters_that_are_given() {
        let bus = Arc::new(LocalBus::new());
        let subject = subjects::api(&FleetName::default(), "workers");
        answer(&bus, subject, |question| json!({ "question": String::from_utf8_lossy(&question) }).to_string().into())
            .await;
        let answer = api(&bus).ask("workers", json!({"host": "a", "kind": null, "limit": 3})).await.unwrap();
        assert_eq!(answer["question"], r#"{"host":"a","limit":3}"#);
    }

    #[tokio::test]
    async fn a_coordinator_without_the_api_is_told_from_none() {
        let bus = Arc::new(LocalBus::new());
        let status = encode(&fleet_status());
        answer(&bus, subjects::status(&FleetName::default()), move |_| status.clone()).await;
        let error = api(&bus).ask("workers", Value::Null).await.unwrap_err();
        assert!(error.to_string().contains("does not offer \"workers\""), "{error}");
        assert!(matches!(error, Failure::NoResult(_)), "{error}");
    }

    #[test]
    fn errors_are_wrong_input_unless_another_coordinator_may_answer() {
        let of = |value: Value| decoded(value.to_string().as_bytes());
        assert!(
            matches!(of(json!({"error": "no such request"})), Err(Failure::Input(why)) if why.ends_with("no such request"))
        );
        assert!(matches!(of(json!({"error": "standby: x", "standby": true})), Err(Failure::NoResult(_))));
        assert!(matches!(of(json!({"error": "busy", "code": 503})), Err(Failure::NoResult(_))));
        assert!(matches!(decoded(b"<html>"), Err(Failure::NoResult(_))));
        assert_eq!(of(json!({"error": null})).unwrap(), json!({"error": null}));
    }
}
