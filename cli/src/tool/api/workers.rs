//! `pvf workers`: the workers of a fleet.

use super::{Api, args::WorkersLs, model::Worker, part};
use crate::tool::{
    ago,
    args::Global,
    failure::{Exit, Failure},
    table::Table,
};
use serde_json::json;

pub(crate) async fn ls(global: &Global, args: &WorkersLs) -> Result<Exit, Failure> {
    let WorkersLs { host, kind, state, limit } = args;
    let parameters = json!({"host": host, "kind": kind, "state": state, "limit": limit});
    let answer = Api::connect(global, "workers").await?.ask("workers", parameters).await?;
    if global.json {
        outln!("{answer}");
        return Ok(Exit::Success);
    }
    let workers: Vec<Worker> = part(&answer["workers"])?;
    lines(&workers, answer["total"].as_u64()).iter().for_each(|line| outln!("{line}"));
    Ok(Exit::Success)
}

fn lines(workers: &[Worker], total: Option<u64>) -> Vec<String> {
    let mut table =
        Table::new(&["WORKER", "KIND", "STATE", ">SLOTS", ">STAGED", ">HEARD", "HOST", "ENGINE", "VERSION", "NOTE"]);
    for worker in workers {
        let slots = format!("{}/{}", worker.running, worker.slots);
        let (staged, heard) = (worker.staged.to_string(), ago::millis(worker.heard_ms_ago));
        table.row([
            &worker.id,
            &worker.kind,
            &worker.state,
            &slots,
            &staged,
            &heard,
            &worker.host,
            &worker.engine,
            &worker.version,
            &note(worker),
        ]);
    }
    let mut lines = table.lines();
    if let Some(total) = total.filter(|total| *total > workers.len() as u64) {
        lines.push(format!("{} of {total} workers", workers.len()));
    }
    lines
}

/// What an operator should know of a worker.
pub(crate) fn note(worker: &Worker) -> String {
    let missing = worker.missing_security.join("; ");
    let security = match (worker.secure, missing.is_empty()) {
        (true, true) => None,
        (true, false) => Some(format!("without {missing}")),
        (false, true) => Some("sandbox not reported".into()),
        (false, false) => Some(format!("INSECURE, missing {missing}")),
    };
    worker.trouble.clone().into_iter().chain(security).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_is_one_line_with_its_trouble() {
        let fine = Worker {
            id: "execute.a.01".into(),
            kind: "execute".into(),
            state: "available".into(),
            slots: 4,
            running: 3,
            secure: true,
            heard_ms_ago: Some(250.0),
            host: "h1".into(),
            ..Worker::default()
        };
        assert_eq!(note(&fine), "");
        let bad = Worker {
            secure: false,
            missing_security: vec!["landlock".into(), "seccomp".into()],
            trouble: Some("disk full\u{1b}[2J".into()),
            ..fine.clone()
        };
        let lines = lines(&[fine, bad], Some(300));
        let fine = "execute.a.01  execute  available    3/4       0  250 ms  h1";
        assert_eq!(lines[1], fine);
        assert!(lines[2].ends_with("disk full\\u{1b}[2J; INSECURE, missing landlock; seccomp"), "{}", lines[2]);
        assert_eq!(lines[3], "2 of 300 workers");
    }
}
