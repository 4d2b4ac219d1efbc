//! The PVF host of the Polkadot node as a process: it reads commands from stdin, one JSON object a line, and writes an
//! answer to stdout for each, when it has it.

mod commands;
mod requests;

use codec::Encode as _;
use commands::{Answer, Command, Execute, Line, Pvf, Start};
use futures::channel::oneshot;
use polkadot_node_core_pvf::{Config, Metrics, PrepareError, Priority, ValidationError, ValidationHost, start};
use polkadot_node_primitives::NODE_VERSION;
use polkadot_parachain_primitives::primitives::ValidationResult;
use std::{collections::HashMap, time::Instant};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    sync::mpsc,
    task::JoinHandle,
};

/// A host that runs.
struct Host {
    handle: ValidationHost,
    driver: JoinHandle<()>,
}

type Hosts = HashMap<String, Host>;

#[tokio::main]
async fn main() {
    let (answers, mut written) = mpsc::unbounded_channel::<Answer>();
    let writer = tokio::spawn(async move {
        while let Some(answer) = written.recv().await {
            println!("{}", serde_json::to_string(&answer).expect("an answer is JSON"));
        }
    });
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let mut hosts = Hosts::new();
    while let Ok(Some(line)) = lines.next_line().await {
        match serde_json::from_str::<Line>(&line) {
            Ok(line) => obey(&mut hosts, line, &answers).await,
            Err(error) => eprintln!("error: {line}: {error}"),
        }
    }
    drop((hosts, answers));
    let _ = writer.await;
}

fn answer(id: u64, outcome: &'static str, reason: String, began: Instant) -> Answer {
    Answer { id, outcome, reason, result: String::new(), ms: began.elapsed().as_secs_f64() * 1e3 }
}

async fn obey(hosts: &mut Hosts, line: Line, answers: &mpsc::UnboundedSender<Answer>) {
    let (id, began) = (line.id, Instant::now());
    let done = match line.command {
        Command::Start(config) => start_host(hosts, config).await.map(|()| None),
        Command::Precheck(pvf) => precheck(hosts, &pvf).await.map(Some),
        Command::Execute(execute) => return spawn_execute(hosts, id, &execute, answers).await,
    };
    let answers = answers.clone();
    match done {
        Ok(None) => drop(answers.send(answer(id, "ok", String::new(), began))),
        Err(why) => drop(answers.send(answer(id, "error", why, began))),
        Ok(Some(waits)) => drop(tokio::spawn(async move {
            let done = match waits.await {
                Ok(Ok(())) => answer(id, "ok", String::new(), began),
                Ok(Err(error)) => answer(id, "preparation", format!("{error:?}"), began),
                Err(_) => answer(id, "error", "the host has ended".into(), began),
            };
            let _ = answers.send(done);
        })),
    }
}

async fn start_host(hosts: &mut Hosts, start: Start) -> Result<(), String> {
    stop_host(hosts, &start.host).await;
    let config = Config::new(
        start.cache,
        Some(NODE_VERSION.into()),
        start.secure,
        start.workers.join("polkadot-prepare-worker"),
        start.workers.join("polkadot-execute-worker"),
        start.execute_workers,
        1,
        2,
    );
    let (handle, task) = self::start(config, Metrics::default()).await.map_err(|e| format!("{e:?}"))?;
    let driver = tokio::spawn(task);
    hosts.insert(start.host, Host { handle, driver });
    Ok(())
}

/// Ends a host; its worker processes are killed with it.
async fn stop_host(hosts: &mut Hosts, name: &str) {
    if let Some(Host { handle, driver }) = hosts.remove(name) {
        drop(handle);
        driver.abort();
        let _ = driver.await;
    }
}

fn host<'a>(hosts: &'a mut Hosts, name: &str) -> Result<&'a mut ValidationHost, String> {
    hosts.get_mut(name).map(|host| &mut host.handle).ok_or_else(|| format!("no host {name}"))
}

async fn precheck(hosts: &mut Hosts, pvf: &Pvf) -> Result<oneshot::Receiver<Result<(), PrepareError>>, String> {
    let (sender, receiver) = oneshot::channel();
    let data = requests::pvf(pvf, polkadot_node_core_pvf::PrepareJobKind::Prechecking)?;
    host(hosts, &pvf.host)?.precheck_pvf(data, sender).await?;
    Ok(receiver)
}

async fn spawn_execute(hosts: &mut Hosts, id: u64, execute: &Execute, answers: &mpsc::UnboundedSender<Answer>) {
    let began = Instant::now();
    let (sender, receiver) = oneshot::channel();
    let (answers, name) = (answers.clone(), &execute.pvf.host);
    // The clock begins when the host gets the request.
    let (sent, began) = match (requests::candidate(execute), host(hosts, name)) {
        (Ok((pvf, context, kind)), Ok(host)) => {
            let priority = Priority::from(kind.clone());
            let began = Instant::now();
            (host.execute_pvf(pvf, context, priority, kind, sender).await, began)
        }
        (Err(why), _) | (_, Err(why)) => (Err(why), began),
    };
    if let Err(why) = sent {
        let _ = answers.send(answer(id, "error", why, began));
        return;
    }
    tokio::spawn(async move {
        let done = match receiver.await {
            Ok(result) => of_execution(id, result, began),
            Err(_) => answer(id, "error", "the host has ended".into(), began),
        };
        let _ = answers.send(done);
    });
}

fn of_execution(id: u64, result: Result<ValidationResult, ValidationError>, began: Instant) -> Answer {
    let error = match result {
        Ok(result) => {
            return Answer { result: hex::encode(result.encode()), ..answer(id, "valid", String::new(), began) };
        }
        Err(error) => error,
    };
    let outcome = match &error {
        ValidationError::Preparation(_) => "preparation",
        ValidationError::Invalid(_) => "invalid",
        ValidationError::PossiblyInvalid(_) => "possibly-invalid",
        ValidationError::Internal(_) => "internal",
        ValidationError::ExecutionDeadline => "deadline",
    };
    answer(id, outcome, format!("{error:?}"), began)
}
