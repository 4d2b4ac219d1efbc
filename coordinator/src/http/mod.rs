//! What the coordinator serves over HTTP besides `/livez`, `/readyz` and `/metrics`: the read API under `/api/`, a
//! stream of events, and the page for people. Everything only reads, and there is no authentication.

mod page;
mod stream;

use crate::api::{Api, ApiError, Params};
use axum::{
    Json, Router,
    extract::{Path, RawQuery, State},
    http::{HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Redirect, Response},
    routing::get,
};
use pvf_shared::Bytes;

/// The page may load and ask this server only, and no other page may show it in a frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The routes, below this path; an empty one is the root.
pub(crate) fn routes(api: Api, prefix: &Prefix) -> Router {
    let routes = Router::new()
        .route("/", get(|| async { file("/") }))
        .route("/api/events", get(stream::events))
        .route("/api/requests/{id}", get(request))
        .route("/api/{name}", get(question))
        .with_state(api)
        .fallback(|uri: Uri| async move { file(uri.path()) });
    match prefix.0.as_str() {
        "" => routes,
        prefix => {
            let to = format!("{prefix}/");
            let unknown = || async { (StatusCode::NOT_FOUND, "try /livez, /readyz or /metrics\n") };
            // Relative links of the page need the slash.
            let redirect = Router::new().route(prefix, get(move || async move { Redirect::permanent(&to) }));
            redirect.nest(&format!("{prefix}/"), routes).fallback(unknown)
        }
    }
}

/// The path below which the page and the API are: empty, or `/` and segments.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Prefix(String);

impl std::str::FromStr for Prefix {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let trimmed = text.trim_end_matches('/');
        let is_segment = |segment: &str| {
            !segment.is_empty() && segment.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        };
        match trimmed.strip_prefix('/') {
            None if trimmed.is_empty() => Ok(Self::default()),
            Some(rest) if rest.split('/').all(is_segment) => Ok(Self(trimmed.to_owned())),
            _ => Err(format!("{text:?} is no path such as /pvf: letters, digits, - _ and . between slashes")),
        }
    }
}

async fn question(State(api): State<Api>, Path(name): Path<String>, RawQuery(query): RawQuery) -> Response {
    // The id of one request is in the path.
    if name == "request" {
        return answer(Err(ApiError::unknown(&name)));
    }
    answer(api.answer(&name, Params::of_url(query.as_deref())).await)
}

async fn request(State(api): State<Api>, Path(id): Path<String>) -> Response {
    answer(api.answer("request", Params::default().with("id", &id)).await)
}

fn answer(result: Result<serde_json::Value, ApiError>) -> Response {
    let (status, body) = match result {
        Ok(answer) => (StatusCode::OK, answer),
        Err(error) => (StatusCode::from_u16(error.code).unwrap_or(StatusCode::BAD_GATEWAY), error.json()),
    };
    let mut response = (status, Json(body)).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn file(path: &str) -> Response {
    let Some((media_type, body)) = page::file(path) else {
        return (StatusCode::NOT_FOUND, "no such page; the read API is under api/\n").into_response();
    };
    let headers = [
        (header::CONTENT_TYPE, media_type),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CACHE_CONTROL, "no-cache"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    (headers, Bytes::from_static(body)).into_response()
}

#[cfg(test)]
mod tests;
