//! Contents of the store: seals, keys and the two text files. Bytes that were not signed with the key never verify, a
//! seal verifies for what was sealed only, and a store with arbitrary contents gives an error or nothing.

use crate::Seeds;
use bytes::Bytes;
use libfuzzer_sys::arbitrary::{Result, Unstructured};
use object_store::path::Path;
use pvf_shared::{
    artifact::StoredArtifact,
    ids::{ArtifactId, BlobHash, CodeHash, EngineId, PrepHash},
    keys::{PrivateKey, PublicKey},
    store::{
        ArtifactKeys, BlobStore, StoreError, keys,
        seal::{self, Compiled, HEADER_LEN, Sealed},
    },
    verdict::PrepareError,
};
use std::{
    fs,
    sync::OnceLock,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tempfile::TempDir;
use tokio::runtime::Runtime;

fn id(engine: &str) -> ArtifactId {
    let engine = EngineId::parse(engine).expect("an engine");
    ArtifactId { code_hash: CodeHash([1; 32]), prep_hash: PrepHash([2; 32]), engine }
}

/// A key that no input was signed with.
fn key() -> PrivateKey {
    PrivateKey::from_seed([7; 32])
}

/// The keys that are trusted: that one, and another one.
fn trusted() -> [PublicKey; 2] {
    [PrivateKey::from_seed([8; 32]).public(), key().public()]
}

/// One input; its first byte selects the check.
pub fn run(bytes: &[u8]) {
    let Some((what, rest)) = bytes.split_first() else { return };
    match what % 4 {
        0 => foreign(rest),
        1 => drop(mutated(Unstructured::new(rest))),
        2 => key_of(&String::from_utf8_lossy(rest)),
        _ => drop(store(Unstructured::new(rest))),
    }
}

/// An object that was not sealed with the key.
fn foreign(object: &[u8]) {
    let opened = seal::open(&trusted(), &id("engine"), &Bytes::copy_from_slice(object));
    let error = opened.expect_err("unsigned bytes verify").to_string();
    assert!(error.len() < 200, "{error}");
    for len in [object.len() as u64, 0, 1, HEADER_LEN as u64 - 1, u64::MAX] {
        for head in [object, &object[..object.len().min(HEADER_LEN)]] {
            let verified = seal::verify_header(&trusted(), &id("engine"), head, len);
            verified.expect_err("a header that was not signed verifies");
        }
    }
}

/// A sealed object with one change: in its bytes, its id or the key.
fn mutated(mut u: Unstructured<'_>) -> Result<()> {
    let (kind, at, how): (u8, usize, u8) = (u.arbitrary()?, u.arbitrary()?, u.arbitrary()?);
    let payload = u.take_rest();
    let (object, expected) = if kind % 2 == 0 {
        let compiled = Compiled { code: Bytes::copy_from_slice(payload), has_start: kind / 2 % 2 == 0 };
        let (object, digest) = seal::seal_artifact(&key(), &id("engine"), &compiled);
        let header = &object[..HEADER_LEN];
        let verified = seal::verify_header(&trusted(), &id("engine"), header, object.len() as u64);
        assert_eq!(verified, Ok(Some((payload.len() as u64, digest))));
        let content = seal::content_hash(payload);
        (object, Sealed::Artifact { compiled, content, digest })
    } else {
        let why = String::from_utf8_lossy(payload).into_owned();
        let error = match kind / 2 % 4 {
            0 => PrepareError::Prevalidation(why),
            1 => PrepareError::CouldNotDecompress(why),
            2 => PrepareError::TimedOut { limit_ms: at as u64 },
            _ => PrepareError::OutOfMemory,
        };
        let object = seal::seal_failure(&key(), &id("engine"), &error);
        let header = &object[..HEADER_LEN];
        assert_eq!(seal::verify_header(&trusted(), &id("engine"), header, object.len() as u64), Ok(None));
        (object, Sealed::Failure(error))
    };
    assert_eq!(seal::open(&trusted(), &id("engine"), &object), Ok(expected));
    let mut other = object.to_vec();
    let (mut of, mut with) = (id("engine"), trusted().to_vec());
    let bit = 1 << (at % 8);
    match how % 8 {
        0 => other[at / 8 % object.len()] ^= bit,
        1 => other.truncate(at % object.len()),
        2 => other.extend(std::iter::repeat_n(at as u8, at % 64 + 1)),
        3 => drop(other.remove(at % object.len())),
        4 => other.insert(at % object.len(), at as u8),
        5 => of.code_hash.0[at / 8 % 32] ^= bit,
        6 => of.prep_hash.0[at / 8 % 32] ^= bit,
        _ => match at % 3 {
            0 => of.engine = EngineId::parse("engin").expect("an engine"),
            1 => of.engine = EngineId::parse("engine-").expect("an engine"),
            _ => with = vec![PrivateKey::unsigned().public(), trusted()[0]],
        },
    }
    // An insertion beside an equal byte may give the same bytes.
    if other != object || of != id("engine") || how % 8 == 7 {
        assert!(seal::open(&with, &of, &other.into()).is_err(), "mutation {how} at {at} verifies");
    }
    Ok(())
}

/// A key as a store lists it.
fn key_of(text: &str) {
    for path in [Path::from(text), Path::from(format!("artifacts/{text}"))].into_iter().chain(Path::parse(text).ok()) {
        if let Some(id) = keys::parse_artifact(&path) {
            assert_eq!(keys::artifact(&id), path, "two keys for one artifact");
        }
    }
    if let Ok(engine) = EngineId::parse(text) {
        let id = ArtifactId { engine, ..id("engine") };
        assert_eq!(keys::parse_artifact(&keys::artifact(&id)), Some(id));
    }
    for hash in [text.parse::<BlobHash>().map(|h| h.to_string()), text.parse::<CodeHash>().map(|h| h.to_string())] {
        match hash {
            Ok(hash) => assert!(text.trim_start_matches("0x").eq_ignore_ascii_case(&hash)),
            Err(error) => assert!(error.to_string().len() < 400),
        }
    }
}

fn store_folder() -> &'static (TempDir, Runtime) {
    static FOLDER: OnceLock<(TempDir, Runtime)> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        (folder, tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime"))
    })
}

/// A store with arbitrary contents.
fn store(mut u: Unstructured<'_>) -> Result<()> {
    let (folder, runtime) = store_folder();
    let (tokens, least) = (u.arbitrary::<[u8; 4]>()?, u.arbitrary::<u32>()?);
    let token = u.bytes(u.len().min(usize::from(tokens[0] % 32)))?;
    let object = u.bytes(u.len().min(usize::from(tokens[1])))?;
    let needed = u.take_rest();
    let write = |path: &Path, bytes: &[u8]| {
        let path = folder.path().join(path.as_ref());
        fs::create_dir_all(path.parent().expect("a folder")).and_then(|()| fs::write(path, bytes)).expect("a file");
    };
    write(&keys::fencing_token(), token);
    write(&keys::last_needed(), needed);
    write(&keys::artifact(&id("engine")), object);
    let store =
        BlobStore::open(folder.path().to_str().expect("a path"), ArtifactKeys::of_pair(key())).expect("a store");
    runtime.block_on(async {
        let last: u64 = String::from_utf8_lossy(token).trim().parse().unwrap_or(0);
        let next = store.next_token(least.into()).await.expect("a token");
        assert!(next >= u64::from(least) && (next > last || last == u64::MAX), "{next} after {last}");
        let listed = store.list_artifacts().await.expect("a list");
        assert_eq!(listed.len(), 1, "{listed:?}");
        assert_eq!((&listed[0].0, listed[0].1), (&id("engine"), object.len() as u64));
        let age = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        assert!(listed[0].2 <= age + Duration::from_secs(1), "idle since before 1970: {listed:?}");
        let got = store.get_artifact(&id("engine")).await;
        assert!(matches!(got, Err(StoreError::Seal { .. })), "an artifact without a valid seal: {got:?}");
        let found = store.look_up(&id("engine")).await.expect("it exists");
        assert!(matches!(found, Some(StoredArtifact::Damaged)), "{found:?}");
    });
    Ok(())
}

/// Describes an input.
pub fn show(bytes: &[u8]) -> String {
    let Some((what, rest)) = bytes.split_first() else { return "nothing".into() };
    let what = ["an object", "something signed, and a change", "a key", "a store"][usize::from(what % 4)];
    format!("{what}: {:?}", String::from_utf8_lossy(rest))
}

/// Objects that were signed with another key, and other contents of a store.
pub fn seeds() -> Seeds {
    let (unsigned, compiled) =
        (PrivateKey::unsigned(), Compiled { code: Bytes::from_static(b"code"), has_start: false });
    let (object, _) = seal::seal_artifact(&unsigned, &id("engine"), &compiled);
    let failure = seal::seal_failure(&unsigned, &id("engine"), &PrepareError::Prevalidation("no".into()));
    let key = keys::artifact(&id("wt36.0.20-x86_64-v3-0011223344556677")).to_string();
    let of = |what: u8, bytes: &[u8]| [&[what], bytes].concat();
    let needed = format!("1700000000 {key}\nrubbish\n-1 x\n99999999999999999999 {key}\n");
    let mut store = vec![3, 5, 45, 0, 0, 7, 0, 0, 0];
    store.extend([b"12345", &object[..], needed.as_bytes()].concat());
    let mut seeds = vec![
        ("artifact".to_owned(), of(0, &object)),
        ("failure".to_owned(), of(0, &failure)),
        ("key".to_owned(), of(2, key.as_bytes())),
        ("key without its folder".to_owned(), of(2, key.trim_start_matches("artifacts/").as_bytes())),
        ("store".to_owned(), store),
    ];
    for how in 0..8 {
        seeds.push((format!("mutation {how}"), vec![1, how, 9, 0, 0, 0, 0, 0, 0, 0, how, 1, 2, 3]));
    }
    seeds
}
