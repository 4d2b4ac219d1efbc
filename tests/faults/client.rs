//! A client process of a run: it has so many of the run's requests in flight, and says on its standard output when one
//! begins and what became of it.

use super::truth::{Judgement, Question, question};
use crate::fleet::client_of;
use futures::{StreamExt as _, stream::FuturesUnordered};
use pvf::ValidationHost;
use serde::{Deserialize, Serialize};
use std::{io::Write as _, time::Instant};
use tokio::signal::unix::SignalKind;

/// Which requests a client process has.
#[derive(Debug, Clone, clap::Args)]
pub struct ClientArgs {
    /// The bus
    #[arg(long)]
    pub nats: String,
    /// Seed of the run
    #[arg(long)]
    pub seed: u64,
    /// Number of its first request
    #[arg(long)]
    pub first: u64,
    /// Each number is higher than the one before by this
    #[arg(long)]
    pub step: u64,
    /// All numbers are below this
    #[arg(long)]
    pub below: u64,
    /// Requests in flight
    #[arg(long)]
    pub in_flight: usize,
}

/// What a client process says, one line of JSON each.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Line {
    /// This request begins.
    Begins(u64),
    /// This request has its answer.
    Answered(Answered),
}

/// An answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Answered {
    /// The request.
    pub n: u64,
    /// What it is worth.
    pub judgement: Judgement,
    /// What it was.
    pub text: String,
    /// Attempts that began.
    pub attempts: u32,
    /// From submission to answer, milliseconds.
    pub ms: u64,
}

fn say(line: &Line) {
    let text = serde_json::to_string(line).expect("lines are JSON");
    // The run has ended if it does not read any more.
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

async fn ask(host: &ValidationHost, n: u64, Question { pvf, request, .. }: &Question) -> (Instant, AnswerOf) {
    say(&Line::Begins(n));
    let start = Instant::now();
    let answer = match request {
        Some(request) => host.execute_pvf(pvf.clone(), request.clone()).await,
        None => host.precheck_pvf(pvf.clone()).await,
    };
    (start, answer)
}

type AnswerOf = Result<pvf::Answer, pvf_shared::client::ClientError>;

/// Runs the client until all its requests are answered; after SIGTERM no more of them begin.
pub async fn run(args: ClientArgs) {
    let host = client_of(&args.nats, "chaos", super::truth::ANSWER_WITHIN).await;
    let mut numbers = (args.first..args.below).step_by(usize::try_from(args.step).expect("a small step"));
    let mut running = FuturesUnordered::new();
    let mut ends = tokio::signal::unix::signal(SignalKind::terminate()).expect("signals can be awaited");
    let mut takes_more = true;
    loop {
        while takes_more
            && running.len() < args.in_flight
            && let Some(n) = numbers.next()
        {
            let (host, seed) = (host.clone(), args.seed);
            running.push(async move {
                let question = question(seed, n);
                let (start, answer) = ask(&host, n, &question).await;
                let (judgement, text) = question.judge(&answer);
                let attempts = answer.map_or(0, |answer| answer.attempts);
                let ms = u64::try_from(start.elapsed().as_millis()).expect("a short time");
                Answered { n, judgement, text, attempts, ms }
            });
        }
        tokio::select! {
            answered = running.next() => match answered {
                Some(answered) => say(&Line::Answered(answered)),
                None => return,
            },
            _ = ends.recv() => takes_more = false,
        }
    }
}
