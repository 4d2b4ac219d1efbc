//! Why a question has no answer.

use serde_json::{Value, json};

/// Why a question has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    /// As in HTTP.
    pub(crate) code: u16,
    pub(crate) message: String,
    is_standby: bool,
}

impl ApiError {
    fn new(code: u16, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), is_standby: false }
    }

    /// A parameter is wrong.
    pub(crate) fn bad(message: impl Into<String>) -> Self {
        Self::new(400, message)
    }

    /// There is no such question.
    pub(crate) fn unknown(name: &str) -> Self {
        Self::new(404, format!("no such question: {name:?}; there are {}", super::NAMES.join(", ")))
    }

    /// There is no such thing.
    pub(crate) fn not_found(what: impl Into<String>) -> Self {
        Self::new(404, what)
    }

    /// Another coordinator is active.
    pub(crate) fn standby() -> Self {
        let message = "this coordinator is a standby: another one is active, and has the answer";
        Self { is_standby: true, ..Self::new(503, message) }
    }

    /// Too many questions wait.
    pub(crate) fn busy() -> Self {
        Self::new(503, format!("{} questions wait already; ask again later", super::WAITING))
    }

    /// The answer takes too long.
    pub(crate) fn late() -> Self {
        Self::new(503, format!("the coordinator did not answer within {} s", super::LIMIT.as_secs()))
    }

    /// As JSON.
    pub(crate) fn json(&self) -> Value {
        match self.is_standby {
            true => json!({ "error": self.message, "code": self.code, "standby": true }),
            false => json!({ "error": self.message, "code": self.code }),
        }
    }
}
