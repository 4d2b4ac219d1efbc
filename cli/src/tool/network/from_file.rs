//! `--network FILE`: a snapshot, the chain specification of a relay chain, or a node's saved answer.

use super::{
    host_configuration::HostConfiguration,
    snapshot::{FORMAT, Limits, Snapshot},
    storage,
};
use crate::tool::files::{chain_spec, hex_text};
use parity_scale_codec::DecodeAll as _;
use pvf_shared::params::ExecutorParams;
use serde_json::Value;
use std::{
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// What the file may be, for errors.
const EXPECTED: &str = "expected a snapshot of `pvf network fetch`, the chain specification of a relay chain, or a \
                        node's JSON-RPC answer with session_executor_params or Configuration.ActiveConfig";

pub(super) fn read(path: &Path) -> Result<Snapshot, String> {
    let bytes = std::fs::read(path).map_err(|e| format!("cannot read it: {e}"))?;
    let written = std::fs::metadata(path).and_then(|of| of.modified()).unwrap_or(UNIX_EPOCH);
    parse(&bytes, written)
}

fn parse(bytes: &[u8], written: SystemTime) -> Result<Snapshot, String> {
    let json: Value = serde_json::from_slice(bytes).map_err(|e| format!("not JSON ({e}); {EXPECTED}"))?;
    if json.get("format").is_some() {
        return Snapshot::parse(bytes);
    }
    let (chain, configuration) = if json.get("genesis").is_some() {
        of_chain_spec(&json)?
    } else if let Some(result) = json.get("result") {
        ("a saved answer".to_owned(), of_answer(result)?)
    } else {
        return Err(format!("JSON of another kind; {EXPECTED}"));
    };
    // Whole seconds, as snapshots have.
    let seconds = written.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    Ok(Snapshot {
        format: FORMAT.into(),
        chain,
        genesis: None,
        block: None,
        time: humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(seconds)).to_string(),
        session: None,
        limits: configuration.limits,
        executor_params: configuration.executor_params,
        pending: vec![],
        parachains: vec![],
        provenance: Default::default(),
    })
}

fn of_chain_spec(json: &Value) -> Result<(String, HostConfiguration), String> {
    let name = json.get("name").and_then(Value::as_str).unwrap_or("a relay chain").to_owned();
    let key = format!("0x{}", hex::encode(storage::active_config()));
    let configuration = match chain_spec::host_configuration(json, &key) {
        Some(chain_spec::HostConfiguration::Json(json)) => HostConfiguration::from_json(json)?,
        Some(chain_spec::HostConfiguration::Raw(text)) => {
            let bytes = hex_text(text.as_bytes()).ok_or("a configuration that is not hex")??;
            HostConfiguration::from_scale(&bytes)?
        }
        None => {
            return Err("a chain specification without a configuration of parachains: is it a relay chain's?".into());
        }
    };
    Ok((name, configuration))
}

fn of_answer(result: &Value) -> Result<HostConfiguration, String> {
    let bytes = match result.as_str() {
        Some(text) => hex_text(text.as_bytes()).ok_or_else(|| format!("an answer that is not hex; {EXPECTED}"))??,
        None => return Err(format!("an answer that is not text; {EXPECTED}")),
    };
    if let Ok(configuration) = HostConfiguration::from_scale(&bytes) {
        return Ok(configuration);
    }
    let params = Option::<ExecutorParams>::decode_all(&mut &bytes[..]);
    let params = params.map_err(|_| format!("an answer of {} bytes of another kind; {EXPECTED}", bytes.len()))?;
    Ok(HostConfiguration { limits: Limits::default(), executor_params: params.unwrap_or_default() })
}

#[cfg(test)]
mod tests {
    use super::{super::host_configuration::tests::encoded, *};
    use parity_scale_codec::Encode as _;
    use pvf_shared::params::ExecutorParam;
    use serde_json::json;

    fn read(json: &Value) -> Result<Snapshot, String> {
        parse(json.to_string().as_bytes(), UNIX_EPOCH)
    }

    #[test]
    fn each_kind_of_file_is_read() {
        let params = ExecutorParams(vec![ExecutorParam::MaxMemoryPages(8192)]);
        let config = format!("0x{}", hex::encode(encoded(3 << 20, 10 << 20, &params)));
        let key = format!("0x{}", hex::encode(storage::active_config()));
        let raw = json!({"name": "R", "genesis": {"raw": {"top": {key: config}}}});
        let plain = json!({"name": "R", "genesis": {"runtimeGenesis": {"patch": {"configuration": {"config":
            {"max_code_size": 3 << 20, "max_pov_size": 10 << 20, "executor_params": [{"MaxMemoryPages": 8192}]}}}}}});
        let answer = json!({"jsonrpc": "2.0", "result": config});
        for json in [raw, plain, answer] {
            let snapshot = read(&json).unwrap();
            assert_eq!(snapshot.limits.max_pov_size, Some(10 << 20), "{json}");
            assert_eq!(snapshot.executor_params, params);
            assert_eq!(snapshot.time, "1970-01-01T00:00:00Z");
        }
        let session = format!("0x{}", hex::encode(Some(params.clone()).encode()));
        let snapshot = read(&json!({"jsonrpc": "2.0", "result": session})).unwrap();
        assert_eq!((snapshot.executor_params, snapshot.limits.named().len()), (params, 0));
        assert_eq!(read(&json!({"result": "0x00"})).unwrap().executor_params, ExecutorParams::default());
    }

    #[test]
    fn other_files_are_errors() {
        for (json, word) in [
            (json!([]), "another kind"),
            (json!({"result": 5}), "not text"),
            (json!({"result": "0x0102"}), "another kind"),
            (json!({"genesis": {"raw": {"top": {}}}}), "without a configuration"),
        ] {
            assert!(read(&json).unwrap_err().contains(word), "{json}");
        }
        assert!(parse(b"not json", UNIX_EPOCH).unwrap_err().contains("not JSON"));
    }
}
