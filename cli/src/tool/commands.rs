//! The commands that send requests: precheck, execute, heads-up.

use super::{
    args::Global,
    bundles::keep::{self as bundles, Asked, Keeper},
    differences,
    explain::{self, Explainer},
    failure::{Exit, Failure},
    files::pov::size_of,
    input,
    network::limits::Network,
    output,
    progress::Progress,
    request_args::{Execute, HeadsUp, Precheck},
    target::Target,
};
use crate::{Answer, ClientError, ExecuteRequest, Pvf, ValidationHost};
use futures::{StreamExt as _, stream};
use indicatif::ProgressBar;
use pvf_shared::{
    Bytes,
    candidate::BlockDataForm,
    telemetry::to_stderr,
    verdict::{PrepareError, WireOutcome},
};
use pvf_worker::{supervise::Explained, wasm::decompress_code};
use serde_json::{Value, json};
use std::{borrow::Cow, pin::pin};

/// Requests of a batch in flight at the same time.
const BATCH_IN_FLIGHT: usize = 64;

/// An answer, and what has become of its replay bundle.
type Answered = (Answer, bundles::Outcome);

/// A diagnostic run, and what it was made with.
type Explanation<'a> = (&'a Explaining<'a>, Explained);

fn show(
    global: &Global,
    name: &str,
    answered: Result<Answered, ClientError>,
    explained: Option<&Explanation<'_>>,
) -> Exit {
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
        if let Some((with, explained)) = explained {
            object["explanation"] = explain::to_json(explained, &with.network.executor_params);
        }
        outln!("{object}");
    } else {
        outln!("{}", output::text(name, &answer));
        if let Some((with, explained)) = explained {
            let lines = explain::text::lines(explained, &with.network.executor_params, with.explainer.level());
            lines.iter().for_each(|line| outln!("    {line}"));
        }
        if let Some(path) = bundle.path {
            outln!("    replay bundle {}", path.display());
        }
    }
    output::exit(&answer.outcome)
}

pub(crate) async fn precheck(global: &Global, args: &Precheck) -> Result<Exit, Failure> {
    let network = Network::of(&args.limits).await?;
    let code = input::code(&args.code)?;
    let name = args.code.display().to_string();
    if let Some(code) = decompressed(&network, &name, &code) {
        for warning in differences::warnings(&code) {
            to_stderr(format_args!("warning: {name}: {warning}"));
        }
    }
    if let Some(max) = network.limits().max_code_size.filter(|max| code.len() as u64 > u64::from(*max)) {
        to_stderr(format_args!(
            "warning: {name}: {} bytes of code: the network accepts at most {max} (max_code_size), which a host does not \
             check",
            code.len()
        ));
    }
    let pvf = network.pvf(code);
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
    Ok(show(global, &name, answered, None))
}

pub(crate) async fn heads_up(global: &Global, args: &HeadsUp) -> Result<Exit, Failure> {
    let network = Network::of(&args.limits).await?;
    let mut pvfs = Vec::new();
    for code in &args.code {
        pvfs.push((code.display().to_string(), network.pvf(input::code(code)?)));
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
    let shown = answers.into_iter().map(|(name, answer)| show(global, &name, answer, None));
    let worst = shown.max().unwrap_or(Exit::Success);
    target.close().await;
    Ok(worst)
}

pub(crate) async fn execute(global: &Global, args: &Execute) -> Result<Exit, Failure> {
    let network = Network::of(&args.limits).await?;
    let code = input::code(&args.code)?;
    decompressed(&network, &args.code.display().to_string(), &code);
    let requests = input::requests(args)?;
    warn_of_size(&network, &requests);
    let explainer = if args.explain.explain { Some(Explainer::new(args.explain.guest_log)?) } else { None };
    let explaining = explainer.as_ref().map(|explainer| Explaining { explainer, network: &network, code: &code });
    let keeper = Keeper::new(&args.bundles, requests.len())?;
    let target = Target::open(global).await?;
    let progress = match &requests[..] {
        [(name, _)] => Progress::spinner(format!("validating {name}")),
        requests => Progress::of_batch(requests.len()),
    };
    let pvf = network.pvf(code.clone());
    let batch = Batch { global, host: &target.host, pvf, keeper, bar: &progress.bar, explaining };
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
    explaining: Option<Explaining<'a>>,
}

/// How verdicts are explained.
struct Explaining<'a> {
    explainer: &'a Explainer,
    network: &'a Network,
    code: &'a Bytes,
}

/// The code, decompressed. Warns of code over the limit: a host that has an artifact of it, made under a higher limit,
/// does not look at it again.
fn decompressed<'a>(network: &Network, name: &str, code: &'a [u8]) -> Option<Cow<'a, [u8]>> {
    let limit = network.code_bomb_limit;
    let warn = |error: &PrepareError| {
        to_stderr(format_args!(
            "warning: {name}: {error} (limit {limit} bytes): a host that has no artifact refuses it"
        ));
    };
    decompress_code(code, limit).inspect_err(warn).ok()
}

/// Warns of PoVs that a node refuses before it asks a host.
fn warn_of_size(network: &Network, requests: &[(String, ExecuteRequest)]) {
    let Some(limit) = network.limits().max_pov_size else { return };
    for (name, request) in requests {
        let size = size_of(&request.block_data);
        let is_pov = matches!(request.context.block_data_form, BlockDataForm::MaybeCompressed);
        if is_pov && size > limit.into() {
            to_stderr(format_args!(
                "warning: {name}: a PoV of {size} bytes is over the network's limit of {limit}: a node refuses it before \
                 it asks a validation host, whose verdict follows"
            ));
        }
    }
}

/// Executes the requests, shows each answer, and gives the greatest exit code.
async fn execute_all(batch: Batch<'_>, requests: Vec<(String, ExecuteRequest)>) -> Exit {
    let Batch { global, host, pvf, keeper, bar, explaining } = batch;
    let alone = requests.len() == 1;
    let (pvf, keeper) = (&pvf, &keeper);
    let one = async |request: ExecuteRequest| {
        let answer = host.execute_pvf(pvf.clone(), request.clone()).await?;
        let bundle = keeper.keep(Asked { host, pvf, request: Some(&request) }, &answer).await;
        Ok::<Answered, ClientError>((answer, bundle))
    };
    let one = &one;
    let answers = stream::iter(requests)
        .map(|(name, request)| async move { (name, one(request.clone()).await, request) })
        .buffered(BATCH_IN_FLIGHT);
    let mut answers = pin!(answers);
    let mut worst = Exit::Success;
    while let Some((name, answer, request)) = answers.next().await {
        bar.inc(1);
        let explained = match &explaining {
            // Of several those that need it: each takes a compilation.
            Some(with) if answer.as_ref().is_ok_and(|(answer, _)| alone || is_invalid(answer)) => {
                Some((with, with.explainer.explain(with.network, with.code, &request).await))
            }
            _ => None,
        };
        worst = worst.max(bar.suspend(|| show(global, &name, answer, explained.as_ref())));
    }
    if explaining.is_none() && worst == Exit::Negative && !global.json {
        to_stderr(format_args!("note: --explain shows what the guest logs, and where it traps"));
    }
    worst
}

/// Whether the candidate is not valid, whatever the reason.
fn is_invalid(answer: &Answer) -> bool {
    output::exit(&answer.outcome) != Exit::Success
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
        outln!("{object}");
    }
    failure.exit()
}
