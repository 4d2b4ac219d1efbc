//! `pvf sweep`: prepares many codes, and compares with an earlier run. Before another compiler is rolled out it says
//! which codes would no longer prepare, or would take longer.
//!
//! * `sources` has the codes, `result` what a run found and its file, `compare` sets two runs side by side.

pub(crate) mod args;
mod compare;
mod result;
mod sources;

use super::{
    args::Global,
    failure::{Exit, Failure},
    network::limits::Network,
    progress::Progress,
    target::Target,
    text::escaped,
};
use crate::ValidationHost;
use args::Sweep;
use futures::{StreamExt as _, stream};
use pvf_shared::telemetry::to_stderr;
use result::{Entry, NewFile, Sweep as Swept};
use sources::Source;
use std::pin::pin;

pub(crate) async fn sweep(global: &Global, args: &Sweep) -> Result<Exit, Failure> {
    let baseline = args.baseline.as_deref().map(Swept::read).transpose()?;
    // Before hours of work. What is there stays until there is a new result.
    let out = args.out.as_deref().map(NewFile::create).transpose()?;
    let (network, sources) = Box::pin(sources::all(args)).await?;
    let target = Target::open(global).await?;
    let progress = Progress::of_batch(sources.len());
    let entries = progress.during(&target.host, prepare_all(&network, &target.host, sources, (args, &progress))).await;
    drop(progress);
    target.close().await;
    let swept = Swept::new(&network, entries);
    let compared = baseline.as_ref().map(|before| compare::compare(before, &swept));
    // Before stdout, whose reader may be gone.
    if let Some(file) = out {
        file.write(&swept)?;
    }
    if global.json {
        let mut json = swept.json();
        json["compared"] = compared.as_ref().map(compare::Compared::json).unwrap_or_default();
        outln!("{json}");
    } else {
        out!("{}", swept.text());
        if let Some(compared) = &compared {
            out!("{}", compared.text());
        }
    }
    let failed = match &compared {
        // What failed before is known.
        Some(compared) => compared.is_worse(),
        None => swept.codes.iter().any(Entry::is_unpreparable),
    };
    let unknown = swept.codes.iter().any(|entry| entry.verdict == result::NO_RESULT);
    Ok(match (failed, unknown) {
        (_, true) => Exit::NoResult,
        (true, false) => Exit::Negative,
        (false, false) => Exit::Success,
    })
}

async fn prepare_all(
    network: &Network,
    host: &ValidationHost,
    sources: Vec<Source>,
    (args, progress): (&Sweep, &Progress),
) -> Vec<Entry> {
    let one = async |source: Source| {
        let code = match source.code().await {
            Ok(code) => code,
            Err(failure) => return Entry::unanswered(source.name.clone(), (source.hash(), 0), &failure),
        };
        let size = code.len() as u64;
        let pvf = network.pvf(code);
        let hash = pvf.code_hash();
        match host.precheck_pvf(pvf).await {
            Ok(answer) => Entry::of(source.name, size, &answer),
            Err(error) => Entry::unanswered(source.name, (hash, size), &Failure::from(error)),
        }
    };
    let one = &one;
    let prepared = stream::iter(sources).map(|source| async move { one(source).await });
    let mut prepared = pin!(prepared.buffered(args.in_flight.into()));
    let mut entries = Vec::new();
    while let Some(entry) = prepared.next().await {
        progress.bar.inc(1);
        if entry.failed() {
            let why = entry.reason.as_deref().unwrap_or_default();
            progress
                .bar
                .suspend(|| to_stderr(format_args!("{}: {}: {}", escaped(&entry.name), entry.verdict, escaped(why))));
        }
        entries.push(entry);
    }
    entries
}
