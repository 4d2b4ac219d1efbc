//! Replay bundles on the command line: `pvf bundle`, and what `execute` and `precheck` keep.

pub(crate) mod args;
pub(crate) mod keep;
pub(crate) mod records;

use super::{
    failure::{Exit, Failure},
    output, text,
};
use args::BundleCommand;
use pvf_shared::{
    Bytes,
    bundle::{Bundle, BundleError, BundleFolder, Candidate, FORMAT, Kept, Retention, read_file},
    candidate::BlockDataForm,
    ids::{BlobHash, CodeHash},
    units::human_bytes,
};
use serde_json::{Value, json};
use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    time::{Duration, SystemTime},
};

/// Runs `pvf bundle`.
pub(crate) fn run(command: &BundleCommand, json: bool) -> Result<Exit, Failure> {
    match command {
        BundleCommand::Show { bundle } => show(bundle, json),
        BundleCommand::List { dir } => list(dir, json),
        BundleCommand::Extract { bundle, out } => extract(bundle, out, json),
        BundleCommand::Prune { dir, retention } => prune(dir, retention.retention(), json),
    }
}

/// Reads a bundle. One that cannot be used is wrong input.
pub(crate) fn read(path: &Path) -> Result<Bundle, Failure> {
    read_file(path).map_err(|error| {
        Failure::Input(match error {
            BundleError::Io { .. } => format!("bundle {error}"),
            error => format!("bundle {}: {error}", path.display()),
        })
    })
}

/// The recorded answer as JSON, as of `pvf execute --json`, with the jobs behind it.
pub(crate) fn answer_json(name: &str, bundle: &Bundle) -> Value {
    let mut answer = output::json(name, &bundle.answer());
    answer["jobs"] = records::to_json(bundle);
    answer
}

/// What was asked, in one line.
pub(crate) fn asked(bundle: &Bundle) -> String {
    let code = format!("code 0x{} ({})", CodeHash::of(&bundle.code), human_bytes(bundle.code.len() as u64));
    match &bundle.candidate {
        Some(Candidate { kind, block_data, .. }) => {
            format!("execution ({kind}) of {} of block data with {code}", human_bytes(block_data.len() as u64))
        }
        None => format!("precheck of {code}"),
    }
}

/// A time for people and for JSON.
pub(crate) fn time_text(since_epoch: Duration) -> String {
    let latest = Duration::from_secs(253_402_300_799);
    humantime::format_rfc3339_millis(SystemTime::UNIX_EPOCH + since_epoch.min(latest)).to_string()
}

fn recorded(bundle: &Bundle) -> String {
    time_text(Duration::from_millis(bundle.notes.recorded_ms))
}

fn params_json(bundle: &Bundle) -> Value {
    serde_json::to_value(&bundle.executor_params).unwrap_or(Value::Null)
}

fn millis(time: Option<Duration>) -> Value {
    json!(time.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)))
}

/// What was asked as JSON, without the bytes.
fn request_json(bundle: &Bundle) -> Value {
    let candidate = bundle.candidate.as_ref().map(|of| {
        json!({
            "kind": of.kind.to_string(),
            "parent_head_bytes": of.context.parent_head.len(),
            "relay_parent_number": of.context.relay_parent_number,
            "relay_parent_storage_root": format!("0x{}", of.context.relay_parent_storage_root),
            "extension": of.context.extension,
            "block_data_form": of.context.block_data_form,
            "block_data_hash": BlobHash::of(&of.block_data).to_string(),
            "block_data_bytes": of.block_data.len(),
            "pov_bomb_limit_bytes": of.pov_bomb_limit,
            "timeout_ms": millis(of.exec_timeout),
        })
    });
    json!({
        "code_hash": format!("0x{}", CodeHash::of(&bundle.code)),
        "code_bytes": bundle.code.len(),
        "code_bomb_limit_bytes": bundle.code_bomb_limit,
        "executor_params": params_json(bundle),
        "prepare_timeout_ms": millis(bundle.prepare_timeout),
        "candidate": candidate,
    })
}

fn show(path: &Path, json: bool) -> Result<Exit, Failure> {
    let bundle = read(path)?;
    if json {
        let object = json!({
            "bundle": path.display().to_string(),
            "id": bundle.id().to_string(),
            "format": FORMAT,
            "recorded": recorded(&bundle),
            "client_version": bundle.notes.client_version,
            "asked": request_json(&bundle),
            "answer": answer_json(&path.display().to_string(), &bundle),
        });
        outln!("{object}");
        return Ok(Exit::Success);
    }
    let version = text::escaped(&bundle.notes.client_version);
    outln!("bundle {}, format {FORMAT}, recorded {} by version {version}", bundle.id(), recorded(&bundle));
    outln!("{}", asked(&bundle));
    if let Some(of) = &bundle.candidate {
        let context = &of.context;
        let (head, number) = (output::short_hex(&context.parent_head), context.relay_parent_number);
        outln!("parent head {head}, relay parent {number}, storage root 0x{}", context.relay_parent_storage_root);
    }
    outln!("executor parameters {}", params_json(&bundle));
    outln!("{}", output::text("verdict", &bundle.answer()));
    records::lines(&bundle).iter().for_each(|line| outln!("{line}"));
    Ok(Exit::Success)
}

fn kept_json(kept: &Kept) -> Value {
    let written = kept.written.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let (path, id) = (kept.path.display().to_string(), kept.id.to_string());
    json!({"bundle": path, "id": id, "bytes": kept.bytes, "written": time_text(written)})
}

fn list(dir: &Path, json: bool) -> Result<Exit, Failure> {
    let listed = folder(dir, Retention::default())?.list().map_err(unusable)?;
    for kept in &listed {
        let what = read_file(&kept.path);
        let mut object = kept_json(kept);
        let text = match &what {
            Ok(bundle) => {
                object["verdict"] = json!(bundle.outcome.name());
                object["reason"] = json!(bundle.outcome.reason());
                let reason =
                    bundle.outcome.reason().map(|why| format!(" ({})", text::escaped(&why))).unwrap_or_default();
                format!("{}{reason}, {}", bundle.outcome.name().replace('_', " "), asked(bundle))
            }
            Err(error) => {
                object["error"] = json!(error.to_string());
                format!("unusable: {error}")
            }
        };
        match json {
            true => outln!("{object}"),
            false => outln!(
                "{} {} {}: {text}",
                kept.path.display(),
                object["written"].as_str().unwrap_or_default(),
                human_bytes(kept.bytes)
            ),
        }
    }
    Ok(Exit::Success)
}

fn prune(dir: &Path, retention: Retention, json: bool) -> Result<Exit, Failure> {
    let removed = folder(dir, retention)?.prune().map_err(unusable)?;
    for kept in &removed {
        match json {
            true => outln!("{}", kept_json(kept)),
            false => outln!("removed {}", kept.path.display()),
        }
    }
    Ok(Exit::Success)
}

/// A folder that must exist: unlike a command that writes, one that reads has nothing to do without it.
fn folder(dir: &Path, retention: Retention) -> Result<BundleFolder, Failure> {
    match dir.is_dir() {
        true => Ok(BundleFolder::new(dir, retention)),
        false => Err(Failure::Input(format!("{}: not a folder", dir.display()))),
    }
}

fn unusable(error: BundleError) -> Failure {
    Failure::NoResult(error.to_string())
}

/// The files of a bundle for other commands, and the options that take them.
fn files(bundle: &Bundle) -> (Vec<(&'static str, Bytes)>, String) {
    let params = serde_json::to_vec_pretty(&bundle.executor_params).unwrap_or_default();
    let mut files = vec![("code.wasm", bundle.code.clone()), ("executor-params.json", params.into())];
    let Some(candidate) = &bundle.candidate else {
        return (files, "precheck code.wasm --executor-params executor-params.json".into());
    };
    let context = &candidate.context;
    let mut options = format!("execute code.wasm --executor-params executor-params.json --kind {}", candidate.kind);
    if let Some(timeout) = candidate.exec_timeout {
        options += &format!(" --timeout {}ms", timeout.as_secs_f64() * 1e3);
    }
    match context.block_data_form {
        BlockDataForm::Decompressed => {
            files.push(("params.scale", context.encode_with(candidate.block_data.to_vec()).into()));
            options += " --params params.scale";
        }
        BlockDataForm::MaybeCompressed => {
            files.push(("block-data", candidate.block_data.clone()));
            files.push(("parent-head", context.parent_head.clone()));
            let (number, root) = (context.relay_parent_number, context.relay_parent_storage_root);
            options += &format!(" --parent-head @parent-head --block-data @block-data --relay-parent-number {number}");
            options += &format!(" --relay-parent-storage-root 0x{root}");
        }
    }
    (files, options)
}

fn extract(path: &Path, out: &Path, json: bool) -> Result<Exit, Failure> {
    let bundle = read(path)?;
    let no = |file: &Path, error: std::io::Error| Failure::Input(format!("--out {}: {error}", file.display()));
    fs::create_dir_all(out).map_err(|error| no(out, error))?;
    let (files, options) = files(&bundle);
    let mut request = serde_json::to_vec_pretty(&request_json(&bundle)).unwrap_or_default();
    request.push(b'\n');
    let mut written = Vec::new();
    for (name, bytes) in files.into_iter().chain([("request.json", request.into())]) {
        let file = out.join(name);
        // Not for other users: a PoV may be confidential.
        let new = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&file);
        new.and_then(|mut new| new.write_all(&bytes)).map_err(|error| no(&file, error))?;
        written.push(file.display().to_string());
    }
    if json {
        outln!("{}", json!({"files": written, "command": format!("pvf {options}")}));
        return Ok(Exit::Success);
    }
    written.iter().for_each(|file| outln!("{file}"));
    let extension = bundle.candidate.as_ref().is_some_and(|of| {
        of.context.extension.is_some() && matches!(of.context.block_data_form, BlockDataForm::MaybeCompressed)
    });
    match extension {
        // Without the extension it would be another candidate.
        true => outln!("only `pvf replay` can run it: its parameters have an extension, and its PoV is as submitted"),
        false => outln!("run it with: pvf {options}"),
    }
    Ok(Exit::Success)
}
