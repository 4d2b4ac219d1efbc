//! The commands that ask one thing: precheck, execute, heads-up, status.

use super::{
    Failure,
    args::{Execute, Global, HeadsUp, Precheck, Role, Status},
    input, output,
    target::Target,
};
use crate::{Answer, ClientError, Pvf};
use futures::{StreamExt as _, stream};
use indicatif::{ProgressBar, ProgressStyle};
use pvf_shared::{
    units::human_bytes,
    verdict::Outcome,
    wire::{FleetStatus, WorkerKind},
};
use pvf_worker::host::WorkerConfig;
use std::{path::Path, time::Duration};

/// Requests of a batch that are under way at once.
const BATCH_AT_ONCE: usize = 64;

fn load(code: &Path, executor_params: Option<&Path>) -> Result<Pvf, Failure> {
    let params = input::executor_params(executor_params)?;
    Ok(Pvf::new(input::read("CODE", code)?, params))
}

fn show(global: &Global, name: &str, answer: &Answer) -> u8 {
    if global.json {
        println!("{}", output::json(name, answer));
    } else {
        println!("{}", output::line(name, answer));
    }
    output::exit_code(&answer.outcome)
}

fn spinner(message: String) -> ProgressBar {
    let bar = ProgressBar::new_spinner().with_message(message);
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}

pub(crate) async fn precheck(global: &Global, args: &Precheck) -> Result<u8, Failure> {
    let pvf = load(&args.code, args.executor_params.as_deref())?;
    let name = args.code.display().to_string();
    let target = Target::open(global).await?;
    let bar = spinner(format!("prechecking {name}"));
    let answer = target.host.precheck_pvf(pvf).await;
    bar.finish_and_clear();
    target.close().await;
    Ok(show(global, &name, &answer?))
}

pub(crate) async fn heads_up(global: &Global, args: &HeadsUp) -> Result<u8, Failure> {
    let mut pvfs = Vec::new();
    for code in &args.code {
        pvfs.push((code.display().to_string(), load(code, args.executor_params.as_deref())?));
    }
    let target = Target::open(global).await?;
    let mut worst = 0;
    for (name, pvf) in pvfs {
        let mut answer = target.host.heads_up(vec![pvf.clone()]).await.map(|mut answers| answers.remove(0));
        // Embedded, nobody goes on preparing once this process ends; a precheck joins the preparation and waits.
        if global.nats.is_none() && answer.as_ref().is_ok_and(|a| matches!(a.outcome, Outcome::HeadsUpTaken)) {
            let bar = spinner(format!("preparing {name}"));
            answer = target.host.precheck_pvf(pvf).await;
            bar.finish_and_clear();
        }
        worst = worst.max(show(global, &name, &answer?));
    }
    target.close().await;
    Ok(worst)
}

pub(crate) async fn execute(global: &Global, args: &Execute) -> Result<u8, Failure> {
    let pvf = load(&args.code, args.executor_params.as_deref())?;
    let requests = input::requests(args)?;
    let target = Target::open(global).await?;
    let bar = if requests.len() > 1 {
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {elapsed} {msg}");
        ProgressBar::new(requests.len() as u64).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
    } else {
        spinner(format!("validating {}", requests[0].0))
    };
    let mut worst = 0;
    {
        let host = &target.host;
        let answers = stream::iter(requests)
            .map(|(name, request)| {
                let pvf = pvf.clone();
                async move { (name, host.execute_pvf(pvf, request).await) }
            })
            .buffered(BATCH_AT_ONCE);
        futures::pin_mut!(answers);
        while let Some((name, answer)) = answers.next().await {
            bar.inc(1);
            let code = bar.suspend(|| match &answer {
                Ok(answer) => show(global, &name, answer),
                Err(error) => show_error(global, &name, error),
            });
            worst = worst.max(code);
        }
    }
    bar.finish_and_clear();
    target.close().await;
    Ok(worst)
}

/// One request of a batch has no verdict: said on stderr, and for machines on stdout as well.
fn show_error(global: &Global, name: &str, error: &ClientError) -> u8 {
    eprintln!("error: {name}: {error}");
    if global.json {
        println!("{}", output::json_unanswered(name, &error.to_string()));
    }
    match error {
        ClientError::TooLarge { .. } => 2,
        ClientError::Refused(refusal) => match Failure::from(ClientError::Refused(refusal.clone())) {
            Failure::Input(_) => 2,
            Failure::NotAnswered(_) => 3,
        },
        _ => 3,
    }
}

/// Whether this role is there, on this machine if it is a worker: what a container's health check asks.
fn health(status: &FleetStatus, role: Role, host: &str) -> bool {
    let has = |kind| status.workers.iter().any(|w| w.kind == kind && w.host == host);
    match role {
        Role::Coordinator => true,
        Role::PrepareWorker => has(WorkerKind::Prepare),
        Role::ExecuteWorker => has(WorkerKind::Execute),
    }
}

pub(crate) async fn status(global: &Global, args: &Status) -> Result<u8, Failure> {
    if global.nats.is_none() {
        return Err(Failure::Input(
            "status: --nats is needed, the embedded host lives only as long as its command".into(),
        ));
    }
    let target = Target::open(global).await?;
    if let Some(role) = args.health {
        // As the workers of this machine name it.
        let host = std::env::var("PVF_HOST").unwrap_or_else(|_| WorkerConfig::new(WorkerKind::Execute, 1).host);
        let status = target.host.status_of(&host).await?;
        let well = health(&status, role, &host);
        println!(
            "{}",
            if well { "healthy" } else { "unhealthy: the coordinator does not know such a worker on this machine" }
        );
        target.close().await;
        return Ok(if well { 0 } else { 3 });
    }
    let status = target.host.status().await?;
    let empty = status.workers.is_empty();
    show_status(global, &status);
    target.close().await;
    Ok(if empty { 3 } else { 0 })
}

fn show_status(global: &Global, status: &FleetStatus) {
    let [background, normal, critical] = status.prepare_queue;
    let [dispute, approval, system, backing] = status.execute_queue;
    if global.json {
        let workers: Vec<_> = status
            .workers
            .iter()
            .map(|w| {
                serde_json::json!({
                    "id": w.id.to_string(), "kind": w.kind.to_string(), "slots": w.slots, "running": w.running,
                    "engine": w.engine.as_str(), "host": w.host, "version": w.version, "draining": w.draining,
                    "secure": w.security.secure, "missing_security": w.security.missing,
                })
            })
            .collect();
        println!(
            "{}",
            serde_json::json!({
                "version": status.version, "token": status.token.0, "workers": workers,
                "prepare_workers": status.prepare.workers, "prepare_slots": status.prepare.slots,
                "execute_workers": status.execute.workers, "execute_slots": status.execute.slots,
                "requests": status.requests, "request_bytes": status.request_bytes, "clients": status.clients,
                "prepare_queue": {"background": background, "normal": normal, "critical": critical},
                "execute_queue": {
                    "dispute": dispute, "approval": approval, "backing_system": system, "backing": backing,
                },
                "artifacts": status.artifacts, "artifact_bytes": status.artifact_bytes,
                "prepared": status.prepared, "executed": status.executed,
                "coalesced": status.coalesced, "overloaded": status.overloaded,
            })
        );
    } else {
        println!("coordinator {} (token {})", status.version, status.token.0);
        println!(
            "requests {} of {} clients, {} held in memory; artifacts {}, {}",
            status.requests,
            status.clients,
            human_bytes(status.request_bytes),
            status.artifacts,
            human_bytes(status.artifact_bytes)
        );
        println!("waiting to prepare: {critical} critical, {normal} normal, {background} background");
        println!(
            "waiting to execute: {dispute} disputes, {approval} approvals, {system} system backing, {backing} backing"
        );
        println!(
            "so far: {} preparations, {} executions, {} requests answered by another's execution, {} turned away",
            status.prepared, status.executed, status.coalesced, status.overloaded
        );
        let (prepare, execute) = (status.prepare, status.execute);
        println!(
            "{} prepare workers with {} slots, {} execute workers with {} slots",
            prepare.workers, prepare.slots, execute.workers, execute.slots
        );
        for w in &status.workers {
            let state = if w.draining { ", going away" } else { "" };
            println!(
                "{} worker {} on {}: {}/{} slots, engine {}{state}",
                w.kind, w.id, w.host, w.running, w.slots, w.engine
            );
            match w.security.missing.as_slice() {
                [] if w.security.secure => println!("  sandbox: complete"),
                [] => println!("  sandbox: NOT KNOWN"),
                missing => println!("  sandbox: INSECURE, missing: {}", missing.join("; ")),
            }
        }
    }
}
