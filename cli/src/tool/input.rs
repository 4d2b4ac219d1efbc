//! Turns files and options into requests. Errors name the option and the file.

use super::{
    failure::Failure,
    files::{self, folder, pov::Extension},
    network::args::LimitArgs,
    request_args::{Execute, ExtensionArgs},
    text::escaped,
};
use pvf_shared::{
    Bytes,
    candidate::{BlockDataForm, CandidateContext, ValidationParamsExtension, decode_params},
    client::ExecuteRequest,
    ids::StorageRoot,
    params::ExecutorParams,
    priority::ExecuteKind,
    telemetry::to_stderr,
};
use std::path::{Path, PathBuf};

fn bad(what: &str, why: impl std::fmt::Display) -> Failure {
    Failure::Input(format!("{what}: {why}"))
}

/// The validation code in a file. What it is, if it is not simply the code, and what the user should know is said on
/// stderr.
pub(crate) fn code(path: &Path) -> Result<Bytes, Failure> {
    let code = files::code::read_code("CODE", path)?;
    if !["wasm", "compressed wasm"].contains(&code.found.as_str()) {
        to_stderr(format_args!("{}: {}", path.display(), escaped(&code.found)));
    }
    for warning in &code.warnings {
        to_stderr(format_args!("warning: {}", escaped(warning)));
    }
    Ok(code.bytes)
}

/// Executor parameters: JSON if the file begins with a JSON list, SCALE otherwise. Whatever decodes is taken, as by
/// every host; a rule of the relay chain that it breaks is a warning, or an error with `--strict`.
pub(crate) fn executor_params(args: &LimitArgs) -> Result<ExecutorParams, Failure> {
    let Some(path) = &args.executor_params else { return Ok(ExecutorParams::default()) };
    let what = format!("--executor-params {}", path.display());
    let bytes = files::read("--executor-params", path)?;
    // Not ambiguous: a SCALE list that begins with '[' would have more than 2^30 entries.
    let params = if bytes.trim_ascii_start().starts_with(b"[") {
        serde_json::from_slice(&bytes).map_err(|e| bad(&what, format!("not valid JSON: {e}")))?
    } else {
        ExecutorParams::from_scale(&bytes).map_err(|e| bad(&what, e))?
    };
    consistent(&what, params, args.strict)
}

/// The parameters. A rule of the relay chain that they break is a warning, or an error if `strict`.
pub(crate) fn consistent(what: &str, params: ExecutorParams, strict: bool) -> Result<ExecutorParams, Failure> {
    match params.check_consistency() {
        Err(broken) if strict => return Err(bad(what, broken)),
        Err(broken) => to_stderr(format_args!("warning: {what}: {broken}: the relay chain would not accept this")),
        Ok(()) => {}
    }
    Ok(params)
}

fn hex_bytes(what: &str, text: &str) -> Result<Vec<u8>, Failure> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    hex::decode(digits).map_err(|e| bad(what, format!("not hex ({e}); to name a file, write @FILE")))
}

/// The content of `@FILE`, which may be hex text with `0x`, or bytes in hex with or without `0x`.
fn hex_or_file(what: &str, text: &str) -> Result<Bytes, Failure> {
    match text.strip_prefix('@') {
        Some(path) => files::read_maybe_hex(what, Path::new(path)),
        None => hex_bytes(what, text).map(Bytes::from),
    }
}

/// The extension of candidates of version 3, if its two hashes are given.
pub(crate) fn extension(args: &ExtensionArgs) -> Result<Extension, Failure> {
    let hash = |what: &str, text: &str| -> Result<[u8; 32], Failure> {
        let bytes = hex_bytes(what, text)?;
        let length = bytes.len();
        bytes.try_into().map_err(|_| bad(what, format!("{length} bytes, but a hash has 32")))
    };
    match (&args.relay_parent, &args.scheduling_parent) {
        (Some(relay), Some(scheduling)) => Ok(Some(ValidationParamsExtension::V3 {
            relay_parent: hash("--relay-parent", relay)?,
            scheduling_parent: hash("--scheduling-parent", scheduling)?,
        })),
        // clap demands both or neither.
        _ => Ok(None),
    }
}

/// The requests of an `execute` command, each with its name for the output.
pub(crate) fn requests(args: &Execute) -> Result<Vec<(String, ExecuteRequest)>, Failure> {
    let extension = || extension(&args.extension);
    let mut requests = if !args.pov.is_empty() {
        from_povs(&args.pov, args.kind, &extension()?)?
    } else if !args.params.is_empty() {
        from_params(&args.params, args.kind, &extension()?)?
    } else {
        from_parts(args)?
    };
    for (_, request) in &mut requests {
        request.exec_timeout = args.timeout;
        request.fresh = args.fresh;
    }
    Ok(requests)
}

/// The candidates of `--pov`.
pub(crate) fn from_povs(
    paths: &[PathBuf],
    kind: ExecuteKind,
    extension: &Extension,
) -> Result<Vec<(String, ExecuteRequest)>, Failure> {
    let one = |pov: files::pov::Pov| {
        let name = pov.path.display().to_string();
        for warning in pov.warnings(extension) {
            to_stderr(format_args!("warning: {name}: {warning}"));
        }
        let request = ExecuteRequest::new(kind, pov.context(extension), pov.block_data);
        (name, request)
    };
    Ok(folder::povs("--pov", paths)?.into_iter().map(one).collect())
}

/// The candidates of `--params`. `given` is the extension of those that have none.
pub(crate) fn from_params(
    paths: &[PathBuf],
    kind: ExecuteKind,
    given: &Extension,
) -> Result<Vec<(String, ExecuteRequest)>, Failure> {
    let one = |path: PathBuf| {
        let what = format!("--params {}", path.display());
        let bytes = files::read_maybe_hex("--params", &path)?;
        let (params, extension) = decode_params(&bytes).map_err(|e| bad(&what, e))?;
        if extension.is_some() && given.is_some() && extension != *given {
            return Err(bad(&what, "its extension has other hashes than --relay-parent and --scheduling-parent"));
        }
        let context = CandidateContext {
            parent_head: params.parent_head.into(),
            relay_parent_number: params.relay_parent_number,
            relay_parent_storage_root: StorageRoot(params.relay_parent_storage_root),
            extension: extension.or(given.clone()),
            block_data_form: BlockDataForm::Decompressed,
        };
        Ok((path.display().to_string(), ExecuteRequest::new(kind, context, params.block_data)))
    };
    folder::params("--params", paths)?.into_iter().map(one).collect()
}

fn from_parts(args: &Execute) -> Result<Vec<(String, ExecuteRequest)>, Failure> {
    // clap guarantees that these options are present.
    let root = args.relay_parent_storage_root.as_deref().unwrap_or_default();
    let context = CandidateContext {
        parent_head: hex_or_file("--parent-head", args.parent_head.as_deref().unwrap_or_default())?,
        relay_parent_number: args.relay_parent_number.unwrap_or_default(),
        relay_parent_storage_root: root.parse().map_err(|e| bad("--relay-parent-storage-root", e))?,
        extension: extension(&args.extension)?,
        block_data_form: BlockDataForm::MaybeCompressed,
    };
    let one = |text: &String| {
        let data = hex_or_file("--block-data", text)?;
        let name = text.strip_prefix('@').unwrap_or("block data").to_owned();
        if context.extension.is_none()
            && files::block_data::BlockData::read(&data).is_ok_and(|(blocks, _)| blocks.has_scheduling_proof)
        {
            to_stderr(format_args!(
                "warning: {name}: it has a scheduling proof, so it may be of a candidate of version 3, whose verdict is \
                 worth nothing without --relay-parent and --scheduling-parent"
            ));
        }
        Ok((name, ExecuteRequest::new(args.kind, context.clone(), data)))
    };
    args.block_data.iter().map(one).collect()
}
