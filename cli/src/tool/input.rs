//! Turns files and options into requests. Errors name the option and the file.

use super::{
    args::{Execute, Parameters},
    failure::Failure,
};
use pvf_shared::{
    Bytes,
    candidate::{BlockDataForm, CandidateContext, decode_params},
    client::ExecuteRequest,
    ids::StorageRoot,
    params::ExecutorParams,
    telemetry::to_stderr,
};
use std::path::Path;

fn bad(what: &str, why: impl std::fmt::Display) -> Failure {
    Failure::Input(format!("{what}: {why}"))
}

/// A file's content.
pub(crate) fn read(what: &str, path: &Path) -> Result<Bytes, Failure> {
    std::fs::read(path).map(Bytes::from).map_err(|e| bad(what, format!("cannot read {}: {e}", path.display())))
}

/// Executor parameters: JSON if the file begins with a JSON list, SCALE otherwise. Whatever decodes is taken, as by
/// every host; a rule of the relay chain that it breaks is a warning, or an error with `--strict`.
pub(crate) fn executor_params(parameters: &Parameters) -> Result<ExecutorParams, Failure> {
    let Some(path) = &parameters.executor_params else { return Ok(ExecutorParams::default()) };
    let what = format!("--executor-params {}", path.display());
    let bytes = read("--executor-params", path)?;
    // Not ambiguous: a SCALE list that begins with '[' would have more than 2^30 entries.
    let params = if bytes.trim_ascii_start().starts_with(b"[") {
        serde_json::from_slice(&bytes).map_err(|e| bad(&what, format!("not valid JSON: {e}")))?
    } else {
        ExecutorParams::from_scale(&bytes).map_err(|e| bad(&what, e))?
    };
    match params.check_consistency() {
        Err(broken) if parameters.strict => return Err(bad(&what, broken)),
        Err(broken) => to_stderr(format_args!("warning: {what}: {broken}: the relay chain would not accept this")),
        Ok(()) => {}
    }
    Ok(params)
}

fn hex_bytes(what: &str, text: &str) -> Result<Vec<u8>, Failure> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    hex::decode(digits).map_err(|e| bad(what, format!("not hex ({e}); to name a file, write @FILE")))
}

/// The content of `@FILE`, or bytes in hex with or without `0x`.
fn hex_or_file(what: &str, text: &str) -> Result<Bytes, Failure> {
    match text.strip_prefix('@') {
        Some(path) => read(what, Path::new(path)),
        None => hex_bytes(what, text).map(Bytes::from),
    }
}

/// The requests of an `execute` command, each with its name for the output.
pub(crate) fn requests(args: &Execute) -> Result<Vec<(String, ExecuteRequest)>, Failure> {
    let mut requests = if args.params.is_empty() { from_parts(args)? } else { from_params(args)? };
    for (_, request) in &mut requests {
        request.exec_timeout = args.timeout;
        request.fresh = args.fresh;
    }
    Ok(requests)
}

fn from_params(args: &Execute) -> Result<Vec<(String, ExecuteRequest)>, Failure> {
    let one = |path: &std::path::PathBuf| {
        let bytes = read("--params", path)?;
        let (params, extension) = decode_params(&bytes).map_err(|e| bad(&format!("--params {}", path.display()), e))?;
        let context = CandidateContext {
            parent_head: params.parent_head.into(),
            relay_parent_number: params.relay_parent_number,
            relay_parent_storage_root: StorageRoot(params.relay_parent_storage_root),
            extension,
            block_data_form: BlockDataForm::Decompressed,
        };
        Ok((path.display().to_string(), ExecuteRequest::new(args.kind, context, params.block_data)))
    };
    args.params.iter().map(one).collect()
}

fn from_parts(args: &Execute) -> Result<Vec<(String, ExecuteRequest)>, Failure> {
    // clap guarantees that these options are present.
    let root = args.relay_parent_storage_root.as_deref().unwrap_or_default();
    let context = CandidateContext {
        parent_head: hex_or_file("--parent-head", args.parent_head.as_deref().unwrap_or_default())?,
        relay_parent_number: args.relay_parent_number.unwrap_or_default(),
        relay_parent_storage_root: root.parse().map_err(|e| bad("--relay-parent-storage-root", e))?,
        extension: None,
        block_data_form: BlockDataForm::MaybeCompressed,
    };
    let one = |text: &String| {
        let data = hex_or_file("--block-data", text)?;
        let name = text.strip_prefix('@').unwrap_or("block data").to_owned();
        Ok((name, ExecuteRequest::new(args.kind, context.clone(), data)))
    };
    args.block_data.iter().map(one).collect()
}
