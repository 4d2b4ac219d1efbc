//! The commands that send requests: precheck, execute, heads-up.

use super::{
    args::{Execute, Global, HeadsUp, Precheck},
    bundles::keep::{self as bundles, Asked, Keeper},
    differences,
    failure::{Exit, Failure},
    input, output,
    target::Target,
};
use crate::{Answer, ClientError, ExecuteRequest, Pvf, ValidationHost};
use futures::{StreamExt as _, stream};
use indicatif::{ProgressBar, ProgressStyle};
use pvf_shared::{telemetry::to_stderr, verdict::WireOutcome};
use serde_json::{Value, json};
use std::{pin::pin, time::Duration};

/// Requests of a batch in flight at the same time.
const BATCH_IN_FLIGHT: usize = 64;

/// An answer, and what has become of its replay bundle.
type Answered = (Answer, bundles::Outcome);

fn show(global: &Global, name: &str, answered: Result<Answered, ClientError>) -> Exit {
    let (answer, bundle) = match answered {
        Ok(answered) => answered,
        Err(error) => return show_error(global, name, error),
    };
    if let Some(warning) = bundle.warning {
        eprintln!("warning: {name}: {warning}");
    }
    if global.json {
        let mut object = output::json(name, &answer);
        object["bundle"] = json!(bundle.path.map(|path| path.display().to_string()));
        println!("{object}");
    } else {
        println!("{}", output::text(name, &answer));
        if let Some(path) = bundle.path {
            println!("    replay bundle {}", path.display());
        }
    }
    output::exit(&answer.outcome)
}

/// The progress of a command, on stderr where that is a terminal: how long it has waited, and what is in the way.
struct Progress {
    bar: ProgressBar,
    what: String,
}

impl Progress {
    /// Progress of one request.
    fn spinner(what: String) -> Self {
        let bar =
            ProgressBar::new_spinner().with_style(style("{spinner} {msg} [{elapsed}]", ProgressStyle::default_spinner));
        bar.enable_steady_tick(Duration::from_millis(120));
        Self::new(bar, what)
    }

    /// Progress of a batch of this many requests.
    fn of_batch(requests: usize) -> Self {
        let style = style("{bar:30} {pos}/{len} {elapsed} {msg}", ProgressStyle::default_bar);
        Self::new(ProgressBar::new(requests as u64).with_style(style), String::new())
    }

    fn new(bar: ProgressBar, what: String) -> Self {
        bar.set_message(what.clone());
        Self { bar, what }
    }

    /// Does the work, and shows meanwhile what is in the way of the host's requests.
    async fn during<T>(&self, host: &ValidationHost, work: impl Future<Output = T>) -> T {
        let mut trouble = host.trouble();
        let mut work = pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                Ok(()) = trouble.changed() => {
                    let why = trouble.borrow_and_update().clone();
                    self.bar.set_message(match why {
                        Some(why) => format!("{} (waiting: {why})", self.what),
                        None => self.what.clone(),
                    });
                }
            }
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn style(template: &str, default: fn() -> ProgressStyle) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| default())
}

pub(crate) async fn precheck(global: &Global, args: &Precheck) -> Result<Exit, Failure> {
    let params = input::executor_params(&args.parameters)?;
    let code = input::read("CODE", &args.code)?;
    let name = args.code.display().to_string();
    for warning in differences::warnings(&code) {
        to_stderr(format_args!("warning: {name}: {warning}"));
    }
    let pvf = Pvf::new(code, params);
    let keeper = Keeper::new(&args.bundles, 1)?;
    let target = Target::open(global).await?;
    let progress = Progress::spinner(format!("prechecking {name}"));
    let host = &target.host;
    let work = async {
        let answer = host.precheck_pvf(pvf.clone()).await?;
        let bundle = keeper.keep(Asked { host, pvf: &pvf, request: None }, &answer).await;
        Ok::<Answered, ClientError>((answer, bundle))
    };
    let answered = progress.during(host, work).await;
    drop(progress);
    target.close().await;
    Ok(show(global, &name, answered))
}

pub(crate) async fn heads_up(global: &Global, args: &HeadsUp) -> Result<Exit, Failure> {
    let params = input::executor_params(&args.parameters)?;
    let mut pvfs = Vec::new();
    for code in &args.code {
        pvfs.push((code.display().to_string(), Pvf::new(input::read("CODE", code)?, params.clone())));
    }
    let target = Target::open(global).await?;
    let host = &target.host;
    // The embedded host ends with this process.
    let wait_prepared = args.wait_prepared || global.bus.is_none();
    let progress = Progress::spinner(match wait_prepared {
        true => "preparing".into(),
        false => "waiting for a worker that takes the code".into(),
    });
    let announced = pvfs.into_iter().map(|(name, pvf)| async move {
        let answer = host.heads_up(vec![pvf], wait_prepared).await;
        (name, answer.map(|mut answers| (answers.remove(0), bundles::Outcome::default())))
    });
    let answers = progress.during(host, futures::future::join_all(announced)).await;
    drop(progress);
    let shown = answers.into_iter().map(|(name, answer)| show(global, &name, answer));
    let worst = shown.max().unwrap_or(Exit::Success);
    target.close().await;
    Ok(worst)
}

pub(crate) async fn execute(global: &Global, args: &Execute) -> Result<Exit, Failure> {
    let params = input::executor_params(&args.parameters)?;
    let pvf = Pvf::new(input::read("CODE", &args.code)?, params);
    let requests = input::requests(args)?;
    let keeper = Keeper::new(&args.bundles, requests.len())?;
    let target = Target::open(global).await?;
    let progress = match &requests[..] {
        [(name, _)] => Progress::spinner(format!("validating {name}")),
        requests => Progress::of_batch(requests.len()),
    };
    let batch = Batch { global, host: &target.host, pvf, keeper, bar: &progress.bar };
    let worst = progress.during(&target.host, execute_all(batch, requests)).await;
    drop(progress);
    target.close().await;
    Ok(worst)
}

/// What the requests of a batch have in common.
struct Batch<'a> {
    global: &'a Global,
    host: &'a ValidationHost,
    pvf: Pvf,
    keeper: Keeper,
    bar: &'a ProgressBar,
}

/// Executes the requests, shows each answer, and gives the greatest exit code.
async fn execute_all(batch: Batch<'_>, requests: Vec<(String, ExecuteRequest)>) -> Exit {
    let Batch { global, host, pvf, keeper, bar } = batch;
    let (pvf, keeper) = (&pvf, &keeper);
    let one = async |request: ExecuteRequest| {
        let answer = host.execute_pvf(pvf.clone(), request.clone()).await?;
        let bundle = keeper.keep(Asked { host, pvf, request: Some(&request) }, &answer).await;
        Ok::<Answered, ClientError>((answer, bundle))
    };
    let one = &one;
    let answers = stream::iter(requests)
        .map(|(name, request)| async move { (name, one(request).await) })
        .buffered(BATCH_IN_FLIGHT);
    let mut answers = pin!(answers);
    let mut worst = Exit::Success;
    while let Some((name, answer)) = answers.next().await {
        bar.inc(1);
        worst = worst.max(bar.suspend(|| show(global, &name, answer)));
    }
    worst
}

/// Reports a request that has no answer: on stderr, and with `--json` on stdout too. One without a verdict at its
/// deadline has expired.
fn show_error(global: &Global, name: &str, error: ClientError) -> Exit {
    let verdict = match &error {
        ClientError::NotAnswered { .. } => WireOutcome::Expired.name(),
        _ => "internal",
    };
    let failure = Failure::from(error);
    to_stderr(format_args!("error: {name}: {failure}"));
    if global.json {
        let mut object = output::json_unanswered(name, verdict, &failure.to_string());
        object["bundle"] = Value::Null;
        println!("{object}");
    }
    failure.exit()
}
