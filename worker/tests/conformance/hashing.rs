//! The host interface `hashing`: each function against its native result, and against the published hash of no bytes.

use crate::{
    call::{Output, Subject, host_functions, slice, word},
    guest::{Random, hex},
};
use pvf_shared::params::ExecutorParam;
use sp_crypto_hashing as hashing;

const PARAMS: &[ExecutorParam] = &[];
const MIB: usize = 1024 * 1024;

/// Input lengths around the block sizes of the algorithms, and a large one.
const LENGTHS: [usize; 18] = [0, 1, 3, 7, 8, 31, 32, 33, 63, 64, 65, 71, 72, 127, 128, 136, 1000, MIB + 1];

async fn hashes<const N: usize>(subject: Subject, hash: fn(&[u8]) -> [u8; N], of_nothing: &str) {
    assert_eq!(hash(b"").to_vec(), hex(of_nothing), "the native hash of no bytes");
    let mut random = Random(7);
    for len in LENGTHS {
        let data = random.bytes(len);
        subject.outputs(&format!("{len} bytes"), &[slice(&data)], hash(&data)).await;
    }
    // Address and length that pass the end of memory, and the end of the address space.
    for (case, pair) in [("memory", 0x0000_0001_0002_0000), ("4 GiB", 0xffff_ffff_ffff_ffff_u64)] {
        subject.rejects(&format!("bytes beyond {case}"), &[word(pair)], "memory read is out of bounds").await;
    }
    subject.outputs("no bytes at the end of memory", &[word(0x0002_0000)], hash(b"")).await;
}

host_functions! {
    ext_hashing_keccak_256_version_1 -> Output::Bytes(32), |it| {
        let nothing = "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470";
        hashes(it, hashing::keccak_256, nothing).await;
    }
    ext_hashing_keccak_512_version_1 -> Output::Bytes(64), |it| {
        let nothing = "0eab42de4c3ceb9235fc91acffe746b29c29a8c366b7c60e4e67c466f36a4304\
                       c00fa9caf9d87976ba469bcbe06713b435f091ef2769fb160cdab33d3670680e";
        hashes(it, hashing::keccak_512, nothing).await;
    }
    ext_hashing_sha2_256_version_1 -> Output::Bytes(32), |it| {
        let nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        hashes(it, hashing::sha2_256, nothing).await;
    }
    ext_hashing_blake2_128_version_1 -> Output::Bytes(16), |it| {
        hashes(it, hashing::blake2_128, "cae66941d9efbd404e4d88758ea67670").await;
    }
    ext_hashing_blake2_256_version_1 -> Output::Bytes(32), |it| {
        let nothing = "0e5751c026e543b2e8ab2eb06099daa1d1e5df47778f7787faab45cdf12fe3a8";
        hashes(it, hashing::blake2_256, nothing).await;
    }
    ext_hashing_twox_256_version_1 -> Output::Bytes(32), |it| {
        let nothing = "99e9d85137db46ef4bbea33613baafd56f963c64b1f3685a4eb4abd67ff6203a";
        hashes(it, hashing::twox_256, nothing).await;
    }
    ext_hashing_twox_128_version_1 -> Output::Bytes(16), |it| {
        hashes(it, hashing::twox_128, "99e9d85137db46ef4bbea33613baafd5").await;
    }
    ext_hashing_twox_64_version_1 -> Output::Bytes(8), |it| {
        hashes(it, hashing::twox_64, "99e9d85137db46ef").await;
    }
}
