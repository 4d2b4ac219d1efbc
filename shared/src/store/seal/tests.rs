//! Tests of the sealed form.

use super::*;
use crate::ids::{CodeHash, EngineId, PrepHash};

fn id(engine: &str) -> ArtifactId {
    ArtifactId { code_hash: CodeHash([1; 32]), prep_hash: PrepHash([2; 32]), engine: EngineId::parse(engine).unwrap() }
}

fn key(n: u8) -> PrivateKey {
    PrivateKey::from_seed([n; 32])
}

fn trusted(keys: &[u8]) -> Vec<PublicKey> {
    keys.iter().map(|n| key(*n).public()).collect()
}

fn compiled(has_start: bool) -> Compiled {
    Compiled { code: Bytes::from_static(b"code"), has_start }
}

#[test]
fn a_seal_is_valid_only_for_its_content_artifact_and_key() {
    let trusted = trusted(&[1]);
    for has_start in [false, true] {
        let (object, digest) = seal_artifact(&key(1), &id("e"), &compiled(has_start));
        let opened = open(&trusted, &id("e"), &object).unwrap();
        assert_eq!(opened, Sealed::Artifact { compiled: compiled(has_start), content: content_hash(b"code"), digest });
        let (head, len) = (&object[..HEADER_LEN], object.len() as u64);
        assert_eq!(verify_header(&trusted, &id("e"), head, len), Ok(Some((4, digest))));
        let moved = SealError::Signature { key: key(1).public().fingerprint() };
        assert_eq!(open(&trusted, &id("f"), &object), Err(moved.clone()));
        assert_eq!(verify_header(&trusted, &id("f"), head, len), Err(moved));
        for wrong in [len - 1, len + 1, 0] {
            let error = verify_header(&trusted, &id("e"), head, wrong);
            assert_eq!(error, Err(SealError::NotSealed { len: wrong }), "the header has the length");
        }
        for i in 0..object.len() {
            let mut damaged = object.to_vec();
            damaged[i] ^= 1;
            assert!(open(&trusted, &id("e"), &damaged.clone().into()).is_err(), "byte {i}");
            let in_header = verify_header(&trusted, &id("e"), &damaged[..HEADER_LEN], len).is_err();
            assert_eq!(in_header, i < HEADER_LEN, "byte {i}");
        }
        for cut in 0..object.len() {
            let cut = object.slice(..cut);
            assert_eq!(open(&trusted, &id("e"), &cut), Err(SealError::NotSealed { len: cut.len() as u64 }));
        }
        let padded = [&object[..], b"x"].concat();
        assert!(open(&trusted, &id("e"), &padded.into()).is_err());
    }
}

#[test]
fn a_key_is_valid_where_it_is_trusted() {
    let (object, digest) = seal_artifact(&key(1), &id("e"), &compiled(false));
    // While a key is replaced both are trusted, and what was signed with either is valid.
    let both = trusted(&[2, 1]);
    assert!(open(&both, &id("e"), &object).is_ok());
    let (again, same) = seal_artifact(&key(2), &id("e"), &compiled(false));
    assert!(open(&both, &id("e"), &again).is_ok());
    assert_eq!(digest, same, "the digest is that of the artifact, whoever signs it");
    let [one, two] = [1, 2].map(|n| key(n).public().fingerprint());
    let untrusted = SealError::Untrusted { key: one, trusted: vec![two] };
    assert_eq!(open(&trusted(&[2]), &id("e"), &object), Err(untrusted));
    assert!(matches!(open(&[], &id("e"), &object), Err(SealError::Untrusted { .. })));
    let (unsigned, _) = seal_artifact(&PrivateKey::unsigned(), &id("e"), &compiled(false));
    let error = open(&both, &id("e"), &unsigned).unwrap_err();
    assert_eq!(error.to_string(), format!("signed with key unsigned, but trusted here: {two}, {one}"));
}

#[test]
fn a_header_that_claims_a_trusted_key_is_a_forgery() {
    let (object, _) = seal_artifact(&key(2), &id("e"), &compiled(false));
    let mut forged = object.to_vec();
    forged[50..58].copy_from_slice(&raw_fingerprint(&key(1).public()));
    let expected = SealError::Signature { key: key(1).public().fingerprint() };
    assert_eq!(open(&trusted(&[1]), &id("e"), &forged.into()), Err(expected));
}

#[test]
fn sealed_failures_round_trip() {
    let error = PrepareError::Prevalidation("no".into());
    let object = seal_failure(&key(1), &id("e"), &error);
    assert_eq!(open(&trusted(&[1]), &id("e"), &object).unwrap(), Sealed::Failure(error));
    let header = verify_header(&trusted(&[1]), &id("e"), &object[..HEADER_LEN], object.len() as u64);
    assert_eq!(header, Ok(None));
}

#[test]
fn what_a_newer_version_sealed_is_not_used() {
    for (kind, flags) in [(2, 0), (0, 2), (0, 0x81), (1, 1)] {
        let (object, _) = seal(&key(1), &id("e"), kind, flags, b"code");
        let error = open(&trusted(&[1]), &id("e"), &object).unwrap_err();
        assert!(matches!(error, SealError::Payload(_)), "{kind} {flags}: {error:?}");
    }
    let (malformed, _) = seal(&key(1), &id("e"), FAILURE, 0, b"\xc1");
    assert!(matches!(open(&trusted(&[1]), &id("e"), &malformed), Err(SealError::Payload(_))));
}
