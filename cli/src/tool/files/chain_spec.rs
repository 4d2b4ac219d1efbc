//! Chain specifications: the code and the configuration of the relay chain in them, in the plain and the raw form.

use super::{Code, hex_text};
use serde_json::Value;

/// Key of the code in the raw form: `:code`.
const CODE_KEY: &str = "0x3a636f6465";

/// The code of a chain specification.
pub(crate) fn code(spec: &Value) -> Result<Code, String> {
    let (form, text) = find(spec)?;
    let bytes = hex_text(text.as_bytes()).ok_or("a chain specification whose code is not hex")??;
    let name = spec.get("name").and_then(Value::as_str).unwrap_or("without a name");
    let para_id = spec.get("para_id").or_else(|| spec.get("paraId")).and_then(Value::as_u64);
    let relay = spec.get("relay_chain").or_else(|| spec.get("relayChain")).and_then(Value::as_str);
    let mut warnings = Vec::new();
    let of = match (relay, para_id) {
        (None, None) => {
            let why = "it names no relay chain, so this is the code of a relay chain or a chain of its own, which no \
                       validator runs as a PVF";
            warnings.push(format!("chain specification {name:?}: {why}"));
            "a chain that is no parachain".to_owned()
        }
        (relay, Some(id)) => format!("parachain {id} of {}", relay.unwrap_or("a relay chain that it does not name")),
        (Some(relay), None) => format!("a parachain of {relay}"),
    };
    Ok(Code { bytes: bytes.into(), found: format!("the {form} chain specification {name:?} of {of}"), warnings })
}

fn find(spec: &Value) -> Result<(&'static str, &str), String> {
    let genesis = spec.get("genesis").ok_or("not a chain specification: it has no genesis")?;
    if let Some(raw) = genesis.get("raw") {
        let code = raw.get("top").and_then(|top| top.get(CODE_KEY)).and_then(Value::as_str);
        return code
            .map(|code| ("raw", code))
            .ok_or_else(|| format!("a raw chain specification without {CODE_KEY} (:code)"));
    }
    let plain = ["/runtimeGenesis/code", "/runtime/system/code", "/runtime/frameSystem/code"];
    let code = plain.iter().find_map(|path| genesis.pointer(path)).and_then(Value::as_str);
    code.map(|code| ("plain", code)).ok_or_else(|| {
        "a chain specification without code: neither genesis.raw.top, nor genesis.runtimeGenesis.code, nor \
         genesis.runtime.system.code"
            .into()
    })
}

/// The configuration of parachains in the specification of a relay chain: as JSON in the plain form, as the bytes of
/// storage in the raw form.
pub(crate) enum HostConfiguration<'a> {
    /// Of the plain form.
    Json(&'a Value),
    /// Of the raw form, hex.
    Raw(&'a str),
}

/// The configuration in the specification of a relay chain, if it has one. `key` is that of the storage entry.
pub(crate) fn host_configuration<'a>(spec: &'a Value, key: &str) -> Option<HostConfiguration<'a>> {
    let genesis = spec.get("genesis")?;
    if let Some(raw) = genesis.pointer("/raw/top").and_then(|top| top.get(key)) {
        return raw.as_str().map(HostConfiguration::Raw);
    }
    let plain = [
        "/runtimeGenesis/patch/configuration/config",
        "/runtimeGenesis/config/configuration/config",
        "/runtime/configuration/config",
        "/runtime/runtime_genesis_config/configuration/config",
    ];
    plain.iter().find_map(|path| genesis.pointer(path)).map(HostConfiguration::Json)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn code_of_each_form_is_found() {
        let parachain = json!({"name": "P", "relay_chain": "paseo", "para_id": 2000,
            "genesis": {"runtimeGenesis": {"code": "0x0061736d", "patch": {}}}});
        let found = code(&parachain).unwrap();
        assert_eq!((&found.bytes[..], found.warnings.len()), (&b"\0asm"[..], 0));
        assert_eq!(found.found, "the plain chain specification \"P\" of parachain 2000 of paseo");
        let relay = json!({"name": "R", "genesis": {"raw": {"top": {CODE_KEY: "0x0061736d"}}}});
        let found = code(&relay).unwrap();
        assert!(found.found.starts_with("the raw chain") && found.warnings[0].contains("names no relay chain"));
        let older = json!({"genesis": {"runtime": {"system": {"code": "0x0061736d"}}}, "para_id": 5});
        assert_eq!(&code(&older).unwrap().bytes[..], b"\0asm");
    }

    #[test]
    fn what_is_missing_is_named() {
        for (spec, word) in [
            (json!({}), "no genesis"),
            (json!({"genesis": {"raw": {"top": {}}}}), CODE_KEY),
            (json!({"genesis": {"raw": {"top": {CODE_KEY: "code"}}}}), "not hex"),
            (json!({"genesis": {"runtimeGenesis": {}}}), "without code"),
        ] {
            assert!(code(&spec).unwrap_err().contains(word), "{spec}");
        }
    }
}
