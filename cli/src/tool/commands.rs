//! The commands that send requests: precheck, execute, heads-up.

use super::{
    args::{Execute, Global, HeadsUp, Precheck},
    failure::{Exit, Failure},
    input, output,
    target::Target,
};
use crate::{Answer, ClientError, Pvf};
use futures::{StreamExt as _, stream};
use indicatif::{ProgressBar, ProgressStyle};
use pvf_shared::verdict::Outcome;
use std::{path::Path, time::Duration};

/// Requests of a batch in flight at the same time.
const BATCH_IN_FLIGHT: usize = 64;

fn load(code: &Path, executor_params: Option<&Path>) -> Result<Pvf, Failure> {
    let params = input::executor_params(executor_params)?;
    Ok(Pvf::new(input::read("CODE", code)?, params))
}

fn show(global: &Global, name: &str, answer: &Answer) -> Exit {
    if global.json {
        println!("{}", output::json(name, answer));
    } else {
        println!("{}", output::line(name, answer));
    }
    output::exit(&answer.outcome)
}

fn spinner(message: String) -> ProgressBar {
    let bar = ProgressBar::new_spinner().with_message(message);
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}

pub(crate) async fn precheck(global: &Global, args: &Precheck) -> Result<Exit, Failure> {
    let pvf = load(&args.code, args.executor_params.as_deref())?;
    let name = args.code.display().to_string();
    let target = Target::open(global).await?;
    let bar = spinner(format!("prechecking {name}"));
    let answer = target.host.precheck_pvf(pvf).await;
    bar.finish_and_clear();
    target.close().await;
    Ok(show(global, &name, &answer?))
}

pub(crate) async fn heads_up(global: &Global, args: &HeadsUp) -> Result<Exit, Failure> {
    let mut pvfs = Vec::new();
    for code in &args.code {
        pvfs.push((code.display().to_string(), load(code, args.executor_params.as_deref())?));
    }
    let target = Target::open(global).await?;
    let mut worst = Exit::Success;
    for (name, pvf) in pvfs {
        let mut answer = target.host.heads_up(vec![pvf.clone()]).await.map(|mut answers| answers.remove(0));
        // The embedded host ends with this process; a precheck joins the preparation and waits for it.
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

pub(crate) async fn execute(global: &Global, args: &Execute) -> Result<Exit, Failure> {
    let pvf = load(&args.code, args.executor_params.as_deref())?;
    let requests = input::requests(args)?;
    let target = Target::open(global).await?;
    let bar = if requests.len() > 1 {
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {elapsed} {msg}");
        ProgressBar::new(requests.len() as u64).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
    } else {
        spinner(format!("validating {}", requests[0].0))
    };
    let mut worst = Exit::Success;
    {
        let host = &target.host;
        let answers = stream::iter(requests)
            .map(|(name, request)| {
                let pvf = pvf.clone();
                async move { (name, host.execute_pvf(pvf, request).await) }
            })
            .buffered(BATCH_IN_FLIGHT);
        futures::pin_mut!(answers);
        while let Some((name, answer)) = answers.next().await {
            bar.inc(1);
            let code = bar.suspend(|| match answer {
                Ok(answer) => show(global, &name, &answer),
                Err(error) => show_error(global, &name, error),
            });
            worst = worst.max(code);
        }
    }
    bar.finish_and_clear();
    target.close().await;
    Ok(worst)
}

/// Reports a request of a batch that has no verdict: on stderr, and with `--json` on stdout too.
fn show_error(global: &Global, name: &str, error: ClientError) -> Exit {
    let failure = Failure::from(error);
    eprintln!("error: {name}: {failure}");
    if global.json {
        println!("{}", output::json_unanswered(name, &failure.to_string()));
    }
    failure.exit()
}
