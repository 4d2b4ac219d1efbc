//! Questions to a relay chain's node by JSON-RPC over HTTP.

use crate::tool::failure::Failure;
use serde_json::{Value, json};
use std::time::Duration;

/// How long a node may take for one answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// How long a connection may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// Largest answer, bytes: a code as hex, and what is around it.
const MAX_ANSWER: usize = 64 << 20;

/// A node.
pub(crate) struct Node {
    client: reqwest::Client,
    url: reqwest::Url,
}

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RpcError {
    /// The node cannot be reached, or does not answer as it should.
    #[error("node {url}: {why}")]
    Transport { url: String, why: String },
    /// The node answers that it cannot do this.
    #[error("node {url}: {method}: {why}")]
    Refused { url: String, method: String, why: String },
}

impl RpcError {
    /// Whether the node's runtime does not have what was asked for. There is no code for it: a Polkadot node says that
    /// the exported method is not found, Chopsticks that the function to start was not found.
    pub(crate) fn is_unknown_api(&self) -> bool {
        matches!(self, Self::Refused { why, .. } if why.contains("not found") || why.contains("not exist"))
    }
}

impl From<RpcError> for Failure {
    fn from(error: RpcError) -> Self {
        Self::NoResult(error.to_string())
    }
}

impl Node {
    /// The node at the URL that this option has.
    pub(crate) fn new(option: &str, url: &str) -> Result<Self, Failure> {
        let wrong = |why: &str| Failure::Input(format!("{option} {}: {why}", without_password(url)));
        let parsed = reqwest::Url::parse(url).map_err(|e| wrong(&format!("not a URL: {e}")))?;
        match parsed.scheme() {
            "http" | "https" => {}
            "ws" | "wss" => {
                let http = if parsed.scheme() == "ws" { "http" } else { "https" };
                return Err(wrong(&format!(
                    "WebSockets are not supported: nodes answer the same questions over HTTP, at {http}://…"
                )));
            }
            other => return Err(wrong(&format!("unknown scheme {other}, expected http or https"))),
        }
        pvf_shared::tls::select_implementation();
        let client = reqwest::Client::builder().timeout(ANSWER_WITHIN).connect_timeout(CONNECT_WITHIN).build();
        let client = client.map_err(|e| Failure::no_result("HTTP client", e))?;
        Ok(Self { client, url: parsed })
    }

    /// Its URL, without a password.
    pub(crate) fn shown(&self) -> String {
        without_password(self.url.as_str())
    }

    fn failed(&self, why: impl std::fmt::Display) -> RpcError {
        RpcError::Transport { url: self.shown(), why: why.to_string() }
    }

    /// Asks, and gives the result.
    pub(crate) async fn ask(&self, method: &str, params: Value) -> Result<Value, RpcError> {
        let request = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
        let sent = self.client.post(self.url.clone()).header("content-type", "application/json").body(request).send();
        // The error names the URL, which may have a password in it.
        let mut response = sent.await.map_err(|e| self.failed(chain(&e.without_url())))?;
        let status = response.status();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|e| self.failed(chain(&e.without_url())))? {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_ANSWER {
                return Err(self.failed(format!("{method}: an answer of more than {} MiB", MAX_ANSWER >> 20)));
            }
        }
        let answer: Option<Value> = serde_json::from_slice(&body).ok();
        let Some(mut answer) = answer.filter(|answer| answer.get("jsonrpc").is_some()) else {
            return Err(self.failed(format!("{method}: HTTP status {status}, and no JSON-RPC answer")));
        };
        if let Some(error) = answer.get("error").filter(|error| !error.is_null()) {
            let message = error.get("message").and_then(Value::as_str).unwrap_or("no message");
            let data = error.get("data").and_then(Value::as_str).map(|data| format!(" ({data})")).unwrap_or_default();
            let why: String = format!("{message}{data}").chars().take(500).collect();
            return Err(RpcError::Refused { url: self.shown(), method: method.into(), why });
        }
        match answer.get_mut("result") {
            Some(result) => Ok(result.take()),
            None => Err(self.failed(format!("{method}: an answer with neither a result nor an error"))),
        }
    }

    /// Asks for text.
    pub(crate) async fn text(&self, method: &str, params: Value) -> Result<String, RpcError> {
        match self.ask(method, params).await? {
            Value::String(text) => Ok(text),
            other => Err(self.failed(format!("{method}: expected text, got {}", kind(&other)))),
        }
    }

    /// Asks for bytes, which answers have as hex; `None` if the answer is null.
    async fn bytes(&self, method: &str, params: Value) -> Result<Option<Vec<u8>>, RpcError> {
        match self.ask(method, params).await? {
            Value::Null => Ok(None),
            Value::String(text) => {
                let bytes = text.strip_prefix("0x").map(hex::decode);
                let bytes = bytes.and_then(Result::ok);
                bytes.map(Some).ok_or_else(|| self.failed(format!("{method}: expected hex, got other text")))
            }
            other => Err(self.failed(format!("{method}: expected hex, got {}", kind(&other)))),
        }
    }

    /// Calls a runtime API at a block.
    pub(crate) async fn call(&self, api: &str, argument: &[u8], at: &str) -> Result<Vec<u8>, RpcError> {
        let argument = format!("0x{}", hex::encode(argument));
        let answer = self.bytes("state_call", json!([api, argument, at])).await;
        let answer = answer.map_err(|error| match error {
            RpcError::Refused { url, why, .. } => RpcError::Refused { url, method: api.into(), why },
            error @ RpcError::Transport { .. } => error,
        })?;
        answer.ok_or_else(|| self.failed(format!("{api}: no answer")))
    }

    /// Reads a value of storage at a block.
    pub(crate) async fn storage(&self, key: &[u8], at: &str) -> Result<Option<Vec<u8>>, RpcError> {
        let key = format!("0x{}", hex::encode(key));
        self.bytes("state_getStorage", json!([key, at])).await
    }

    /// What the node answers cannot be read.
    pub(crate) fn unreadable(&self, what: &str, why: impl std::fmt::Display) -> RpcError {
        self.failed(format!("{what}: {why}"))
    }
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn without_password(url: &str) -> String {
    match reqwest::Url::parse(url) {
        Ok(mut url) if url.password().is_some() || !url.username().is_empty() => {
            let _ = url.set_password(None);
            let _ = url.set_username("");
            url.to_string()
        }
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_that_cannot_be_asked_are_refused_by_name() {
        for (url, word) in [
            ("wss://rpc.polkadot.io", "https://"),
            ("ws://127.0.0.1:9944", "http://"),
            ("ftp://x", "unknown scheme"),
            ("http://", "not a URL"),
        ] {
            let error = Node::new("--rpc", url).err().unwrap();
            assert!(error.to_string().contains(word), "{error}");
        }
        let node = Node::new("--rpc", "https://user:secret@example.org/key").unwrap();
        assert_eq!(node.shown(), "https://example.org/key");
    }
}
