//! Keys of the relay chain's storage.

use parity_scale_codec::Encode as _;
use sp_crypto_hashing::{twox_64, twox_128};

fn value(pallet: &str, item: &str) -> Vec<u8> {
    [twox_128(pallet.as_bytes()), twox_128(item.as_bytes())].concat()
}

/// The configuration that holds now.
pub(crate) fn active_config() -> Vec<u8> {
    value("Configuration", "ActiveConfig")
}

/// The configurations that hold from later sessions on.
pub(crate) fn pending_configs() -> Vec<u8> {
    value("Configuration", "PendingConfigs")
}

/// The ids of all parachains.
pub(crate) fn parachains() -> Vec<u8> {
    value("Paras", "Parachains")
}

/// The hash of a parachain's code.
pub(crate) fn current_code_hash(para: u32) -> Vec<u8> {
    of_para("CurrentCodeHash", para)
}

/// The hash of the code to which a parachain is about to upgrade.
pub(crate) fn future_code_hash(para: u32) -> Vec<u8> {
    of_para("FutureCodeHash", para)
}

fn of_para(item: &str, para: u32) -> Vec<u8> {
    let id = para.encode();
    [&value("Paras", item)[..], &twox_64(&id), &id].concat()
}

/// The code with this hash.
pub(crate) fn code_by_hash(hash: &[u8; 32]) -> Vec<u8> {
    [&value("Paras", "CodeByHash")[..], hash].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_those_of_the_relay_chain() {
        let hex = |key: Vec<u8>| format!("0x{}", hex::encode(key));
        let expected = "0x06de3d8a54d27e44a9d5ce189618f22db4b49d95320d9021994c850f25b8e385";
        assert_eq!(hex(active_config()), expected);
        let expected = "0x06de3d8a54d27e44a9d5ce189618f22d53b4123b2e186e07fb7bad5dda5f55c0";
        assert_eq!(hex(pending_configs()), expected);
        assert_eq!(hex(parachains()), "0xcd710b30bd2eab0352ddcc26417aa1940b76934f4cc08dee01012d059e1b83ee");
        let code = hex(code_by_hash(&[7; 32]));
        assert!(code.starts_with("0xcd710b30bd2eab0352ddcc26417aa194383e6dcb39e0be0a2e6aeb8b94951ab60707"), "{code}");
        let current = hex(current_code_hash(2000));
        assert!(current.starts_with("0xcd710b30bd2eab0352ddcc26417aa194e2d1c22ba0a888147714a3487bd51c63"));
        assert!(current.ends_with("d0070000") && current.len() == 2 + 2 * (32 + 8 + 4), "{current}");
        let future = hex(future_code_hash(2000));
        assert!(future.starts_with("0xcd710b30bd2eab0352ddcc26417aa194cad3324113c312669f1ac3d50722524b"));
    }
}
