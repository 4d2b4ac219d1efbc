//! The read API on the bus: the endpoints of the coordinator's service.

use super::{Api, NAMES, Params};
use futures::{FutureExt as _, future::BoxFuture};
use pvf_shared::{
    Bytes,
    bus::{Endpoint, Service, ServiceAnswer},
    ids::FleetName,
    subjects,
};
use std::sync::Arc;

/// The service of the active coordinator.
pub(crate) fn active(api: &Api, fleet: &FleetName, max_payload: usize) -> Service {
    let endpoint = |name: &'static str| {
        let api = api.clone();
        let answer = move |question: Bytes| -> BoxFuture<'static, ServiceAnswer> {
            let api = api.clone();
            async move { answer(&api, name, &question, max_payload).await }.boxed()
        };
        Endpoint { name, subject: subjects::api(fleet, name), answer: Arc::new(answer) }
    };
    Service { endpoints: NAMES.into_iter().map(endpoint).collect(), ..standby(fleet) }
}

/// The service of a coordinator that waits for the lease: it is there, and answers no questions.
pub(crate) fn standby(fleet: &FleetName) -> Service {
    Service {
        name: "pvf-coordinator",
        description: "Queues and dispatches the requests of a PVF validation fleet; endpoints: the active coordinator",
        metadata: vec![("fleet", fleet.to_string())],
        endpoints: Vec::new(),
    }
}

async fn answer(api: &Api, name: &str, question: &[u8], max_payload: usize) -> ServiceAnswer {
    let answer = match Params::of_json(question) {
        Ok(params) => api.answer(name, params).await,
        Err(error) => Err(error),
    };
    match answer {
        Ok(answer) => {
            let body = Bytes::from(answer.to_string());
            if body.len() <= max_payload {
                return ServiceAnswer { body, error: None };
            }
            let why = format!(
                "the answer has {} bytes, and a message of this bus at most {max_payload}: ask with a lower limit",
                body.len()
            );
            failed(413, &why, &serde_json::json!({ "error": why, "code": 413 }))
        }
        Err(error) => failed(error.code, &error.message, &error.json()),
    }
}

fn failed(code: u16, why: &str, body: &serde_json::Value) -> ServiceAnswer {
    ServiceAnswer { body: Bytes::from(body.to_string()), error: Some((code, why.to_owned())) }
}
