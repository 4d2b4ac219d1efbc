//! `ext_misc_runtime_version`: reads the version of a runtime, which the guest passes as wasm, from its custom sections
//! `runtime_version` and `runtime_apis`. Consensus: the result must be the one of the Polkadot node's host.

use parity_scale_codec::{Decode, Encode};
use sp_core::traits::ReadRuntimeVersion;
use sp_externalities::Externalities;
use wasm_instrument::parity_wasm::elements::{self, Module};

/// Largest decompressed runtime, bytes; the limit of the Polkadot node's host.
const BOMB_LIMIT: usize = 50 * 1024 * 1024;
/// Id of the runtime API `Core`, whose version determines the fields of the version section.
const CORE_API: [u8; 8] = [0xdf, 0x6a, 0xcb, 0x68, 0x99, 0x07, 0x60, 0x9b];

type Api = ([u8; 8], u32);

/// Reads the embedded version. A runtime without one is an error: the runtime is never executed.
pub(super) struct EmbeddedVersion;

impl ReadRuntimeVersion for EmbeddedVersion {
    fn read_runtime_version(&self, wasm: &[u8], _: &mut dyn Externalities) -> Result<Vec<u8>, String> {
        let wasm = sp_maybe_compressed_blob::decompress(wasm, BOMB_LIMIT).map_err(|e| e.to_string())?;
        let module: Module = elements::deserialize_buffer(&wasm).map_err(|e: elements::Error| e.to_string())?;
        let section = |name: &str| module.custom_sections().find(|s| s.name() == name).map(|s| s.payload());
        let version = section("runtime_version").ok_or("the runtime has no runtime_version section")?;
        RuntimeVersion::of_sections(version, section("runtime_apis")).map(|version| version.encode())
    }
}

/// Decodes the section `runtime_apis`: entries of an id (8 bytes) and a version (4 bytes, little endian), without a
/// count.
fn decode_apis(mut bytes: &[u8]) -> Result<Vec<Api>, String> {
    if !bytes.len().is_multiple_of(12) {
        return Err("runtime_apis: length is not a multiple of 12 bytes".into());
    }
    let mut apis = Vec::new();
    while !bytes.is_empty() {
        apis.push(Api::decode(&mut bytes).map_err(|e| e.to_string())?);
    }
    Ok(apis)
}

/// A runtime's version in the latest layout.
#[derive(Debug, Clone, PartialEq, Eq, Encode)]
pub struct RuntimeVersion {
    /// Name of the runtime.
    pub spec_name: String,
    /// Name of the implementation.
    pub impl_name: String,
    /// Version of the authoring interface.
    pub authoring_version: u32,
    /// Version of the runtime; an upgrade raises it.
    pub spec_version: u32,
    /// Version of the implementation.
    pub impl_version: u32,
    /// Ids and versions of the runtime APIs.
    pub apis: Vec<Api>,
    /// Version of the extrinsics' encoding.
    pub transaction_version: u32,
    /// Version of the state and of the extrinsics' trie.
    pub system_version: u8,
}

impl RuntimeVersion {
    /// The version in the custom sections `runtime_version` and `runtime_apis` of a runtime.
    ///
    /// # Errors
    /// A section does not decode.
    pub fn of_sections(version: &[u8], apis: Option<&[u8]>) -> Result<Self, String> {
        let apis = apis.map(decode_apis).transpose()?;
        Self::read(version, apis)
    }

    /// Reads a version section. Older layouts lack the last fields: the transaction version exists since version 3 of
    /// the Core API, the system version since version 4.
    fn read(mut bytes: &[u8], apis: Option<Vec<Api>>) -> Result<Self, String> {
        let input = &mut bytes;
        let read = |e: parity_scale_codec::Error| format!("runtime_version: {e}");
        let mut version = Self {
            spec_name: Decode::decode(input).map_err(read)?,
            impl_name: Decode::decode(input).map_err(read)?,
            authoring_version: Decode::decode(input).map_err(read)?,
            spec_version: Decode::decode(input).map_err(read)?,
            impl_version: Decode::decode(input).map_err(read)?,
            apis: Decode::decode(input).map_err(read)?,
            transaction_version: 1,
            system_version: 0,
        };
        let core = |apis: &[Api]| apis.iter().find(|(id, _)| *id == CORE_API).map(|(_, v)| *v);
        let core = apis.as_deref().and_then(core).or_else(|| core(&version.apis)).unwrap_or(0);
        if core >= 3 {
            version.transaction_version = Decode::decode(input).map_err(read)?;
        }
        if core >= 4 {
            version.system_version = Decode::decode(input).map_err(read)?;
        }
        if let Some(apis) = apis {
            version.apis = apis;
        }
        Ok(version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runtime(core: u32, version: &[u8]) -> Vec<u8> {
        let mut wasm = b"\0asm\x01\0\0\0".to_vec();
        let mut section = |name: &str, payload: &[u8]| {
            let body = [&[name.len() as u8], name.as_bytes(), payload].concat();
            wasm.extend([0, body.len() as u8]);
            wasm.extend(body);
        };
        section("runtime_version", version);
        section("runtime_apis", &(CORE_API, core).encode());
        wasm
    }

    #[test]
    fn each_layout_is_read_and_converted_to_the_latest() {
        let oldest = ("s", "i", 1u32, 2u32, 3u32, Vec::<Api>::new()).encode();
        let newest = [oldest.clone(), vec![7, 0, 0, 0, 1]].concat();
        let mut ext = super::super::externalities::ValidationExternalities::new();
        let mut read = |wasm: &[u8]| EmbeddedVersion.read_runtime_version(wasm, &mut ext);
        let expected = |core: u32, tx: u32, system: u8| {
            Ok(("s", "i", 1u32, 2u32, 3u32, vec![(CORE_API, core)], tx, system).encode())
        };
        assert_eq!(read(&runtime(2, &oldest)), expected(2, 1, 0));
        assert_eq!(read(&runtime(3, &newest)), expected(3, 7, 0));
        assert_eq!(read(&runtime(4, &newest)), expected(4, 7, 1));
        assert!(read(&runtime(4, &oldest)).is_err());
        assert!(read(b"not wasm").is_err());
        assert!(read(b"\0asm\x01\0\0\0").is_err());
    }
}
