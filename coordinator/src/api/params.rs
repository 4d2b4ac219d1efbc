//! The parameters of a question: the query of a URL, or a JSON object.

use super::ApiError;
use pvf_scheduler::{ArtifactCondition, ArtifactFilter, ArtifactOrder, RequestFilter, WorkerCondition, WorkerFilter};
use pvf_shared::{
    ids::{EngineId, RequestId},
    priority::ExecuteKind,
};
use serde_json::Value;
use std::{collections::BTreeMap, fmt::Display, str::FromStr};

/// Parameters that are not used yet, by name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Params(BTreeMap<String, String>);

/// Which requests are asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Which {
    /// Open ones, then ended ones.
    #[default]
    All,
    Open,
    Ended,
    Failed,
    Slow,
}

/// The most entries of a list of requests.
const MOST_REQUESTS: usize = 1000;
/// The most entries of the other lists.
const MOST: usize = 10_000;

impl Params {
    /// Those of the query of a URL.
    pub(crate) fn of_url(query: Option<&str>) -> Self {
        let pairs = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        Self(pairs.map(|(name, value)| (name.into_owned(), value.into_owned())).collect())
    }

    /// Those of a JSON object; none if there are no bytes.
    pub(crate) fn of_json(bytes: &[u8]) -> Result<Self, ApiError> {
        if bytes.is_empty() {
            return Ok(Self::default());
        }
        let object = match serde_json::from_slice(bytes) {
            Ok(Value::Object(object)) => object,
            Ok(_) => return Err(ApiError::bad("the question is no JSON object")),
            Err(error) => return Err(ApiError::bad(format!("the question is not JSON: {error}"))),
        };
        let mut params = BTreeMap::new();
        for (name, value) in object {
            let value = match value {
                Value::Null => continue,
                Value::String(text) => text,
                Value::Number(number) => number.to_string(),
                Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
                    return Err(ApiError::bad(format!("{name}: expected a text or a number")));
                }
            };
            params.insert(name, value);
        }
        Ok(Self(params))
    }

    /// One more parameter.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.0.insert(name.to_owned(), value.to_owned());
        self
    }

    /// No parameter may be left.
    pub(super) fn end(self) -> Result<(), ApiError> {
        match self.0.into_keys().next() {
            None => Ok(()),
            Some(name) => Err(ApiError::bad(format!("{name}: no such parameter of this question"))),
        }
    }

    pub(super) fn workers(mut self) -> Result<WorkerFilter, ApiError> {
        let filter = WorkerFilter {
            host: self.text("host"),
            kind: self.parsed("kind")?,
            condition: self.named("state", WorkerCondition::ALL.map(|state| (state.name(), state)))?,
            limit: self.limit(1000, MOST)?,
        };
        self.end()?;
        Ok(filter)
    }

    pub(super) fn artifacts(mut self) -> Result<ArtifactFilter, ApiError> {
        let orders = [("last_used", ArtifactOrder::LastNeeded), ("bytes", ArtifactOrder::Bytes)];
        let filter = ArtifactFilter {
            condition: self.named("state", ArtifactCondition::ALL.map(|state| (state.name(), state)))?,
            code: self.parsed("code")?,
            engine: self.engine()?,
            order: self.named("sort", orders)?.unwrap_or_default(),
            limit: self.limit(1000, MOST)?,
        };
        self.end()?;
        Ok(filter)
    }

    pub(super) fn requests(mut self) -> Result<(Which, RequestFilter), ApiError> {
        let states = [("open", Which::Open), ("ended", Which::Ended), ("failed", Which::Failed), ("slow", Which::Slow)];
        let which = self.named("state", states)?.unwrap_or_default();
        let filter = RequestFilter {
            kind: self.named("kind", ExecuteKind::ALL.map(|kind| (kind.name(), kind)))?,
            code: self.parsed("code")?,
            user: self.parsed("client")?,
            limit: self.limit(100, MOST_REQUESTS)?,
        };
        self.end()?;
        Ok((which, filter))
    }

    pub(super) fn events(mut self) -> Result<usize, ApiError> {
        let limit = self.limit(100, MOST_REQUESTS)?;
        self.end()?;
        Ok(limit)
    }

    pub(super) fn id(mut self) -> Result<RequestId, ApiError> {
        let id = self.parsed("id")?.ok_or_else(|| ApiError::bad("id: required"))?;
        self.end()?;
        Ok(id)
    }

    fn text(&mut self, name: &str) -> Option<String> {
        self.0.remove(name).filter(|value| !value.is_empty())
    }

    fn parsed<T: FromStr<Err: Display>>(&mut self, name: &str) -> Result<Option<T>, ApiError> {
        let parse = |text: String| text.parse().map_err(|error| ApiError::bad(format!("{name}: {error}")));
        self.text(name).map(parse).transpose()
    }

    fn named<T: Copy, const N: usize>(&mut self, name: &str, values: [(&str, T); N]) -> Result<Option<T>, ApiError> {
        let find = |text: String| {
            let found = values.iter().find(|(value, _)| *value == text).map(|(_, value)| *value);
            found.ok_or_else(|| {
                let names = values.map(|(value, _)| value);
                ApiError::bad(format!("{name}: {text:?} is none of {}", names.join(", ")))
            })
        };
        self.text(name).map(find).transpose()
    }

    fn engine(&mut self) -> Result<Option<EngineId>, ApiError> {
        let parse = |text: String| EngineId::parse(&text).map_err(|error| ApiError::bad(format!("engine: {error}")));
        self.text("engine").map(parse).transpose()
    }

    fn limit(&mut self, default: usize, most: usize) -> Result<usize, ApiError> {
        let limit = self.parsed("limit")?.unwrap_or(default);
        match limit {
            1.. if limit <= most => Ok(limit),
            _ => Err(ApiError::bad(format!("limit: {limit} is outside 1..={most}"))),
        }
    }
}
