//! The directory of services of NATS: `$SRV.PING`, `$SRV.INFO` and `$SRV.STATS`, which `nats service` asks.

use crate::bus::{Endpoint, Offered, Service};
use async_nats::{
    Client, HeaderMap,
    service::{NATS_SERVICE_ERROR, NATS_SERVICE_ERROR_CODE, ServiceExt as _, endpoint, error},
};
use futures::{FutureExt as _, StreamExt as _, future::join_all};
use std::collections::HashMap;

/// Offers a service until the result is dropped.
pub(super) async fn offer(client: &Client, service: Service) -> Result<Offered, String> {
    let Service { name, description, metadata, endpoints } = service;
    let metadata: HashMap<String, String> = metadata.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    let builder = client.service_builder().description(description).metadata(metadata);
    let service = builder.start(name, env!("CARGO_PKG_VERSION")).await.map_err(|error| error.to_string())?;
    let mut answering = Vec::new();
    for endpoint in endpoints {
        let questions = service.endpoint_builder().name(endpoint.name).add(endpoint.subject.as_str()).await;
        let questions = questions.map_err(|error| error.to_string())?;
        answering.push(answer(questions, endpoint).boxed());
    }
    let answering = tokio::spawn(async move { drop(join_all(answering).await) }).abort_handle();
    Ok(Offered::until(move || {
        answering.abort();
        // Dropping a service does not end it; this does, without waiting for anything.
        let _ = service.stop().now_or_never();
    }))
}

/// Answers questions, one after the other.
async fn answer(mut questions: endpoint::Endpoint, endpoint: Endpoint) {
    while let Some(question) = questions.next().await {
        let answer = (endpoint.answer)(question.message.payload.clone()).await;
        let sent = match answer.error {
            None => question.respond(Ok(answer.body)).await,
            Some((code, text)) if answer.body.is_empty() => {
                question.respond(Err(error::Error { status: text, code: code.into() })).await
            }
            // The library sends no body with an error.
            Some((code, text)) => {
                let mut headers = HeaderMap::new();
                headers.insert(NATS_SERVICE_ERROR, text.as_str());
                headers.insert(NATS_SERVICE_ERROR_CODE, code.to_string().as_str());
                question.respond_with_headers(Ok(answer.body), headers).await
            }
        };
        if let Err(error) = sent {
            tracing::warn!(%error, endpoint = endpoint.name, "an answer could not be sent");
        }
    }
}
