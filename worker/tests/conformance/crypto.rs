//! The host interface `crypto`: verification and recovery. Functions that need a keystore are tested in `keystore.rs`.

use crate::{
    call::{Arg, CallResult, Output, Subject, at, host_functions, slice, word},
    guest::{Random, hex},
};
use pvf_shared::params::ExecutorParam;
use sp_core::{Pair as _, ecdsa, ed25519, sr25519};
use sp_crypto_hashing::blake2_256;

const PARAMS: &[ExecutorParam] = &[];
const START: &str = "ext_crypto_start_batch_verify_version_1";
const FINISH: &str = "ext_crypto_finish_batch_verify_version_1";
const NOT_STARTED: &str = "`finish_batch_verify` should only be called after `start_batch_verify`";
/// The order of the group of secp256k1, big endian.
const ORDER: &str = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141";
/// Encoded errors of a recovery.
const BAD_RS: [u8; 2] = [1, 0];
const BAD_V: [u8; 2] = [1, 1];
const BAD_SIGNATURE: [u8; 2] = [1, 2];

fn messages() -> [Vec<u8>; 4] {
    [vec![], b"message".to_vec(), vec![0; 32], Random(3).bytes(1 << 20)]
}

/// Valid signatures by the key `public`, and signatures with one thing wrong each.
async fn verifies(it: &Subject, public: &[u8], sign: impl Fn(&[u8]) -> Vec<u8>) {
    for message in messages() {
        let case = format!("a message of {} bytes", message.len());
        it.returns(&case, &[at(sign(&message)), slice(message), at(public)], 1).await;
    }
    let (message, signature) = (b"message", sign(b"message"));
    let args = |signature: &[u8], message: &[u8], public: &[u8]| [at(signature), slice(message), at(public)];
    it.returns("another message", &args(&signature, b"massage", public), 0).await;
    it.returns("a truncated message", &args(&signature, b"messag", public), 0).await;
    it.returns("a random signature", &args(&Random(4).bytes(signature.len()), message, public), 0).await;
    it.returns("a signature of zeros", &args(&vec![0; signature.len()], message, public), 0).await;
    it.returns("a signature of ones", &args(&vec![0xff; signature.len()], message, public), 0).await;
    it.returns("a key of ones", &args(&signature, message, &vec![0xff; public.len()]), 0).await;
    for (what, len) in [("signature", signature.len()), ("key", public.len())] {
        for byte in [0, len / 2 - 1, len - 1] {
            let mut both = [signature.clone(), public.to_vec()];
            both[usize::from(what == "key")][byte] ^= 1;
            let case = format!("another bit in byte {byte} of the {what}");
            it.returns(&case, &args(&both[0], message, &both[1]), 0).await;
        }
    }
    let beyond = word(0xffff_fff0);
    let out = "memory read is out of bounds";
    it.rejects("a signature beyond memory", &[beyond.clone(), slice(message), at(public)], out).await;
    it.rejects("a key beyond memory", &[at(&signature), slice(message), beyond], out).await;
    it.rejects("a message beyond memory", &[at(&signature), word(0x1_ffff_ffff), at(public)], out).await;
}

/// The result of a batch depends on all of its signatures, and on no others.
async fn batches(name: &str, public: &[u8], signature: Vec<u8>) {
    let args = |message: &[u8]| [at(&signature), slice(message), at(public)];
    let (good, bad) = (args(b"message"), args(b"massage"));
    let it = Subject::new(&[START, name, name, FINISH], Output::Nothing, PARAMS).await;
    for (case, first, second, expected) in [
        ("two valid signatures", &good, &good, 1),
        ("an invalid signature first", &bad, &good, 0),
        ("an invalid signature last", &good, &bad, 0),
    ] {
        it.returns(case, &[&first[..], &second[..]].concat(), expected).await;
    }
    let it = Subject::new(&[START, name, FINISH, START, FINISH], Output::Nothing, PARAMS).await;
    it.returns("a second batch after an invalid one", &bad, 1).await;
}

fn ed25519() -> ed25519::Pair {
    ed25519::Pair::from_seed(&[1; 32])
}

fn sr25519() -> sr25519::Pair {
    sr25519::Pair::from_seed(&[2; 32])
}

fn ecdsa() -> ecdsa::Pair {
    ecdsa::Pair::from_seed(&[3; 32])
}

/// The signature [`over_the_order`] and the key that was recovered from it.
fn overflowing(it: &CallResult) -> ([u8; 65], Vec<u8>) {
    let CallResult::Returned { bytes, .. } = it else { panic!("{it:?}") };
    assert_eq!(bytes[0], 0, "no key was recovered");
    (over_the_order(1), bytes[1..].to_vec())
}

/// A signature whose `r` is larger than the order by `more`, and whose `s` is 1.
fn over_the_order(more: u8) -> [u8; 65] {
    let mut signature = [0; 65];
    signature[..32].copy_from_slice(&hex(ORDER));
    signature[31] += more;
    signature[63] = 1;
    signature
}

/// Recovery of `key` from signatures. `takes_overflow`: whether the function reduces numbers that are not below the
/// order, and does not reject them.
async fn recovers(it: &Subject, key: &[u8], takes_overflow: bool) {
    let hash = blake2_256(b"message");
    let signature = ecdsa().sign_prehashed(&hash).0;
    let args = |signature: [u8; 65]| -> [Arg; 2] { [at(signature), at(hash)] };
    let good = [&[0], key].concat();
    let with = |byte: usize, value: u8| {
        let mut signature = signature;
        signature[byte] = value;
        args(signature)
    };
    let v = signature[64];
    it.outputs("v from 0", &args(signature), &good).await;
    it.outputs("v as Ethereum has it", &with(64, v + 27), &good).await;
    for bad in [4, 5, 26, 27 + 4, 255] {
        it.outputs(&format!("v = {bad}"), &with(64, bad), BAD_V).await;
    }
    for bad in [2, 3, 29, 30] {
        // Valid only if r plus the order is a coordinate, which has a probability of 2^-128.
        it.outputs(&format!("v = {bad}"), &with(64, bad), BAD_SIGNATURE).await;
    }
    for other in [(64, v ^ 1), (64, (v ^ 1) + 27), (63, signature[63] ^ 1)] {
        let CallResult::Returned { bytes, .. } = it.call("another signature", &with(other.0, other.1)).await else {
            panic!()
        };
        assert!(bytes[0] == 0 && bytes != good, "{other:?} must recover another key: {bytes:?}");
    }
    let CallResult::Returned { bytes, .. } = it.call("another hash", &[at(signature), at(blake2_256(b""))]).await
    else {
        panic!("a recovery does not trap")
    };
    assert!(bytes[0] == 0 && bytes != good, "another hash must recover another key: {bytes:?}");
    // Zero and the order, for r and for s.
    for (case, place, number) in [
        ("r = 0", 0, vec![0; 32]),
        ("s = 0", 32, vec![0; 32]),
        ("r = the order", 0, hex(ORDER)),
        ("s = the order", 32, hex(ORDER)),
    ] {
        let mut signature = signature;
        signature[place..place + 32].copy_from_slice(&number);
        let over = !number.iter().all(|byte| *byte == 0);
        let expected = if over && !takes_overflow { BAD_RS } else { BAD_SIGNATURE };
        it.outputs(case, &args(signature), expected).await;
    }
    let mut no_point = signature;
    no_point[..32].copy_from_slice(&[[0; 31].as_slice(), &[5]].concat());
    it.outputs("r is not a coordinate", &args(no_point), BAD_SIGNATURE).await;
    match it.call("r over the order", &args(over_the_order(1))).await {
        CallResult::Returned { bytes, .. } if takes_overflow => assert_eq!((bytes[0], bytes.len()), (0, good.len())),
        CallResult::Returned { bytes, .. } => assert_eq!(bytes, BAD_RS),
        rejected @ CallResult::Rejected(_) => panic!("{rejected:?}"),
    }
    let beyond = [word(0xffff_fff0), at(hash)];
    it.rejects("a signature beyond memory", &beyond, "memory read is out of bounds").await;
    let beyond = [at(signature), word(0xffff_fff0)];
    it.rejects("a hash beyond memory", &beyond, "memory read is out of bounds").await;
}

/// A signature of `message` whose `r` is over the order, and its key.
async fn key_over_the_order(message: &[u8]) -> ([u8; 65], Vec<u8>) {
    let name = "ext_crypto_secp256k1_ecdsa_recover_compressed_version_1";
    let it = Subject::new(&[name], Output::Slice, PARAMS).await;
    overflowing(&it.call("r over the order", &[at(over_the_order(1)), at(blake2_256(message))]).await)
}

/// Both versions of `ecdsa_verify`, which differ for numbers that are not below the order.
async fn verifies_ecdsa(it: &Subject, takes_overflow: bool) {
    let public = ecdsa().public().0;
    verifies(it, &public, |message| ecdsa().sign(message).0.to_vec()).await;
    let mut ethereum = ecdsa().sign(b"message").0;
    ethereum[64] += 27;
    it.returns("v as Ethereum has it", &[at(ethereum), slice(b"message"), at(public)], 0).await;
    let (signature, key) = key_over_the_order(b"message").await;
    let args = [at(signature), slice(b"message"), at(key)];
    it.returns("r over the order", &args, u64::from(takes_overflow)).await;
}

/// The ECDSA key, uncompressed and compressed.
fn keys() -> (Vec<u8>, Vec<u8>) {
    let hash = blake2_256(b"message");
    let signature = ecdsa().sign_prehashed(&hash).0;
    let Ok(long) = sp_io::crypto::secp256k1_ecdsa_recover(&signature, &hash) else { panic!("not recovered") };
    (long.to_vec(), ecdsa().public().0.to_vec())
}

host_functions! {
    ext_crypto_ed25519_verify_version_1 -> Output::Nothing, |it| {
        verifies(&it, &ed25519().public().0, |message| ed25519().sign(message).0.to_vec()).await;
        // Valid by the rules of ZIP 215; ed25519-dalek rejects it.
        it.returns("zeros as key and signature, no message", &[at([0; 64]), slice(b""), at([0; 32])], 1).await;
    }
    ext_crypto_ed25519_batch_verify_version_1 -> Output::Nothing, |it| {
        // The function borrows the externalities twice, and so panics for any signature.
        let args = [at(ed25519().sign(b"message").0), slice(b"message"), at(ed25519().public().0)];
        it.rejects("a valid signature", &args, "RefCell already borrowed").await;
        let name = "ext_crypto_ed25519_batch_verify_version_1";
        let it = Subject::new(&[START, name], Output::Nothing, PARAMS).await;
        it.rejects("a valid signature in a batch", &args, "RefCell already borrowed").await;
    }
    ext_crypto_sr25519_verify_version_1 -> Output::Nothing, |it| {
        verifies(&it, &sr25519().public().0, |message| sr25519().sign(message).0.to_vec()).await;
        it.returns("a signature of early schnorrkel", &first_version(), 1).await;
    }
    ext_crypto_sr25519_verify_version_2 -> Output::Nothing, |it| {
        verifies(&it, &sr25519().public().0, |message| sr25519().sign(message).0.to_vec()).await;
        it.returns("a signature of early schnorrkel", &first_version(), 0).await;
    }
    ext_crypto_sr25519_batch_verify_version_1 -> Output::Nothing, |it| {
        let (public, sign) = (sr25519().public().0, |message: &[u8]| sr25519().sign(message).0.to_vec());
        verifies(&it, &public, sign).await;
        batches("ext_crypto_sr25519_batch_verify_version_1", &public, sign(b"message")).await;
    }
    ext_crypto_ecdsa_verify_version_1 -> Output::Nothing, |it| { verifies_ecdsa(&it, true).await; }
    ext_crypto_ecdsa_verify_version_2 -> Output::Nothing, |it| { verifies_ecdsa(&it, false).await; }
    ext_crypto_ecdsa_batch_verify_version_1 -> Output::Nothing, |it| {
        let (public, sign) = (ecdsa().public().0, |message: &[u8]| ecdsa().sign(message).0.to_vec());
        verifies(&it, &public, sign).await;
        batches("ext_crypto_ecdsa_batch_verify_version_1", &public, sign(b"message")).await;
    }
    ext_crypto_ecdsa_verify_prehashed_version_1 -> Output::Nothing, |it| {
        let (public, hash) = (ecdsa().public().0, blake2_256(b"message"));
        let signature = ecdsa().sign_prehashed(&hash).0;
        it.returns("a valid signature", &[at(signature), at(hash), at(public)], 1).await;
        it.returns("another hash", &[at(signature), at(blake2_256(b"")), at(public)], 0).await;
        it.returns("another key", &[at(signature), at(hash), at(ecdsa::Pair::from_seed(&[4; 32]).public().0)], 0).await;
        it.returns("a signature of zeros", &[at([0; 65]), at(hash), at(public)], 0).await;
        let beyond = [at(signature), word(0xffff_fff0), at(public)];
        it.rejects("a hash beyond memory", &beyond, "memory read is out of bounds").await;
    }
    ext_crypto_secp256k1_ecdsa_recover_version_1 -> Output::Slice, |it| { recovers(&it, &keys().0, true).await; }
    ext_crypto_secp256k1_ecdsa_recover_version_2 -> Output::Slice, |it| { recovers(&it, &keys().0, false).await; }
    ext_crypto_secp256k1_ecdsa_recover_compressed_version_1 -> Output::Slice, |it| {
        recovers(&it, &keys().1, true).await;
    }
    ext_crypto_secp256k1_ecdsa_recover_compressed_version_2 -> Output::Slice, |it| {
        recovers(&it, &keys().1, false).await;
    }
    ext_crypto_start_batch_verify_version_1 -> Output::Nothing, |it| {
        it.outputs("a first batch", &[], b"").await;
        let it = Subject::new(&[START, START], Output::Nothing, PARAMS).await;
        it.rejects("a batch in a batch", &[], "Failed to register required extension").await;
    }
    ext_crypto_finish_batch_verify_version_1 -> Output::Nothing, |it| {
        it.rejects("no batch", &[], NOT_STARTED).await;
        let it = Subject::new(&[START, FINISH], Output::Nothing, PARAMS).await;
        it.returns("an empty batch", &[], 1).await;
        let it = Subject::new(&[START, FINISH, FINISH], Output::Nothing, PARAMS).await;
        it.rejects("the same batch twice", &[], NOT_STARTED).await;
    }
}

/// A signature of an early version of schnorrkel, by the key of seed 0. Only the first version of the function accepts
/// it.
fn first_version() -> [Arg; 3] {
    let signature = "28a854d54903e056f89581c691c1f7d2ff39f8f896c9e9c22475e60902cc2b35\
                     47199e0e91fa32902028f2ca2355e8cdd16cfe19ba5e8b658c94aa80f3b81a00";
    [at(hex(signature)), slice(b"SUBSTRATE"), at(sr25519::Pair::from_seed(&[0; 32]).public().0)]
}
