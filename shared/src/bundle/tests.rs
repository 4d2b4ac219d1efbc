//! Tests of the format and of folders.

use super::*;
use crate::{
    candidate::{BlockDataForm, ValidationParamsExtension, ValidationResult},
    identity::{UserName, WorkerKind},
    ids::{EngineId, StorageRoot},
    job::AttemptEnd,
    params::ExecutorParam,
    record::{Backtrace, Frame, MAX_LOG},
    verdict::{InvalidReason, PrepareError},
    wire::{Opinion, OpinionResult},
};
use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, time::SystemTime};
use uuid::Uuid;

fn record() -> JobRecord {
    JobRecord {
        host: "host".into(),
        version: "0.1.0".into(),
        engine: EngineId::parse("wt36-x").unwrap(),
        log: "[runtime] panicked\n".into(),
        backtrace: Backtrace { frames: vec![Frame { function: 7, offset: 8 }], total: 1 },
    }
}

fn notes() -> Notes {
    let worker = WorkerId { kind: WorkerKind::Execute, user: UserName::default(), session: Uuid::from_u128(3) };
    Notes {
        recorded_ms: 1,
        client_version: "0.1.0".into(),
        request: RequestId(Uuid::from_u128(2)),
        artifact: None,
        timings: Timings::default(),
        worker: Some(worker),
        attempts: 1,
        usage: VerdictUsage::default(),
        second_opinion: None,
        jobs: vec![JobNote { attempt: Some(1), worker, record: Some(record()), missing: None }],
    }
}

fn bundle(outcome: Outcome) -> Bundle {
    let extension = ValidationParamsExtension::V3 { relay_parent: [4; 32], scheduling_parent: [5; 32] };
    let context = CandidateContext {
        parent_head: Bytes::from_static(b"head"),
        relay_parent_number: 7,
        relay_parent_storage_root: StorageRoot([3; 32]),
        extension: Some(extension),
        block_data_form: BlockDataForm::MaybeCompressed,
    };
    Bundle {
        code: Bytes::from_static(b"the code"),
        code_bomb_limit: 10,
        executor_params: ExecutorParams(vec![ExecutorParam::StackLogicalMax(65_536)]),
        prepare_timeout: Some(Duration::from_millis(11)),
        candidate: Some(Candidate {
            kind: ExecuteKind::Dispute,
            context,
            block_data: Bytes::from_static(b"the block"),
            pov_bomb_limit: 12,
            exec_timeout: Some(Duration::from_secs(2)),
        }),
        outcome,
        notes: notes(),
    }
}

fn invalid() -> Bundle {
    bundle(Outcome::Invalid(InvalidReason::WorkerReported("wasm trap: unreachable".into())))
}

fn valid() -> Bundle {
    bundle(Outcome::Valid(Box::new(ValidationResult {
        head_data: vec![1, 2, 3],
        new_validation_code: Some(vec![4; 100].into()),
        upward_messages: vec![],
        horizontal_messages: vec![],
        processed_downward_messages: 5,
        hrmp_watermark: 6,
    })))
}

fn precheck() -> Bundle {
    let outcome = Outcome::PreparationFailed(PrepareError::Prevalidation("no".into()));
    Bundle { candidate: None, ..bundle(outcome) }
}

fn bytes_of(bundle: &Bundle) -> Bytes {
    bundle.parts().unwrap().concat().into()
}

#[test]
fn bundles_round_trip_and_their_id_does_not_cover_the_notes() {
    let bundles = [invalid(), valid(), precheck()];
    for bundle in &bundles {
        let file = bytes_of(bundle);
        assert_eq!(file, bytes_of(bundle));
        let read = Bundle::decode(&file).unwrap();
        assert_eq!((&read, read.id()), (bundle, bundle.id()));
        let notes = Notes { recorded_ms: 99, jobs: vec![], ..notes() };
        let later = Bundle { notes, ..bundle.clone() };
        assert_eq!(later.id(), bundle.id());
        assert_ne!(bytes_of(&later), file);
    }
    // Whatever else differs gives another id.
    let base = invalid();
    let mut others = vec![base.clone(); 7];
    others[0].code = Bytes::from_static(b"other code");
    others[1].code_bomb_limit += 1;
    others[2].executor_params = ExecutorParams::default();
    others[3].prepare_timeout = None;
    others[4].outcome = Outcome::Expired;
    others[5].candidate.as_mut().unwrap().kind = ExecuteKind::Backing;
    others[6].candidate.as_mut().unwrap().block_data = Bytes::new();
    let ids: std::collections::BTreeSet<_> = others.iter().chain(&bundles).map(Bundle::id).collect();
    assert_eq!(ids.len(), others.len() + bundles.len());
}

/// Of several attempts the last one need not be the one that decided, and with two opinions two did.
#[test]
fn a_bundle_says_who_decided_and_what_a_second_machine_said() {
    let worker = |n| WorkerId { session: Uuid::from_u128(n), ..notes().worker.unwrap() };
    let of = |attempt, n| JobNote { attempt: Some(attempt), worker: worker(n), record: None, missing: None };
    let opinion = Opinion {
        attempt: 1,
        worker: worker(7),
        host: "a".into(),
        engine: EngineId::parse("wt36-x").unwrap(),
        host_functions: "f".into(),
        version: "v".into(),
        end: AttemptEnd::Invalid,
        reason: Some("trap".into()),
        result: None,
    };
    let missing = SecondOpinion { result: OpinionResult::Missing("none came".into()), opinions: vec![opinion] };
    let mut bundle = invalid();
    bundle.notes = Notes {
        worker: Some(worker(7)),
        second_opinion: Some(Box::new(missing.clone())),
        jobs: vec![of(1, 7), of(2, 8)],
        ..notes()
    };
    let read = Bundle::decode(&bytes_of(&bundle)).unwrap();
    assert_eq!(read.deciding_job().unwrap().attempt, Some(1));
    assert_eq!((read.answer().second_opinion, &read), (Some(Box::new(missing)), &bundle));
    bundle.notes.worker = None;
    assert_eq!(bundle.deciding_job().unwrap().attempt, Some(2), "none decided: the last one");
}

/// A change of these bytes is a change of the format, and needs a new version of it.
#[test]
fn the_bytes_of_version_1_are_pinned() {
    assert_eq!(FORMAT, 1);
    let hashes = [invalid(), valid(), precheck()].map(|bundle| BlobHash::of(&bytes_of(&bundle)).to_string());
    assert_eq!(
        hashes,
        [
            "b9a94c1420819c5f8843f0064aca0b5874e95e02ee0a5214ef81b130cd4fdb4a",
            "edcb7e7c0f2a8f803bf5e9f5859311a1571b5bbac458d0053b68e301b5ce8e6d",
            "b70fcfe130f250301897a3fa6201a20d51e4a8c55786dfbe93a80fa7bd751454"
        ]
    );
}

#[test]
fn every_change_of_a_file_is_noticed() {
    for bundle in [invalid(), valid(), precheck()] {
        let file = bytes_of(&bundle);
        for len in 0..file.len() {
            let error = Bundle::decode(&file.slice(..len)).unwrap_err();
            let expected = matches!(error, BundleError::Length { .. } | BundleError::NotABundle);
            assert!(expected, "cut to {len}: {error}");
        }
        for at in 0..file.len() {
            let mut changed = file.to_vec();
            changed[at] ^= 1;
            Bundle::decode(&changed.into()).expect_err("a changed byte");
        }
        let longer = [&file[..], &[0]].concat();
        assert!(matches!(Bundle::decode(&longer.into()), Err(BundleError::Length { .. })));
    }
}

#[test]
fn what_was_changed_is_named() {
    let error = |bundle: &Bundle, change: &dyn Fn(&mut Vec<u8>)| {
        let mut file = bytes_of(bundle).to_vec();
        change(&mut file);
        Bundle::decode(&file.into()).unwrap_err().to_string()
    };
    let find = |file: &[u8], text: &[u8]| file.windows(text.len()).position(|part| part == text).unwrap();
    for (part, text) in [("code", "the code"), ("block data", "the block"), ("notes", "panicked"), ("case", "dispute")]
    {
        let text = text.to_lowercase();
        let why = error(&invalid(), &|file| {
            let at = find(file, text.as_bytes());
            file[at] ^= 1;
        });
        assert!(why.starts_with(&format!("{part}: the bytes do not have the hash")), "{why}");
    }
    let why = error(&invalid(), &|file| file[8] = 2);
    assert_eq!(why, "version 2 of the format, but this build reads at most 1: upgrade it");
    let why = error(&invalid(), &|file| file[12..16].copy_from_slice(&u32::MAX.to_le_bytes()));
    assert_eq!(why, "case: 4294967295 bytes are over the limit of 16777216 bytes");
    let why = error(&invalid(), &|file| file[16..20].copy_from_slice(&u32::MAX.to_le_bytes()));
    assert_eq!(why, "notes: 4294967295 bytes are over the limit of 1048576 bytes");
    assert_eq!(error(&invalid(), &|file| file[0] = b'x'), "not a replay bundle");
}

#[test]
fn logs_in_notes_are_bounded_by_the_reader() {
    let mut bundle = invalid();
    bundle.notes.jobs[0].record.as_mut().unwrap().log = "x".repeat(10 * MAX_LOG);
    let read = Bundle::decode(&bytes_of(&bundle)).unwrap();
    assert_eq!(read.notes.jobs[0].record.as_ref().unwrap().log.len(), MAX_LOG);
}

#[test]
fn differences_are_named() {
    let bundle = invalid();
    assert_eq!(bundle.differences(&bundle.outcome), [""; 0]);
    let other = Outcome::Invalid(InvalidReason::PovDecompression);
    assert_eq!(bundle.differences(&other), ["reason"]);
    assert_eq!(bundle.differences(&valid().outcome), ["verdict", "reason", "result"]);
    let mut head = valid();
    let Outcome::Valid(result) = &mut head.outcome else { unreachable!() };
    result.head_data.clear();
    assert_eq!(head.differences(&valid().outcome), ["result"]);
}

fn numbered(n: u8) -> Bundle {
    Bundle { code: Bytes::from(vec![n; 1000]), ..invalid() }
}

/// Writes so many bundles, each a minute younger than the one before.
fn write_all(folder: &BundleFolder, bundles: u8) -> Vec<PathOf> {
    let write = |n: u8| {
        let path = folder.write(&numbered(n)).unwrap();
        let age = Duration::from_secs(60) * u32::from(bundles - n);
        set_time(&path, SystemTime::now() - age);
        path
    };
    (0..bundles).map(write).collect()
}

type PathOf = std::path::PathBuf;

fn set_time(path: &Path, time: SystemTime) {
    fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

#[test]
fn a_folder_keeps_the_newest_within_each_limit() {
    let all = Retention::default();
    let one = bytes_of(&numbered(0)).len() as u64;
    for (retention, expected) in [
        (all, 6),
        (Retention { count: 2, ..all }, 2),
        (Retention { bytes: 3 * one, ..all }, 3),
        (Retention { bytes: 4 * one - 1, ..all }, 3),
        (Retention { age: Duration::from_secs(150), ..all }, 2),
        (Retention { count: 0, ..all }, 0),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bundles");
        let written = write_all(&BundleFolder::new(&path, all), 6);
        let foreign = path.join("notes.txt");
        fs::write(&foreign, "mine").unwrap();
        let folder = BundleFolder::new(&path, retention);
        let removed = folder.prune().unwrap();
        let kept: Vec<_> = folder.list().unwrap().into_iter().map(|kept| kept.path).collect();
        let newest: Vec<_> = written.iter().rev().take(expected).cloned().collect();
        assert_eq!((kept, removed.len()), (newest, 6 - expected), "{retention:?}");
        assert!(foreign.exists());
    }
}

#[test]
fn the_bundle_that_was_just_written_stays_whatever_the_limits() {
    let dir = tempfile::tempdir().unwrap();
    write_all(&BundleFolder::new(dir.path(), Retention::default()), 3);
    let none = Retention { count: 0, bytes: 0, age: Duration::ZERO };
    let path = BundleFolder::new(dir.path(), none).write(&numbered(9)).unwrap();
    let listed = BundleFolder::new(dir.path(), none).list().unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!((&listed[0].path, listed[0].id), (&path, numbered(9).id()));
}

#[test]
fn files_are_for_this_user_only_and_complete() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("new/bundles");
    let folder = BundleFolder::new(&path, Retention::default());
    assert_eq!(folder.list().unwrap(), []);
    let file = folder.write(&invalid()).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&file), mode(&path)), (0o600, 0o700));
    assert_eq!(read_file(&file).unwrap(), invalid());
    // Written again, it is the same file.
    assert_eq!(folder.write(&invalid()).unwrap(), file);
    assert_eq!(fs::read_dir(&path).unwrap().count(), 1);
    // What a process has left that died is removed once it is old.
    let left = path.join(".1-0-0.pvfbundle-tmp");
    fs::write(&left, "half").unwrap();
    folder.write(&invalid()).unwrap();
    assert!(left.exists());
    set_time(&left, SystemTime::now() - Duration::from_secs(2 * 3600));
    folder.write(&invalid()).unwrap();
    assert!(!left.exists());
}

#[test]
fn a_file_that_cannot_be_written_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "no folder").unwrap();
    let error = BundleFolder::new(file.join("x"), Retention::default()).write(&invalid()).unwrap_err();
    assert!(matches!(error, BundleError::Io { .. }), "{error}");
    // The target is a folder, so the rename fails.
    let taken = dir.path().join("taken");
    fs::create_dir_all(taken.join("inside")).unwrap();
    write_file(&taken, &invalid()).unwrap_err();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
}

#[test]
fn only_regular_files_are_read() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(read_file(dir.path()), Err(BundleError::NotABundle)));
    assert!(matches!(read_file(Path::new("/dev/zero")), Err(BundleError::NotABundle)));
    assert!(matches!(read_file(&dir.path().join("none")), Err(BundleError::Io { .. })));
}
