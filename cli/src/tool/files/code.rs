//! Validation code in the files that people have.

use super::{COMPRESSED, Code, WASM, bad, chain_spec, hex_text, looks_like, pov, read};
use crate::tool::failure::Failure;
use parity_scale_codec::{Compact, Decode as _};
use pvf_shared::Bytes;
use serde_json::Value;
use std::path::Path;

/// What validation code may be in, for errors.
const EXPECTED: &str = "expected wasm, compressed wasm (as wasm-builder and srtool write it), either of them as hex \
                        text (0x…), a chain specification (plain or raw), or a node's JSON-RPC answer with code";

/// Reads the code in a file. `what` is the argument that names it.
pub(crate) fn read_code(what: &str, path: &Path) -> Result<Code, Failure> {
    let bytes = read(what, path)?;
    recognise(&bytes).map_err(|why| bad(what, format!("{}: {why}", path.display())))
}

/// Finds the code in the content of a file.
pub(crate) fn recognise(bytes: &Bytes) -> Result<Code, String> {
    if let Some(form) = form(bytes) {
        return Ok(Code { bytes: bytes.clone(), found: form.into(), warnings: vec![] });
    }
    if let Some(decoded) = hex_text(bytes) {
        let decoded = decoded?;
        let form = form(&decoded).ok_or_else(|| format!("hex text, but not of wasm: {}", looks_like(&decoded)))?;
        return Ok(Code { bytes: decoded.into(), found: format!("hex text of {form}"), warnings: vec![] });
    }
    if bytes.trim_ascii_start().starts_with(b"{") {
        let json: Value = serde_json::from_slice(bytes).map_err(|e| format!("JSON, but not valid: {e}"))?;
        return in_json(&json);
    }
    if let Some(what) = pov::name_of(bytes) {
        return Err(format!("this is {what}, not validation code; {EXPECTED}"));
    }
    Err(format!("not validation code ({}); {EXPECTED}", looks_like(bytes)))
}

/// What bytes of code are; `None` if they are something else.
fn form(bytes: &[u8]) -> Option<&'static str> {
    if bytes.starts_with(&WASM) {
        Some("wasm")
    } else if bytes.starts_with(&COMPRESSED) {
        Some("compressed wasm")
    } else {
        None
    }
}

fn in_json(json: &Value) -> Result<Code, String> {
    if json.get("genesis").is_some() {
        return chain_spec::code(json);
    }
    if let Some(message) = json.pointer("/error/message").and_then(Value::as_str) {
        return Err(format!("a node's answer with an error: {message}"));
    }
    let Some(result) = json.get("result") else {
        return Err(format!("JSON, but neither a chain specification nor a node's answer; {EXPECTED}"));
    };
    if result.is_null() {
        return Err("a node's answer without code: null, there is no such value at this block".into());
    }
    let text = result.as_str().ok_or("a node's answer without code: its result is not text")?;
    let bytes = hex_text(text.as_bytes()).ok_or("a node's answer whose result is not hex")??;
    let code = of_storage(&bytes).ok_or_else(|| format!("a node's answer without code: {}", looks_like(&bytes)))?;
    let form = form(&code).unwrap_or("wasm");
    Ok(Code { found: format!("a node's answer with {form}"), bytes: code.into(), warnings: vec![] })
}

/// The code in a value of storage or of a runtime API: bare, as a list of bytes, or as an optional one.
pub(crate) fn of_storage(bytes: &[u8]) -> Option<Vec<u8>> {
    let list = |mut bytes: &[u8]| {
        let Compact(length) = Compact::<u32>::decode(&mut bytes).ok()?;
        (bytes.len() == length as usize && form(bytes).is_some()).then(|| bytes.to_vec())
    };
    if form(bytes).is_some() {
        return Some(bytes.to_vec());
    }
    list(bytes).or_else(|| list(bytes.strip_prefix(&[1])?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use parity_scale_codec::Encode as _;
    use serde_json::json;

    const MODULE: &[u8] = b"\0asm\x01\0\0\0";

    fn found(bytes: &[u8]) -> Result<(Vec<u8>, String), String> {
        recognise(&Bytes::copy_from_slice(bytes)).map(|code| (code.bytes.to_vec(), code.found))
    }

    #[test]
    fn code_is_found_in_each_form() {
        let compressed = sp_maybe_compressed_blob::compress_weakly(MODULE, 1000).unwrap();
        let hex = |bytes: &[u8]| format!("0x{}\n", hex::encode(bytes));
        assert_eq!(found(MODULE), Ok((MODULE.into(), "wasm".into())));
        assert_eq!(found(&compressed), Ok((compressed.clone(), "compressed wasm".into())));
        assert_eq!(found(hex(MODULE).as_bytes()), Ok((MODULE.into(), "hex text of wasm".into())));
        let long = [MODULE, &[0; 30]].concat();
        let upper = hex::encode_upper(&long);
        for text in [format!("{upper}\r\n"), format!("0X{upper}")] {
            assert_eq!(found(text.as_bytes()), Ok((long.clone(), "hex text of wasm".into())));
        }
        let answers = [MODULE.to_vec(), MODULE.to_vec().encode(), Some(MODULE.to_vec()).encode()];
        for answer in answers {
            let text = json!({"jsonrpc": "2.0", "id": 1, "result": hex(&answer).trim()}).to_string();
            assert_eq!(found(text.as_bytes()), Ok((MODULE.into(), "a node's answer with wasm".into())));
        }
    }

    #[test]
    fn what_is_not_code_is_named() {
        for (bytes, word) in [
            (&b""[..], "empty"),
            (b"\x7fELF\x02", "executable"),
            (b"0xzz", "not valid"),
            (b"0x00010203", "not of wasm"),
            (b"{", "not valid"),
            (b"{}", "neither"),
            (b"{\"result\":5}", "not text"),
            (b"garbage", "0x67617262"),
        ] {
            let why = found(bytes).unwrap_err();
            assert!(why.contains(word), "{why}");
        }
        assert!(found(b"garbage").unwrap_err().contains("expected wasm"));
    }
}
