//! The interface `crypto`: verifying and recovering. What needs a keystore is in `keystore.rs`.

use crate::{
    call::{Arg, Gives, Seen, Subject, at, host_functions, slice, word},
    guest::{Random, hex},
};
use pvf_shared::params::ExecutorParam;
use sp_core::{Pair as _, ecdsa, ed25519, sr25519};
use sp_crypto_hashing::blake2_256;

const PARAMS: &[ExecutorParam] = &[];
const START: &str = "ext_crypto_start_batch_verify_version_1";
const FINISH: &str = "ext_crypto_finish_batch_verify_version_1";
const NOT_STARTED: &str = "`finish_batch_verify` should only be called after `start_batch_verify`";
/// The order of secp256k1's group, big endian.
const ORDER: &str = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141";
/// Codes of a failed recovery.
const BAD_RS: [u8; 2] = [1, 0];
const BAD_V: [u8; 2] = [1, 1];
const BAD_SIGNATURE: [u8; 2] = [1, 2];

fn messages() -> [Vec<u8>; 4] {
    [vec![], b"message".to_vec(), vec![0; 32], Random(3).bytes(1 << 20)]
}

/// Good signatures of `sign` by the key `public`, and signatures that are bad in every way.
async fn verifies(it: &Subject, public: &[u8], sign: impl Fn(&[u8]) -> Vec<u8>) {
    for message in messages() {
        let case = format!("a message of {} bytes", message.len());
        it.says(&case, &[at(sign(&message)), slice(message), at(public)], 1).await;
    }
    let (message, signature) = (b"message", sign(b"message"));
    let args = |signature: &[u8], message: &[u8], public: &[u8]| [at(signature), slice(message), at(public)];
    it.says("another message", &args(&signature, b"massage", public), 0).await;
    it.says("a cut message", &args(&signature, b"messag", public), 0).await;
    it.says("another's signature", &args(&Random(4).bytes(signature.len()), message, public), 0).await;
    it.says("a signature of zeros", &args(&vec![0; signature.len()], message, public), 0).await;
    it.says("a signature of ones", &args(&vec![0xff; signature.len()], message, public), 0).await;
    it.says("a key of ones", &args(&signature, message, &vec![0xff; public.len()]), 0).await;
    for (what, len) in [("signature", signature.len()), ("key", public.len())] {
        for byte in [0, len / 2 - 1, len - 1] {
            let mut both = [signature.clone(), public.to_vec()];
            both[usize::from(what == "key")][byte] ^= 1;
            let case = format!("another bit in byte {byte} of the {what}");
            it.says(&case, &args(&both[0], message, &both[1]), 0).await;
        }
    }
    let beyond = word(0xffff_fff0);
    let out = "memory read is out of bounds";
    it.refuses("a signature beyond memory", &[beyond.clone(), slice(message), at(public)], out).await;
    it.refuses("a key beyond memory", &[at(&signature), slice(message), beyond], out).await;
    it.refuses("a message beyond memory", &[at(&signature), word(0x1_ffff_ffff), at(public)], out).await;
}

/// A batch remembers that a signature was bad.
async fn batches(name: &str, public: &[u8], signature: Vec<u8>) {
    let args = |message: &[u8]| [at(&signature), slice(message), at(public)];
    let (good, bad) = (args(b"message"), args(b"massage"));
    let it = Subject::new(&[START, name, name, FINISH], Gives::Nothing, PARAMS).await;
    for (case, first, second, expected) in
        [("two good ones", &good, &good, 1), ("a bad one first", &bad, &good, 0), ("a bad one last", &good, &bad, 0)]
    {
        it.says(case, &[&first[..], &second[..]].concat(), expected).await;
    }
    let it = Subject::new(&[START, name, FINISH, START, FINISH], Gives::Nothing, PARAMS).await;
    it.says("the next batch begins anew", &bad, 1).await;
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

/// `r` that is over the order, and whose rest is the coordinate 1 of a point; `s` is 1. The key that made this
/// signature of a message with this hash.
fn overflowing(it: &Seen) -> ([u8; 65], Vec<u8>) {
    let Seen::Gave { bytes, .. } = it else { panic!("{it:?}") };
    assert_eq!(bytes[0], 0, "a key was recovered");
    (over_the_order(1), bytes[1..].to_vec())
}

/// A signature whose `r` is the order and this.
fn over_the_order(more: u8) -> [u8; 65] {
    let mut signature = [0; 65];
    signature[..32].copy_from_slice(&hex(ORDER));
    signature[31] += more;
    signature[63] = 1;
    signature
}

/// Keys recovered from a signature: `uncompressed` or not, and whether numbers over the order are taken.
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
    it.gives("v as it is", &args(signature), &good).await;
    it.gives("v as Ethereum has it", &with(64, v + 27), &good).await;
    for bad in [4, 5, 26, 27 + 4, 255] {
        it.gives(&format!("v = {bad}"), &with(64, bad), BAD_V).await;
    }
    for bad in [2, 3, 29, 30] {
        // The coordinate would have to be less than the field is larger than the group, which one in 2^128 is.
        it.gives(&format!("v = {bad}"), &with(64, bad), BAD_SIGNATURE).await;
    }
    for other in [(64, v ^ 1), (64, (v ^ 1) + 27), (63, signature[63] ^ 1)] {
        let Seen::Gave { bytes, .. } = it.call("another signature", &with(other.0, other.1)).await else { panic!() };
        assert!(bytes[0] == 0 && bytes != good, "{other:?} gives another key: {bytes:?}");
    }
    let Seen::Gave { bytes, .. } = it.call("another hash", &[at(signature), at(blake2_256(b""))]).await else {
        panic!("a recovery is no trap")
    };
    assert!(bytes[0] == 0 && bytes != good, "another hash gives another key: {bytes:?}");
    // r and s one after the other: nothing, the order, and all ones.
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
        it.gives(case, &args(signature), expected).await;
    }
    let mut no_point = signature;
    no_point[..32].copy_from_slice(&[[0; 31].as_slice(), &[5]].concat());
    it.gives("r is no coordinate", &args(no_point), BAD_SIGNATURE).await;
    match it.call("r over the order", &args(over_the_order(1))).await {
        Seen::Gave { bytes, .. } if takes_overflow => assert_eq!((bytes[0], bytes.len()), (0, good.len())),
        Seen::Gave { bytes, .. } => assert_eq!(bytes, BAD_RS),
        refused @ Seen::Refused(_) => panic!("{refused:?}"),
    }
    let beyond = [word(0xffff_fff0), at(hash)];
    it.refuses("a signature beyond memory", &beyond, "memory read is out of bounds").await;
    let beyond = [at(signature), word(0xffff_fff0)];
    it.refuses("a hash beyond memory", &beyond, "memory read is out of bounds").await;
}

/// The key behind the signature of `message` whose `r` is over the order.
async fn key_over_the_order(message: &[u8]) -> ([u8; 65], Vec<u8>) {
    let name = "ext_crypto_secp256k1_ecdsa_recover_compressed_version_1";
    let it = Subject::new(&[name], Gives::Slice, PARAMS).await;
    overflowing(&it.call("r over the order", &[at(over_the_order(1)), at(blake2_256(message))]).await)
}

/// What both versions of `ecdsa_verify` say, and one of them only.
async fn verifies_ecdsa(it: &Subject, takes_overflow: bool) {
    let public = ecdsa().public().0;
    verifies(it, &public, |message| ecdsa().sign(message).0.to_vec()).await;
    let mut ethereum = ecdsa().sign(b"message").0;
    ethereum[64] += 27;
    it.says("v as Ethereum has it", &[at(ethereum), slice(b"message"), at(public)], 0).await;
    let (signature, key) = key_over_the_order(b"message").await;
    let args = [at(signature), slice(b"message"), at(key)];
    it.says("r over the order", &args, u64::from(takes_overflow)).await;
}

/// The key in both forms.
fn keys() -> (Vec<u8>, Vec<u8>) {
    let hash = blake2_256(b"message");
    let signature = ecdsa().sign_prehashed(&hash).0;
    let Ok(long) = sp_io::crypto::secp256k1_ecdsa_recover(&signature, &hash) else { panic!("it is a good one") };
    (long.to_vec(), ecdsa().public().0.to_vec())
}

host_functions! {
    ext_crypto_ed25519_verify_version_1 gives Gives::Nothing, |it| {
        verifies(&it, &ed25519().public().0, |message| ed25519().sign(message).0.to_vec()).await;
        // The rules are those of ZIP 215: dalek's would refuse this one.
        it.says("nothing by nobody", &[at([0; 64]), slice(b""), at([0; 32])], 1).await;
    }
    ext_crypto_ed25519_batch_verify_version_1 gives Gives::Nothing, |it| {
        // It asks for the externalities while it has them, and so panics, whatever the signature.
        let args = [at(ed25519().sign(b"message").0), slice(b"message"), at(ed25519().public().0)];
        it.refuses("a good signature", &args, "RefCell already borrowed").await;
        let name = "ext_crypto_ed25519_batch_verify_version_1";
        let it = Subject::new(&[START, name], Gives::Nothing, PARAMS).await;
        it.refuses("a good signature in a batch", &args, "RefCell already borrowed").await;
    }
    ext_crypto_sr25519_verify_version_1 gives Gives::Nothing, |it| {
        verifies(&it, &sr25519().public().0, |message| sr25519().sign(message).0.to_vec()).await;
        it.says("a signature of the first version", &first_version(), 1).await;
    }
    ext_crypto_sr25519_verify_version_2 gives Gives::Nothing, |it| {
        verifies(&it, &sr25519().public().0, |message| sr25519().sign(message).0.to_vec()).await;
        it.says("a signature of the first version", &first_version(), 0).await;
    }
    ext_crypto_sr25519_batch_verify_version_1 gives Gives::Nothing, |it| {
        let (public, sign) = (sr25519().public().0, |message: &[u8]| sr25519().sign(message).0.to_vec());
        verifies(&it, &public, sign).await;
        batches("ext_crypto_sr25519_batch_verify_version_1", &public, sign(b"message")).await;
    }
    ext_crypto_ecdsa_verify_version_1 gives Gives::Nothing, |it| { verifies_ecdsa(&it, true).await; }
    ext_crypto_ecdsa_verify_version_2 gives Gives::Nothing, |it| { verifies_ecdsa(&it, false).await; }
    ext_crypto_ecdsa_batch_verify_version_1 gives Gives::Nothing, |it| {
        let (public, sign) = (ecdsa().public().0, |message: &[u8]| ecdsa().sign(message).0.to_vec());
        verifies(&it, &public, sign).await;
        batches("ext_crypto_ecdsa_batch_verify_version_1", &public, sign(b"message")).await;
    }
    ext_crypto_ecdsa_verify_prehashed_version_1 gives Gives::Nothing, |it| {
        let (public, hash) = (ecdsa().public().0, blake2_256(b"message"));
        let signature = ecdsa().sign_prehashed(&hash).0;
        it.says("the right one", &[at(signature), at(hash), at(public)], 1).await;
        it.says("another hash", &[at(signature), at(blake2_256(b"")), at(public)], 0).await;
        it.says("another key", &[at(signature), at(hash), at(ecdsa::Pair::from_seed(&[4; 32]).public().0)], 0).await;
        it.says("a signature of zeros", &[at([0; 65]), at(hash), at(public)], 0).await;
        let beyond = [at(signature), word(0xffff_fff0), at(public)];
        it.refuses("a hash beyond memory", &beyond, "memory read is out of bounds").await;
    }
    ext_crypto_secp256k1_ecdsa_recover_version_1 gives Gives::Slice, |it| { recovers(&it, &keys().0, true).await; }
    ext_crypto_secp256k1_ecdsa_recover_version_2 gives Gives::Slice, |it| { recovers(&it, &keys().0, false).await; }
    ext_crypto_secp256k1_ecdsa_recover_compressed_version_1 gives Gives::Slice, |it| {
        recovers(&it, &keys().1, true).await;
    }
    ext_crypto_secp256k1_ecdsa_recover_compressed_version_2 gives Gives::Slice, |it| {
        recovers(&it, &keys().1, false).await;
    }
    ext_crypto_start_batch_verify_version_1 gives Gives::Nothing, |it| {
        it.gives("a first batch", &[], b"").await;
        let it = Subject::new(&[START, START], Gives::Nothing, PARAMS).await;
        it.refuses("a batch in a batch", &[], "Failed to register required extension").await;
    }
    ext_crypto_finish_batch_verify_version_1 gives Gives::Nothing, |it| {
        it.refuses("no batch", &[], NOT_STARTED).await;
        let it = Subject::new(&[START, FINISH], Gives::Nothing, PARAMS).await;
        it.says("an empty batch", &[], 1).await;
        let it = Subject::new(&[START, FINISH, FINISH], Gives::Nothing, PARAMS).await;
        it.refuses("the same batch twice", &[], NOT_STARTED).await;
    }
}

/// A signature that schnorrkel made before its audit, of the key of seed 0: only the first version takes it.
fn first_version() -> [Arg; 3] {
    let signature = "28a854d54903e056f89581c691c1f7d2ff39f8f896c9e9c22475e60902cc2b35\
                     47199e0e91fa32902028f2ca2355e8cdd16cfe19ba5e8b658c94aa80f3b81a00";
    [at(hex(signature)), slice(b"SUBSTRATE"), at(sr25519::Pair::from_seed(&[0; 32]).public().0)]
}
