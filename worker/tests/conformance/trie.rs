//! The host interface `trie`: roots and proofs against `sp-trie`.

use crate::{
    call::{Arg, Output, Subject, at, host_functions, slice, word},
    guest::{Random, hex},
};
use parity_scale_codec::Encode as _;
use pvf_shared::params::ExecutorParam;
use sp_core::{Blake2Hasher, KeccakHasher};
use sp_trie::{LayoutV0, LayoutV1, MemoryDB, TrieConfiguration as _, TrieDBMutBuilder, TrieMut as _};

const PARAMS: &[ExecutorParam] = &[];
/// Roots of the empty trie.
const EMPTY_BLAKE2: &str = "03170a2e7597b7b7e3d84c05391d139a62b157e78786d8c082f29dcf4c111314";
const EMPTY_KECCAK: &str = "bc36789e7a1e281436464229828f817d6612f7b477d66591ff96a9e064bcc98a";
const OUT: &str = "memory read is out of bounds";

type Items = Vec<(Vec<u8>, Vec<u8>)>;

/// Sorted entries. The two state versions treat values of less than 33 bytes alike, and longer ones differently.
fn tries() -> [Items; 5] {
    let mut random = Random(5);
    let mut many: Items = (0..500_usize)
        .map(|n| {
            let key = [&(n as u16).to_be_bytes()[..], &random.bytes(n % 40)].concat();
            (key, random.bytes(n % 100))
        })
        .collect();
    many.sort();
    [
        vec![],
        vec![(vec![], vec![])],
        vec![(b"key".to_vec(), b"value".to_vec())],
        vec![(b"do".to_vec(), vec![1; 32]), (b"dog".to_vec(), vec![2; 33]), (b"horse".to_vec(), vec![3; 1000])],
        many,
    ]
}

/// For each state version, the native functions of the root and of the ordered root.
type Roots = [(fn(Items) -> Vec<u8>, fn(Vec<Vec<u8>>) -> Vec<u8>); 2];

macro_rules! roots {
    ($hasher:ty) => {
        [
            (
                |items| LayoutV0::<$hasher>::trie_root(items).0.to_vec(),
                |values| LayoutV0::<$hasher>::ordered_trie_root(values).0.to_vec(),
            ),
            (
                |items| LayoutV1::<$hasher>::trie_root(items).0.to_vec(),
                |values| LayoutV1::<$hasher>::ordered_trie_root(values).0.to_vec(),
            ),
        ]
    };
}

const BLAKE2: Roots = roots!(Blake2Hasher);
const KECCAK: Roots = roots!(KeccakHasher);

/// Appends the state version to the arguments if the function takes one.
fn with_version(takes: bool, version: usize, mut args: Vec<Arg>) -> Vec<Arg> {
    if takes {
        args.push(word(version as u64));
    }
    args
}

/// The state versions to test: 0, and for functions that take one also 1 and 2, which have the same layout.
fn versions(takes: bool) -> std::ops::RangeInclusive<usize> {
    0..=if takes { 2 } else { 0 }
}

async fn refusals(it: &Subject, takes_version: bool) {
    let with = |args| with_version(takes_version, 0, args);
    it.rejects("an empty encoding", &with(vec![slice(b"")]), "could not SCALE-decode").await;
    it.rejects("a truncated list", &with(vec![slice([4])]), "could not SCALE-decode").await;
    it.rejects("a list beyond memory", &with(vec![word(0x1_ffff_ffff)]), OUT).await;
    if takes_version {
        for version in [3, 7, 255] {
            let args = [slice(Items::new().encode()), word(version)];
            it.rejects(&format!("state version {version}"), &args, "failed to convert 'u8'").await;
        }
    }
}

async fn roots(it: Subject, roots: Roots, takes_version: bool, of_nothing: &str) {
    for version in versions(takes_version) {
        let layout = version.min(1);
        assert_eq!(roots[layout].0(vec![]), hex(of_nothing), "the native root of the empty trie");
        for items in tries() {
            let case = format!("state version {version}, {} entries", items.len());
            let args = with_version(takes_version, version, vec![slice(items.encode())]);
            it.outputs(&case, &args, roots[layout].0(items)).await;
        }
    }
    refusals(&it, takes_version).await;
}

async fn ordered_roots(it: Subject, roots: Roots, takes_version: bool, of_nothing: &str) {
    for version in versions(takes_version) {
        let layout = version.min(1);
        assert_eq!(roots[layout].1(vec![]), hex(of_nothing), "the native root of the empty trie");
        for items in tries() {
            let values: Vec<Vec<u8>> = items.into_iter().map(|(_, value)| value).collect();
            let case = format!("state version {version}, {} values", values.len());
            let args = with_version(takes_version, version, vec![slice(values.encode())]);
            it.outputs(&case, &args, roots[layout].1(values)).await;
        }
    }
    refusals(&it, takes_version).await;
}

/// Returns the root of a trie with these entries, and a proof of this key.
type Prove = fn(&Items, &[u8]) -> (Vec<u8>, Vec<Vec<u8>>);

macro_rules! prove {
    ($layout:ty, $hasher:ty) => {
        |items, key| {
            let mut db = MemoryDB::<$hasher>::default();
            let mut root = Default::default();
            {
                let mut trie = TrieDBMutBuilder::<$layout>::new(&mut db, &mut root).build();
                for (key, value) in items {
                    trie.insert(key, value).unwrap();
                }
            }
            let proof = sp_trie::generate_trie_proof::<$layout, _, _, _>(&db, root, &[key.to_vec()]).unwrap();
            (root.0.to_vec(), proof)
        }
    };
}

const BLAKE2_PROOFS: [Prove; 2] =
    [prove!(LayoutV0<Blake2Hasher>, Blake2Hasher), prove!(LayoutV1<Blake2Hasher>, Blake2Hasher)];
const KECCAK_PROOFS: [Prove; 2] =
    [prove!(LayoutV0<KeccakHasher>, KeccakHasher), prove!(LayoutV1<KeccakHasher>, KeccakHasher)];

async fn proofs(it: Subject, proofs: [Prove; 2], takes_version: bool) {
    let items = tries()[4].clone();
    // One entry whose value is in the node, and one whose value is hashed by state version 1.
    let (short, long) = (items[3].clone(), items.iter().find(|(_, value)| value.len() > 40).unwrap().clone());
    for version in versions(takes_version) {
        for (key, value) in [&short, &long] {
            let (root, proof) = proofs[version.min(1)](&items, key);
            let args = |root: &[u8], proof: &Vec<Vec<u8>>, key: &[u8], value: &[u8]| {
                with_version(takes_version, version, vec![at(root), slice(proof.encode()), slice(key), slice(value)])
            };
            let of = |case: &str| format!("state version {version}, {} bytes: {case}", value.len());
            it.returns(&of("unchanged"), &args(&root, &proof, key, value), 1).await;
            it.returns(&of("another value"), &args(&root, &proof, key, &[value, &[0][..]].concat()), 0).await;
            it.returns(&of("another key"), &args(&root, &proof, &items[100].0, value), 0).await;
            it.returns(&of("no key"), &args(&root, &proof, b"", value), 0).await;
            it.returns(&of("another root"), &args(&[1; 32], &proof, key, value), 0).await;
            it.returns(&of("no proof"), &args(&root, &vec![], key, value), 0).await;
            for node in 0..proof.len() {
                let mut less = proof.clone();
                less.remove(node);
                it.returns(&of(&format!("without node {node}")), &args(&root, &less, key, value), 0).await;
                let mut other = proof.clone();
                let last = other[node].len() - 1;
                other[node][last] ^= 1;
                it.returns(&of(&format!("another node {node}")), &args(&root, &other, key, value), 0).await;
            }
            let more = [&proof[..], &[vec![1, 2, 3]]].concat();
            it.returns(&of("an additional node"), &args(&root, &more, key, value), 0).await;
            if takes_version {
                let mut args = args(&root, &proof, key, value);
                args[4] = word(u64::from(version == 0));
                // Short values have the same proof in both versions.
                it.returns(&of("as the other version"), &args, u64::from(value.len() < 33)).await;
                args[4] = word(3);
                it.rejects(&of("as version 3"), &args, "failed to convert 'u8'").await;
            }
        }
    }
    let (root, proof) = proofs[0](&items, &short.0);
    let with = |args| with_version(takes_version, 0, args);
    let malformed = with(vec![at(&root), slice([4]), slice(&short.0), slice(&short.1)]);
    it.rejects("a proof that does not decode", &malformed, "could not SCALE-decode").await;
    let beyond = with(vec![word(0xffff_fff0), slice(proof.encode()), slice(&short.0), slice(&short.1)]);
    it.rejects("a root beyond memory", &beyond, OUT).await;
    let beyond = with(vec![at(&root), slice(proof.encode()), slice(&short.0), word(0x1_ffff_ffff)]);
    it.rejects("a value beyond memory", &beyond, OUT).await;
}

host_functions! {
    ext_trie_blake2_256_root_version_1 -> Output::Bytes(32), |it| { roots(it, BLAKE2, false, EMPTY_BLAKE2).await; }
    ext_trie_blake2_256_root_version_2 -> Output::Bytes(32), |it| { roots(it, BLAKE2, true, EMPTY_BLAKE2).await; }
    ext_trie_keccak_256_root_version_1 -> Output::Bytes(32), |it| { roots(it, KECCAK, false, EMPTY_KECCAK).await; }
    ext_trie_keccak_256_root_version_2 -> Output::Bytes(32), |it| { roots(it, KECCAK, true, EMPTY_KECCAK).await; }
    ext_trie_blake2_256_ordered_root_version_1 -> Output::Bytes(32), |it| {
        ordered_roots(it, BLAKE2, false, EMPTY_BLAKE2).await;
    }
    ext_trie_blake2_256_ordered_root_version_2 -> Output::Bytes(32), |it| {
        ordered_roots(it, BLAKE2, true, EMPTY_BLAKE2).await;
    }
    ext_trie_keccak_256_ordered_root_version_1 -> Output::Bytes(32), |it| {
        ordered_roots(it, KECCAK, false, EMPTY_KECCAK).await;
    }
    ext_trie_keccak_256_ordered_root_version_2 -> Output::Bytes(32), |it| {
        ordered_roots(it, KECCAK, true, EMPTY_KECCAK).await;
    }
    ext_trie_blake2_256_verify_proof_version_1 -> Output::Nothing, |it| { proofs(it, BLAKE2_PROOFS, false).await; }
    ext_trie_blake2_256_verify_proof_version_2 -> Output::Nothing, |it| { proofs(it, BLAKE2_PROOFS, true).await; }
    ext_trie_keccak_256_verify_proof_version_1 -> Output::Nothing, |it| { proofs(it, KECCAK_PROOFS, false).await; }
    ext_trie_keccak_256_verify_proof_version_2 -> Output::Nothing, |it| { proofs(it, KECCAK_PROOFS, true).await; }
}
