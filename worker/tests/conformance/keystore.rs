//! The functions of the host interface `crypto` that need a keystore. There is none, so a call makes the candidate
//! invalid.

use crate::call::{Arg, Output, Subject, at, host_functions, slice, word};
use parity_scale_codec::Encode as _;
use pvf_shared::params::ExecutorParam;

const PARAMS: &[ExecutorParam] = &[];
const NO_KEYSTORE: &str = "No `keystore` associated for the current context!";
const OUT: &str = "memory read is out of bounds";

async fn lists(it: Subject) {
    for key_type in [b"para", b"aura", b"\0\0\0\0"] {
        it.rejects("a key type", &[at(key_type)], NO_KEYSTORE).await;
    }
    it.rejects("a key type beyond memory", &[word(0xffff_fffe)], OUT).await;
}

async fn generates(it: Subject) {
    let seed = |seed: Option<&[u8]>| slice(seed.map(<[u8]>::to_vec).encode());
    it.rejects("no seed", &[at(b"para"), seed(None)], NO_KEYSTORE).await;
    it.rejects("a seed", &[at(b"para"), seed(Some(b"//Alice"))], NO_KEYSTORE).await;
    it.rejects("a seed that is not UTF-8", &[at(b"para"), seed(Some(&[0xff]))], "Seed is valid utf8!").await;
    it.rejects("a seed that does not decode", &[at(b"para"), slice([2])], "could not SCALE-decode").await;
    it.rejects("an empty encoding of the seed", &[at(b"para"), slice([])], "could not SCALE-decode").await;
    it.rejects("a seed beyond memory", &[at(b"para"), word(0x1_ffff_ffff)], OUT).await;
}

async fn signs(it: Subject, key_len: usize, message: fn(Vec<u8>) -> Arg) {
    let key = at(vec![1; key_len]);
    it.rejects("a message", &[at(b"para"), key.clone(), message(vec![5; 32])], NO_KEYSTORE).await;
    it.rejects("a key beyond memory", &[at(b"para"), word(0xffff_fff0), message(vec![5; 32])], OUT).await;
    it.rejects("a message beyond memory", &[at(b"para"), key, word(0x1_ffff_ffff)], OUT).await;
}

host_functions! {
    ext_crypto_ed25519_public_keys_version_1 -> Output::Slice, |it| { lists(it).await; }
    ext_crypto_sr25519_public_keys_version_1 -> Output::Slice, |it| { lists(it).await; }
    ext_crypto_ecdsa_public_keys_version_1 -> Output::Slice, |it| { lists(it).await; }
    ext_crypto_ed25519_generate_version_1 -> Output::Bytes(32), |it| { generates(it).await; }
    ext_crypto_sr25519_generate_version_1 -> Output::Bytes(32), |it| { generates(it).await; }
    ext_crypto_ecdsa_generate_version_1 -> Output::Bytes(33), |it| { generates(it).await; }
    ext_crypto_ed25519_sign_version_1 -> Output::Slice, |it| { signs(it, 32, slice).await; }
    ext_crypto_sr25519_sign_version_1 -> Output::Slice, |it| { signs(it, 32, slice).await; }
    ext_crypto_ecdsa_sign_version_1 -> Output::Slice, |it| { signs(it, 33, slice).await; }
    ext_crypto_ecdsa_sign_prehashed_version_1 -> Output::Slice, |it| { signs(it, 33, at).await; }
}
