//! `pvf watch`: validates each PoV as a collator exports it, and keeps those that fail.
//!
//! A collator writes a file in several steps: one that cannot be read yet is tried again while it changes, and for a
//! while after. `files` finds them, `code` reads the runtime, `kept` keeps PoVs.

pub(crate) mod args;
mod code;
mod files;
mod kept;

use super::{
    args::Global,
    bundles::keep::{Asked, Keeper},
    explain::{self, Explainer},
    failure::{Exit, Failure},
    files::{
        folder,
        pov::{Extension, Pov},
    },
    input,
    network::limits::Network,
    output,
    target::Target,
    text::escaped,
};
use crate::{ExecuteRequest, Pvf};
use args::Watch;
use code::Code;
use files::{Found, WHILE_WRITTEN, WITHOUT_RESULT, Watched};
use pvf_shared::{signals::Shutdown, telemetry::to_stderr, verdict::Outcome};
use serde_json::json;
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// How often the folder is looked at.
const EVERY: Duration = Duration::from_millis(300);

pub(crate) async fn watch(global: &Global, args: &Watch) -> Result<Exit, Failure> {
    let network = Network::of(&args.limits).await?;
    let keep = args.keep_failed.as_deref();
    if let Some(folder) = keep {
        let failed = |e| Failure::Input(format!("--keep-failed {}: {e}", folder.display()));
        std::fs::create_dir_all(folder).map_err(failed)?;
        if same_folder(folder, &args.dir) {
            let why = "the folder that is watched: PoVs are kept in another one";
            return Err(Failure::Input(format!("--keep-failed {}: {why}", folder.display())));
        }
    }
    if args.once {
        // As every other command that is given a folder: none or an empty one is a mistake.
        if !args.dir.is_dir() {
            return Err(Failure::Input(format!("DIR: {} is not a folder", args.dir.display())));
        }
        folder::files("DIR", std::slice::from_ref(&args.dir))?;
    }
    let explainer = if args.explain.explain { Some(Explainer::new(args.explain.guest_log)?) } else { None };
    let mut watching = Watching {
        global,
        args,
        extension: input::extension(&args.extension)?,
        code: Code::read(&args.code)?,
        keeper: keep.map(|folder| Keeper::of_folder(folder, args.retention.retention())),
        network,
        explainer,
        target: Target::open(global).await?,
        worst: Exit::Success,
    };
    let mut watched = Watched::new(&args.dir, args.new_only);
    if !args.once {
        to_stderr(format_args!("watching {}; end with Ctrl+C", args.dir.display()));
    }
    let mut stop = Shutdown::catch().map_err(|e| Failure::no_result("signals", e))?;
    loop {
        let found = watched.look().map_err(|e| Failure::Input(format!("{}: {e}", args.dir.display())))?;
        for found in found {
            tokio::select! {
                () = stop.asked() => return watching.end().await,
                () = watching.validate(&mut watched, found) => {}
            }
        }
        // A file that cannot be read may still be written; the last look says that none is.
        if args.once && !watched.waits() {
            return watching.end().await;
        }
        tokio::select! {
            () = stop.asked() => return watching.end().await,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

fn same_folder(one: &Path, other: &Path) -> bool {
    matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}

struct Watching<'a> {
    global: &'a Global,
    args: &'a Watch,
    network: Network,
    extension: Extension,
    code: Code,
    keeper: Option<Keeper>,
    explainer: Option<Explainer>,
    target: Target,
    worst: Exit,
}

impl Watching<'_> {
    async fn end(self) -> Result<Exit, Failure> {
        self.target.close().await;
        Ok(self.worst)
    }

    async fn validate(&mut self, watched: &mut Watched, found: Found) {
        let pov = match Pov::read("PoV", &found.path) {
            Ok(pov) => pov,
            Err(_) if watched.try_again(&found, WHILE_WRITTEN, "not a whole PoV yet") => return,
            Err(failure) => {
                self.report_unreadable(&found.path, &failure);
                return;
            }
        };
        self.code.renew(&self.args.code);
        let name = pov.name();
        for warning in pov.warnings(&self.extension) {
            to_stderr(format_args!("warning: {}: {warning}", escaped(&name)));
        }
        let over = self.over_size(&pov);
        let request = ExecuteRequest::new(self.args.kind, pov.context(&self.extension), pov.block_data.clone());
        let pvf = self.network.pvf(self.code.bytes.clone());
        let answer = match self.target.host.execute_pvf(pvf.clone(), request.clone()).await {
            Ok(answer) => answer,
            Err(error) => {
                let failure = Failure::from(error);
                // The collator goes on, so this does: a fleet may be back soon.
                if !watched.try_again(&found, WITHOUT_RESULT, &failure.to_string()) {
                    to_stderr(format_args!("error: {}: {failure}", escaped(&name)));
                    self.worst = self.worst.max(failure.exit());
                }
                return;
            }
        };
        let no_result = output::exit(&answer.outcome) == Exit::NoResult;
        if no_result && watched.try_again(&found, WITHOUT_RESULT, &answer.outcome.reason().unwrap_or_default()) {
            return;
        }
        watched.done(&found);
        let exit = output::exit(&answer.outcome).max(if over.is_some() { Exit::Negative } else { Exit::Success });
        self.worst = self.worst.max(exit);
        let failed = over.is_some() || !matches!(answer.outcome, Outcome::Valid(_));
        let kept = if failed { self.keep(&pov, &pvf, &request, &answer).await } else { vec![] };
        let explained = match (&self.explainer, failed) {
            (Some(explainer), true) => {
                Some((explainer, explainer.explain(&self.network, &self.code.bytes, &request).await))
            }
            _ => None,
        };
        let params = &self.network.executor_params;
        if self.global.json {
            let mut object = output::json(&name, &answer);
            object["over_limit"] = json!(over);
            object["kept"] = json!(kept.iter().map(|path| path.display().to_string()).collect::<Vec<_>>());
            if let Some((_, explained)) = &explained {
                object["explanation"] = explain::to_json(explained, params);
            }
            outln!("{object}");
        } else {
            outln!("{}", output::text(&name, &answer));
            over.iter().for_each(|why| outln!("    {why}"));
            if let Some((explainer, explained)) = &explained {
                let lines = explain::text::lines(explained, params, explainer.level());
                lines.iter().for_each(|line| outln!("    {line}"));
            }
            kept.iter().for_each(|path| outln!("    kept {}", path.display()));
        }
    }

    fn report_unreadable(&mut self, path: &Path, failure: &Failure) {
        self.worst = self.worst.max(Exit::Usage);
        to_stderr(format_args!("error: {failure}"));
        if self.global.json {
            let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
            outln!("{}", output::json_unanswered(&name, "unreadable", &failure.to_string()));
        }
    }

    /// Why a node would refuse the PoV before it asks a host.
    fn over_size(&self, pov: &Pov) -> Option<String> {
        let limit = self.network.limits().max_pov_size.or(pov.max_pov_size)?;
        let size = pov.size();
        (size > limit.into()).then(|| format!("PoV of {size} bytes, over the limit of {limit}: a node refuses it"))
    }

    /// Keeps a PoV that failed, and its bundle. What cannot be kept is a warning.
    async fn keep(&self, pov: &Pov, pvf: &Pvf, request: &ExecuteRequest, answer: &crate::Answer) -> Vec<PathBuf> {
        let (Some(keeper), Some(folder)) = (&self.keeper, &self.args.keep_failed) else { return vec![] };
        let mut kept = Vec::new();
        match kept::write(folder, pov, self.args.retention.retention().count) {
            Ok(path) => kept.push(path),
            Err(e) => to_stderr(format_args!("warning: {} is not kept: {e}", escaped(&pov.name()))),
        }
        let bundle = keeper.keep(Asked { host: &self.target.host, pvf, request: Some(request) }, answer).await;
        if let Some(warning) = bundle.warning {
            to_stderr(format_args!("warning: {}: {warning}", escaped(&pov.name())));
        }
        kept.extend(bundle.path);
        kept
    }
}
