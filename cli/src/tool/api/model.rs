//! The parts of answers that are shown as text. Fields that an answer does not have are empty: coordinators of other
//! versions have more or fewer.

use pvf_shared::wire::CompileProgress;
use serde::Deserialize;

/// A worker.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Worker {
    pub(crate) id: String,
    pub(crate) kind: String,
    pub(crate) slots: u64,
    pub(crate) running: u64,
    pub(crate) staged: u64,
    pub(crate) engine: String,
    pub(crate) host: String,
    pub(crate) version: String,
    pub(crate) state: String,
    pub(crate) secure: bool,
    pub(crate) missing_security: Vec<String>,
    pub(crate) trouble: Option<String>,
    pub(crate) signs_with: Option<String>,
    pub(crate) trusts: Vec<String>,
    pub(crate) heard_ms_ago: Option<f64>,
    pub(crate) joined_ms: Option<f64>,
}

/// A request, open or ended.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Request {
    pub(crate) request: String,
    pub(crate) client: String,
    pub(crate) work: String,
    pub(crate) kind: Option<String>,
    pub(crate) code: String,
    pub(crate) state: String,
    pub(crate) attempts: u64,
    pub(crate) worker: Option<String>,
    pub(crate) host: Option<String>,
    pub(crate) artifact: Option<String>,
    /// Of an open one.
    pub(crate) arrived_ms: Option<f64>,
    pub(crate) deadline_ms: Option<f64>,
    pub(crate) waiters: u64,
    pub(crate) compiling: Option<CompileProgress>,
    /// Of one that has ended.
    pub(crate) ended_ms: Option<f64>,
    pub(crate) outcome: Option<String>,
    pub(crate) reason: Option<String>,
    pub(crate) queued_ms: Option<f64>,
    pub(crate) prepare_ms: Option<f64>,
    pub(crate) execute_ms: Option<f64>,
    pub(crate) total_ms: Option<f64>,
    pub(crate) second_opinion: Option<String>,
    pub(crate) usage: Usage,
    pub(crate) retries: Vec<Retry>,
    /// Only of one that was asked for alone.
    pub(crate) why: Vec<String>,
}

impl Request {
    /// How long it has taken, or has waited until now; milliseconds.
    pub(crate) fn taken_ms(&self, now: f64) -> Option<f64> {
        self.total_ms.or_else(|| self.arrived_ms.map(|arrived| (now - arrived).max(0.0)))
    }

    /// What is known of it in a word: the outcome, or the state, with how much of its code is compiled.
    pub(crate) fn stage(&self) -> String {
        match (&self.outcome, self.compiling) {
            (Some(outcome), _) => outcome.clone(),
            (None, Some(CompileProgress { compiled, functions })) if functions > 0 => {
                format!("{} {} %", self.state, u64::from(compiled) * 100 / u64::from(functions))
            }
            (None, _) => self.state.clone(),
        }
    }

    /// What was asked in a word.
    pub(crate) fn asked(&self) -> &str {
        self.kind.as_deref().unwrap_or(&self.work)
    }
}

/// What the jobs of a request used.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Usage {
    pub(crate) preparation: Option<Job>,
    pub(crate) executions: Vec<Job>,
}

/// What one job used.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Job {
    pub(crate) attempt: Option<u64>,
    pub(crate) worker: String,
    pub(crate) outcome: Option<String>,
    pub(crate) cpu_ms: Option<f64>,
    pub(crate) cpu_limit_ms: Option<f64>,
    pub(crate) max_rss_bytes: Option<f64>,
}

/// An attempt that was not the last one.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Retry {
    pub(crate) at_ms: Option<f64>,
    pub(crate) attempt: u64,
    pub(crate) worker: String,
    pub(crate) host: String,
    pub(crate) reason: String,
    pub(crate) detail: Option<String>,
}

/// A compiled artifact, or what is left of the try to make it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Artifact {
    pub(crate) id: String,
    pub(crate) code: String,
    pub(crate) prep: String,
    pub(crate) engine: String,
    pub(crate) state: String,
    pub(crate) bytes: u64,
    pub(crate) users: u64,
    pub(crate) holders: u64,
    pub(crate) last_used_ms: Option<f64>,
    pub(crate) error: Option<String>,
    pub(crate) pinned: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_answer_of_another_version_decodes() {
        let request: Request = serde_json::from_value(json!({
            "request": "r", "work": "precheck", "state": "queued", "arrived_ms": 5, "of_a_later_version": [],
        }))
        .unwrap();
        assert_eq!((request.stage().as_str(), request.asked()), ("queued", "precheck"));
        let compiling = Some(CompileProgress { compiled: 812, functions: 3456 });
        let preparing = Request { state: "preparing".into(), compiling, ..Request::default() };
        assert_eq!(preparing.stage(), "preparing 23 %");
        assert_eq!([5.0, 9.0, 3.0].map(|now| request.taken_ms(now)), [0.0, 4.0, 0.0].map(Some));
    }
}
