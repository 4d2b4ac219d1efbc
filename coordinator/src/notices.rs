//! One log line for each notice of the scheduler, with the ids that it is about.

use pvf_scheduler::{DropReason, Notice, RetryReason};
use pvf_shared::{identity::ClientId, verdict::Blame, wire::Verdict};
use tracing::field::display;

/// A warning if the condition holds, and `info` otherwise.
macro_rules! warn_if {
    ($condition:expr, $($line:tt)+) => {
        if $condition { tracing::warn!($($line)+) } else { tracing::info!($($line)+) }
    };
}

/// Logs a verdict, with the id of its trace. One that is the fleet's own failure is a warning.
pub(crate) fn log_verdict(client: ClientId, verdict: &Verdict, trace: Option<String>) {
    let artifact = verdict.artifact.as_ref().map(|artifact| display(&artifact.id));
    warn_if!(
        verdict.outcome.blame() == Blame::Ours,
        request = %verdict.request, %client, artifact, trace,
        verdict = verdict.outcome.name(), reason = verdict.outcome.reason(), attempts = verdict.attempts,
        worker = verdict.worker.map(display), total_ms = verdict.timings.total.as_millis() as u64, "verdict"
    );
}

/// Logs a notice. Errors are bugs, warnings call for an operator, `info` is the fleet's normal life; what happens with
/// every job, or with every request of an overload, is `debug` and shows in the metrics.
pub(crate) fn log(notice: &Notice) {
    match notice {
        Notice::WorkerJoined { worker, hello } => tracing::info!(
            %worker, host = hello.host, kind = %worker.kind, slots = hello.slots, engine = %hello.engine,
            version = hello.version, secure = hello.security.secure, running = hello.running.len(), "worker joined"
        ),
        Notice::WorkerLeft { worker, host, jobs } => tracing::info!(%worker, host, jobs, "worker left"),
        Notice::WorkerLost { worker, host, jobs, silent } => {
            tracing::warn!(%worker, host, jobs, silent_ms = silent.as_millis() as u64, "worker lost");
        }
        Notice::WorkerSuspect { worker, host, why } => {
            tracing::warn!(%worker, host, why, "worker suspect: no jobs until it is heard from");
        }
        Notice::WorkerPaused { worker, host, pause, why } => tracing::warn!(
            %worker, host, pause_s = pause.as_secs(), why, "worker paused: jobs fail there, it gets none for a while"
        ),
        Notice::WorkerResumed { worker } => tracing::info!(%worker, "worker resumed: it gets jobs again"),
        Notice::WorkerRecovered { worker } => tracing::info!(%worker, "worker recovered"),
        Notice::RequestCancelled { request, client, operator } => {
            tracing::info!(%operator, %request, %client, "an operator cancels a request");
        }
        Notice::CodePinned { code, pinned: true, operator } => {
            tracing::info!(%operator, %code, "an operator pins a code")
        }
        Notice::CodePinned { code, pinned: false, operator } => {
            tracing::info!(%operator, %code, "an operator unpins a code");
        }
        Notice::WorkerToldToDrain { worker, host, operator, jobs } => {
            tracing::info!(%operator, %worker, host, jobs, "an operator asks a worker to drain");
        }
        Notice::JobRetried { job, attempt, kind, worker, about, why } => warn_if!(
            matches!(why, RetryReason::Internal(_)),
            %job, attempt, %kind, %worker, request = about.request().map(display),
            artifact = about.artifact().map(display), reason = why.name(), detail = why.detail(), "job retried"
        ),
        Notice::JobAdopted { job, attempt, kind, worker } => {
            tracing::info!(%job, attempt, %kind, %worker, "job adopted: an earlier coordinator dispatched it");
        }
        Notice::AttemptNotAdopted { job, attempt, worker } => {
            tracing::info!(%job, attempt, %worker, "job of an earlier coordinator cancelled: no client requested it");
        }
        Notice::JobReported { job, attempt, worker, about, end, kind, queued, usage } => tracing::debug!(
            %job, attempt, %worker, request = about.request().map(display), artifact = about.artifact().map(display),
            end, kind = kind.map_or("prepare", |kind| kind.name()),
            queued_ms = queued.as_millis() as u64, cpu_ms = usage.cpu.as_millis() as u64,
            wall_ms = usage.wall.as_millis() as u64, max_rss_kib = usage.max_rss_kib, "job reported"
        ),
        Notice::ExecutionQuarantined { hosts, request, client, code } => tracing::error!(
            %request, %client, %code, ?hosts,
            "execution quarantined: workers of too many machines were lost while they ran it"
        ),
        Notice::OpinionsDiffer { job, request, client, code, opinions } => {
            let opinions = opinions.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
            let (request, client) = (request.as_ref().map(display), client.as_ref().map(display));
            tracing::error!(%job, request, client, %code, opinions, "two machines disagree about a candidate");
        }
        Notice::NoSecondOpinion { job, code, why } => {
            tracing::warn!(%job, %code, why, "no second opinion");
        }
        Notice::PreparationQuarantined { artifact } => {
            tracing::error!(%artifact, "preparation quarantined: it lost too many workers");
        }
        Notice::PreparationFailed { artifact, error } => tracing::info!(%artifact, %error, "preparation failed"),
        Notice::ArtifactDropped { artifact, why: DropReason::Damaged } => {
            tracing::warn!(%artifact, reason = DropReason::Damaged.name(), "artifact dropped");
        }
        Notice::ArtifactDropped { artifact, why: why @ DropReason::Unused } => {
            tracing::info!(%artifact, reason = why.name(), "artifact dropped");
        }
        Notice::ArtifactDropped { artifact, why: why @ DropReason::Operator(operator) } => {
            tracing::info!(%artifact, reason = why.name(), %operator, "artifact dropped");
        }
        Notice::RequestShed { request, client, limit } => {
            tracing::debug!(%request, %client, limit, "request refused: overloaded");
        }
        Notice::ClientGone { client, silent } => {
            tracing::info!(%client, silent_ms = silent.as_millis() as u64, "client gone");
        }
        Notice::EngineSeen { engine } => tracing::info!(%engine, "new engine"),
        Notice::NoPrepareWorker { engine } => tracing::warn!(
            %engine, "no prepare worker compiles for this engine: executions of codes that are not prepared wait for one"
        ),
        Notice::Inconsistent { what } => tracing::error!(what, "scheduler inconsistency (a bug)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{artifact, hello, new_client, new_worker, opinions};
    use pvf_scheduler::JobSubject;
    use pvf_shared::{
        ids::{CodeHash, JobId, RequestId},
        job::JobUsage,
        priority::ExecuteKind,
        verdict::PrepareError,
        wire::WorkerKind,
    };
    use std::{
        io::Write,
        sync::{Arc, Mutex},
        time::Duration,
    };

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(notice: &Notice) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .without_time()
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, || log(notice));
        let lines = lines.0.lock().unwrap();
        String::from_utf8(lines.clone()).unwrap()
    }

    #[test]
    fn each_notice_is_one_line_with_its_level_and_ids() {
        let (worker, host, job) = (new_worker(WorkerKind::Execute), String::from("rack1"), JobId(41));
        let (request, client) = (RequestId::new(), new_client());
        let about = JobSubject::Execution(Some(request));
        let (id, code) = (Arc::new(artifact()), CodeHash([7; 32]));
        let (hello, silent) = (hello(), Duration::from_secs(6));
        let joined = worker.to_string();
        let retried = RetryReason::Ambiguous("out of memory".into());
        let execute = WorkerKind::Execute;
        let (usage, kind) = (JobUsage::default(), Some(ExecuteKind::Dispute));
        let (worker_text, request_text, id_text) = (worker.to_string(), request.to_string(), id.to_string());
        let (code_text, client_text) = (code.to_string(), client.to_string());
        let user_text = format!("operator={}", client.user);
        for (notice, level, words) in [
            (Notice::WorkerJoined { worker, hello: Box::new(hello) }, "INFO", &["joined", &joined, "execute"][..]),
            (Notice::WorkerLeft { worker, host: host.clone(), jobs: 2 }, "INFO", &["left", &worker_text, "rack1"]),
            (Notice::WorkerLost { worker, host: host.clone(), jobs: 3, silent }, "WARN", &["lost", "jobs=3", "6000"]),
            (Notice::WorkerSuspect { worker, host, why: "no-free-slot".into() }, "WARN", &["suspect", "no-free-slot"]),
            (Notice::WorkerRecovered { worker }, "INFO", &["recovered", &worker_text]),
            (
                Notice::WorkerPaused { worker, host: "rack2".into(), pause: silent, why: "disk full".into() },
                "WARN",
                &["paused", "rack2", "pause_s=6", "disk full"],
            ),
            (Notice::WorkerResumed { worker }, "INFO", &["resumed", &worker_text]),
            (
                Notice::WorkerToldToDrain { worker, host: "rack2".into(), operator: client.user, jobs: 4 },
                "INFO",
                &["asks a worker to drain", &user_text, &worker_text, "rack2", "jobs=4"],
            ),
            (
                Notice::RequestCancelled { request, client, operator: client.user },
                "INFO",
                &["cancels a request", &user_text, &request_text, &client_text],
            ),
            (
                Notice::CodePinned { code, pinned: true, operator: client.user },
                "INFO",
                &[" pins", &user_text, &code_text],
            ),
            (Notice::CodePinned { code, pinned: false, operator: client.user }, "INFO", &[" unpins", &code_text]),
            (
                Notice::JobRetried { job, attempt: 2, kind: execute, worker, about: about.clone(), why: retried },
                "INFO",
                &["retried", "job=41", "attempt=2", &request_text, "ambiguous", "out of memory", &worker_text],
            ),
            (
                Notice::JobRetried {
                    job,
                    attempt: 2,
                    kind: execute,
                    worker,
                    about: about.clone(),
                    why: RetryReason::Internal("disk full".into()),
                },
                "WARN",
                &["retried", "internal", "disk full"],
            ),
            (
                Notice::JobAdopted { job, attempt: 3, kind: execute, worker },
                "INFO",
                &["job adopted", "job=41", "attempt=3", "execute", &worker_text],
            ),
            (
                Notice::AttemptNotAdopted { job, attempt: 3, worker },
                "INFO",
                &["cancelled", "job=41", "attempt=3", &worker_text],
            ),
            (
                Notice::JobReported {
                    job,
                    attempt: 1,
                    worker,
                    about,
                    end: "valid",
                    kind,
                    queued: silent,
                    usage: Box::new(usage),
                },
                "DEBUG",
                &["reported", "job=41", &request_text, "dispute", "queued_ms=6000"],
            ),
            (
                Notice::ExecutionQuarantined { hosts: vec!["host7".into()], request, client, code },
                "ERROR",
                &[&request_text, &client_text, &code_text, "host7"],
            ),
            (
                Notice::OpinionsDiffer {
                    job,
                    request: Some(request),
                    client: Some(client),
                    code,
                    opinions: opinions(),
                },
                "ERROR",
                &["job=41", &request_text, &client_text, &code_text, "valid (result", "invalid (trap) at host2"],
            ),
            (Notice::NoSecondOpinion { job, code, why: "none came".into() }, "WARN", &["job=41", "none came"]),
            (Notice::PreparationQuarantined { artifact: id.clone() }, "ERROR", &["quarantined", &id_text]),
            (
                Notice::PreparationFailed { artifact: id.clone(), error: PrepareError::OutOfMemory },
                "INFO",
                &["preparation failed", &id_text],
            ),
            (
                Notice::ArtifactDropped { artifact: id.clone(), why: DropReason::Damaged },
                "WARN",
                &["damaged", &id_text],
            ),
            (Notice::ArtifactDropped { artifact: id.clone(), why: DropReason::Unused }, "INFO", &["unused", &id_text]),
            (
                Notice::ArtifactDropped { artifact: id, why: DropReason::Operator(client.user) },
                "INFO",
                &["reason=\"operator\"", &user_text, &id_text],
            ),
            (
                Notice::RequestShed { request, client, limit: "1 request".into() },
                "DEBUG",
                &[&request_text, "1 request"],
            ),
            (Notice::ClientGone { client, silent }, "INFO", &["client gone", &client_text]),
            (Notice::EngineSeen { engine: artifact().engine }, "INFO", &["new engine", "engine=e"]),
            (Notice::NoPrepareWorker { engine: artifact().engine }, "WARN", &["no prepare worker", "engine=e"]),
            (Notice::Inconsistent { what: "two slots".into() }, "ERROR", &["inconsistency", "two slots"]),
        ] {
            let line = logged(&notice);
            assert_eq!(line.lines().count(), 1, "{line}");
            assert!(line.trim_start().starts_with(level), "{level}: {line}");
            for word in words {
                assert!(line.contains(word), "{word}: {line}");
            }
        }
    }
}
