//! Validation codes with different hashes and the same behaviour, for loads that caching by code hash must not absorb.

use crate::{adder::ADDER, encode::leb128};

/// Name of the custom section in which the variants differ.
const SECTION: &[u8] = b"variant";

/// The adder with a custom section that contains `n`. Each `n` has another code hash, and all have the same behaviour.
pub fn distinct_adder(n: u32) -> Vec<u8> {
    let mut code = ADDER.to_vec();
    custom_section(&mut code, SECTION, &n.to_le_bytes());
    code
}

/// Appends a custom section; the format allows one at the end.
pub(crate) fn custom_section(code: &mut Vec<u8>, name: &[u8], content: &[u8]) {
    let mut body = Vec::new();
    leb128(&mut body, name.len() as u32);
    body.extend_from_slice(name);
    body.extend_from_slice(content);
    code.push(0);
    leb128(code, body.len() as u32);
    code.extend_from_slice(&body);
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use wasm_instrument::parity_wasm::elements::{Module, deserialize_buffer};

    use super::*;

    #[test]
    fn variants_differ_in_one_section_only() {
        let mut seen = HashSet::new();
        for n in [0, 1, 2, 0x80, u32::MAX] {
            let code = distinct_adder(n);
            let module: Module = deserialize_buffer(&code).expect("a variant is wasm MVP");
            let section = module.custom_sections().find(|it| it.name() == "variant");
            assert_eq!(section.map(|it| it.payload()), Some(&n.to_le_bytes()[..]));
            assert!(code.starts_with(ADDER));
            assert!(seen.insert(code));
        }
    }
}
