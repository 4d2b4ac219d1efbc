//! `pvf check`: will a runtime and its blocks pass?
//!
//! * `checking` is what all parts work with.
//! * `module` reads what a runtime's wasm says about itself, `runtime` measures the runtime, `povs` its blocks.
//! * `outputs` holds results against the relay chain's configuration, `heads` against what the PoV itself says.
//! * `pending` holds what was measured against configurations that are decided already.
//! * `compare` sets two runtimes side by side, `determinism` compares runs that must not differ, `local` runs them.
//! * `report` is what is found, `format` how it is written.

pub(crate) mod args;
mod checking;
mod compare;
mod determinism;
mod facts;
mod format;
mod heads;
mod local;
mod module;
mod outputs;
mod pending;
mod povs;
mod report;
mod runtime;

use super::{
    args::Global,
    explain::Explainer,
    failure::{Exit, Failure},
    files::folder,
    input,
    network::limits::Network,
    progress::Progress,
    target::Target,
};
use args::{Check, Format};
use checking::Checking;
use pvf_shared::telemetry::to_stderr;
use report::{Report, State, Thresholds};
use runtime::Runtime;
use std::{io::Write as _, path::Path};

pub(crate) async fn check(global: &Global, args: &Check) -> Result<Exit, Failure> {
    let network = Network::silently(&args.limits).await?;
    let paths: Vec<_> =
        [Some(&args.code), args.new.as_ref()].into_iter().flatten().map(|path| path.as_path()).collect();
    let codes = names(&paths).into_iter().zip(&paths).map(|(name, path)| Ok((name, input::code(path)?)));
    let codes = codes.collect::<Result<Vec<_>, Failure>>()?;
    let povs = folder::povs("--pov", &args.pov)?;
    let povs_new = folder::povs("--pov-new", &args.pov_new)?;
    let extension = input::extension(&args.extension)?;
    for pov in povs.iter().chain(&povs_new) {
        for warning in pov.warnings(&extension) {
            to_stderr(format_args!("warning: {}: {warning}", pov.name()));
        }
    }
    // Before minutes of work.
    let mut outputs = Outputs::open(args)?;
    let explainer = Explainer::new(args.explain.guest_log)?;
    let target = Target::open(global).await?;
    let progress = Progress::spinner("checking".into());
    let thresholds = Thresholds { warn_at: args.warn_at.into(), slowdown: args.slowdown };
    let checking = Checking {
        target: &target,
        network: &network,
        extension,
        thresholds,
        runs: args.runs,
        explain: &args.explain,
        explainer,
        progress: &progress,
    };
    let report = run(&checking, args, codes, povs::Blocks { povs, povs_new }).await;
    drop(progress);
    target.close().await;
    let report = report?;
    outputs.write(global, args, &report)?;
    Ok(match report.worst() {
        State::NoResult => Exit::NoResult,
        State::Failed => Exit::Negative,
        State::Warning if args.limits.strict => Exit::Negative,
        State::Info | State::Ok | State::Warning => Exit::Success,
    })
}

async fn run(
    checking: &Checking<'_>,
    args: &Check,
    codes: Vec<(String, pvf_shared::Bytes)>,
    blocks: povs::Blocks,
) -> Result<Report, Failure> {
    let assumed = checking.network.snapshot.as_ref().map_or(0, |snapshot| snapshot.assumed().len());
    let strict = args.limits.strict;
    let mut report = Report { facts: vec![], sections: vec![], povs: vec![], notes: vec![], strict, assumed };
    facts::of_run(checking, &mut report);
    let mut runtimes = Vec::new();
    for (name, code) in codes {
        let runtime = Runtime::measure(checking, name, code).await?;
        report.facts.extend(runtime.facts());
        report.sections.push(runtime.section());
        runtimes.push(runtime);
    }
    let executed = povs::execute_all(checking, &runtimes, &blocks).await?;
    povs::report(checking, &runtimes, &executed, &mut report).await;
    if let [old, new] = &runtimes[..] {
        report.sections.push(compare::section(checking, [old, new], &executed));
        compare::notes([old, new], &executed, &mut report);
    }
    let pending = pending::sections(checking, &runtimes, &report).await;
    report.sections.extend(pending);
    if !args.no_determinism {
        for runtime in runtimes.iter().filter(|runtime| runtime.is_prepared()) {
            report.sections.push(determinism::section(checking, runtime, &executed).await);
        }
    }
    Ok(report)
}

/// Where a report is written to besides stdout. Opened early: a file that cannot be written is no result of minutes.
struct Outputs {
    json: Option<std::fs::File>,
    html: Option<std::fs::File>,
    summary: Option<std::fs::File>,
}

impl Outputs {
    fn open(args: &Check) -> Result<Self, Failure> {
        let failed = |option: &str, path: &Path, e: std::io::Error| {
            Failure::Input(format!("{option}: cannot write {}: {e}", path.display()))
        };
        let create = |option: &'static str, path: &Option<std::path::PathBuf>| {
            path.as_ref().map(|path| std::fs::File::create(path).map_err(|e| failed(option, path, e))).transpose()
        };
        let summary = args.summary.as_ref().map(|path| {
            let file = std::fs::File::options().append(true).create(true).open(path);
            file.map_err(|e| failed("--summary", path, e))
        });
        let (json, html) = (create("--json-file", &args.json_file)?, create("--html", &args.html)?);
        Ok(Self { json, html, summary: summary.transpose()? })
    }

    fn write(&mut self, global: &Global, args: &Check, report: &Report) -> Result<(), Failure> {
        let files = [
            ("--json-file", self.json.as_mut(), &args.json_file, format!("{}\n", report.json())),
            ("--html", self.html.as_mut(), &args.html, format::html::page(report)),
            ("--summary", self.summary.as_mut(), &args.summary, format::markdown::text(report)),
        ];
        // Before stdout, whose reader may be gone. One that cannot be written keeps none of the others back.
        let failed: Vec<String> = files
            .into_iter()
            .filter_map(|(option, file, path, text)| {
                let error = file?.write_all(text.as_bytes()).err()?;
                Some(format!("{option}: cannot write {}: {error}", path.as_ref()?.display()))
            })
            .collect();
        out!(
            "{}",
            match if global.json { Format::Json } else { args.format } {
                Format::Text => format::text::text(report),
                Format::Json => format!("{}\n", report.json()),
                Format::Markdown => format::markdown::text(report),
                Format::Junit => format::junit::text(report),
                Format::Github => format::github::text(report),
            }
        );
        if failed.is_empty() { Ok(()) } else { Err(Failure::NoResult(failed.join("; "))) }
    }
}

/// Names of runtimes by which they can be told apart: of files, or their paths, or numbers.
fn names(paths: &[&Path]) -> Vec<String> {
    let of_files =
        || paths.iter().map(|path| path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned());
    let mut names: Vec<String> = of_files().collect();
    if let [old, new] = &mut names[..]
        && old == new
    {
        (*old, *new) = (paths[0].display().to_string(), paths[1].display().to_string());
        if old == new {
            (*old, *new) = (format!("{old} (old)"), format!("{new} (new)"));
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runtimes_can_be_told_apart() {
        let of = |paths: &[&str]| names(&paths.iter().map(Path::new).collect::<Vec<_>>());
        assert_eq!(of(&["a/x.wasm"]), ["x.wasm"]);
        assert_eq!(of(&["a/x.wasm", "b/y.wasm"]), ["x.wasm", "y.wasm"]);
        assert_eq!(of(&["a/x.wasm", "b/x.wasm"]), ["a/x.wasm", "b/x.wasm"]);
        assert_eq!(of(&["x.wasm", "x.wasm"]), ["x.wasm (old)", "x.wasm (new)"]);
    }
}
