//! Replay bundles, which come from anybody: whatever is no bundle is an error, in bounded memory; what is read has the
//! id that it claims, and is written as it was read; and no change of a bundle goes unnoticed.

use crate::{Seeds, alloc::bounded};
use bytes::Bytes;
use libfuzzer_sys::arbitrary::{Result, Unstructured};
use pvf_shared::{
    bundle::{Bundle, BundleError, Candidate, JobNote, Notes},
    candidate::{BlockDataForm, CandidateContext, ValidationResult},
    identity::{UserName, WorkerId, WorkerKind},
    ids::{BlobHash, EngineId, RequestId, StorageRoot},
    params::ExecutorParams,
    priority::ExecuteKind,
    record::{Backtrace, Frame, JobRecord},
    verdict::{InvalidReason, Outcome, PrepareError},
    wire::{Timings, VerdictUsage},
};
use uuid::Uuid;

/// Memory of the reader, as that of messages.
const MEMORY: (usize, usize) = (4 << 20, 128);
/// Largest error text, bytes.
const MAX_ERROR: usize = 4096;
/// What every file begins with: the magic bytes and the version.
const PREFIX: &[u8; 12] = b"pvf-bndl\x01\0\0\0";

/// One input; its first byte selects the check.
pub fn run(bytes: &[u8]) {
    let Some((what, rest)) = bytes.split_first() else { return };
    match what % 3 {
        0 => drop(read(rest)),
        1 => drop(read(&with_header(rest))),
        _ => drop(changed(Unstructured::new(rest))),
    }
}

fn read(file: &[u8]) -> Option<Bundle> {
    let file = Bytes::copy_from_slice(file);
    let bundle = match bounded(file.len(), MEMORY, || Bundle::decode(&file)) {
        Ok(bundle) => bundle,
        Err(error) => {
            let text = error.to_string().len();
            assert!(text <= MAX_ERROR, "an error of {text} bytes");
            return None;
        }
    };
    // Notes may have fields that this build does not know, and longer texts than it keeps; a case has one encoding.
    let written: Bytes = file_of(&bundle);
    assert_eq!(Bundle::decode(&written).as_ref().ok(), Some(&bundle));
    assert_eq!(written[20..52], file[20..52], "the id");
    assert_eq!(written[20..52], bundle.id().0);
    Some(bundle)
}

/// A file with these bytes behind a header that fits: two of length of the case, the case, the notes.
fn with_header(bytes: &[u8]) -> Vec<u8> {
    let (len, rest) = bytes.split_at(bytes.len().min(2));
    let len = len.iter().fold(0, |len, byte| len << 8 | usize::from(*byte)).min(rest.len());
    let (case, notes) = rest.split_at(len);
    let lengths = [case, notes].map(|part| (part.len() as u32).to_le_bytes()).concat();
    let id = BlobHash::of(&[&PREFIX[..], case].concat());
    [&PREFIX[..], &lengths, &id.0, &BlobHash::of(notes).0, case, notes].concat()
}

fn file_of(bundle: &Bundle) -> Bytes {
    bundle.parts().expect("it is small").concat().into()
}

/// A bundle with one change.
fn changed(mut u: Unstructured<'_>) -> Result<()> {
    let (kind, at, how): (u8, usize, u8) = (u.arbitrary()?, u.arbitrary()?, u.arbitrary()?);
    let code = u.bytes(u.len() / 3)?.to_vec();
    let log = String::from_utf8_lossy(u.bytes(u.len() / 2)?).into_owned();
    let bundle = bundle(kind, code, log, u.take_rest().to_vec());
    let file = file_of(&bundle);
    assert_eq!(Bundle::decode(&file).expect("what was written"), bundle);
    let mut other = file.to_vec();
    match how % 5 {
        0 => other[at / 8 % file.len()] ^= 1 << (at % 8),
        1 => other.truncate(at % file.len()),
        2 => other.extend(std::iter::repeat_n(at as u8, at % 64 + 1)),
        3 => drop(other.remove(at % file.len())),
        _ => other.insert(at % file.len(), at as u8),
    }
    if other != file {
        let error = Bundle::decode(&other.into()).expect_err("a changed file");
        assert!(!matches!(error, BundleError::Io { .. }), "{error}");
    }
    Ok(())
}

fn bundle(kind: u8, code: Vec<u8>, log: String, block_data: Vec<u8>) -> Bundle {
    let worker = WorkerId { kind: WorkerKind::Execute, user: UserName::default(), session: Uuid::from_u128(3) };
    let engine = EngineId::parse("engine").expect("an engine");
    let backtrace = Backtrace { frames: vec![Frame { function: 1, offset: 2 }], total: 1 };
    let record = JobRecord { host: "h".into(), version: "v".into(), engine, log, backtrace }.bounded();
    let context = CandidateContext {
        parent_head: Bytes::from_static(b"head"),
        relay_parent_number: 7,
        relay_parent_storage_root: StorageRoot([3; 32]),
        extension: None,
        block_data_form: BlockDataForm::MaybeCompressed,
    };
    let candidate = Candidate {
        kind: ExecuteKind::Backing,
        context,
        block_data: block_data.into(),
        pov_bomb_limit: 9,
        exec_timeout: None,
    };
    let result = ValidationResult {
        head_data: code.clone(),
        new_validation_code: None,
        upward_messages: vec![],
        horizontal_messages: vec![],
        processed_downward_messages: 1,
        hrmp_watermark: 2,
    };
    let (candidate, outcome) = match kind % 4 {
        0 => (Some(candidate), Outcome::Invalid(InvalidReason::PovDecompression)),
        1 => (Some(candidate), Outcome::Valid(Box::new(result))),
        2 => (None, Outcome::PrecheckOk),
        _ => (None, Outcome::PreparationFailed(PrepareError::OutOfMemory)),
    };
    let notes = Notes {
        recorded_ms: 1,
        client_version: "v".into(),
        request: RequestId(Uuid::from_u128(2)),
        artifact: None,
        timings: Timings::default(),
        worker: Some(worker),
        attempts: 1,
        usage: VerdictUsage::default(),
        second_opinion: None,
        jobs: vec![JobNote { attempt: Some(1), worker, record: Some(record), missing: None }],
    };
    Bundle {
        code: code.into(),
        code_bomb_limit: 8,
        executor_params: ExecutorParams::default(),
        prepare_timeout: None,
        candidate,
        outcome,
        notes,
    }
}

/// Describes an input.
pub fn show(bytes: &[u8]) -> String {
    let Some((what, rest)) = bytes.split_first() else { return "nothing".into() };
    match what % 3 {
        0 => format!("a file: {:#?}", Bundle::decode(&Bytes::copy_from_slice(rest))),
        1 => format!("a case and notes: {:#?}", Bundle::decode(&with_header(rest).into())),
        _ => format!("a bundle with a change: {rest:?}"),
    }
}

/// Bundles of every kind, their cases and notes, changes, and headers that claim too much.
pub fn seeds() -> Seeds {
    let mut seeds = Seeds::new();
    for kind in 0..4 {
        let file = file_of(&bundle(kind, b"code".to_vec(), "[t] log\n".into(), b"block".to_vec()));
        seeds.push((format!("file {kind}"), [&[0], &file[..]].concat()));
        let case_len = u32::from_le_bytes([file[12], file[13], file[14], file[15]]) as usize;
        let notes_len = u32::from_le_bytes([file[16], file[17], file[18], file[19]]) as usize;
        let (case, notes) = (&file[84..84 + case_len], &file[file.len() - notes_len..]);
        let len = (case_len as u16).to_be_bytes();
        seeds.push((format!("parts {kind}"), [&[1], &len[..], case, notes].concat()));
    }
    for how in 0..5 {
        seeds.push((format!("change {how}"), vec![2, how, 9, 0, 0, 0, 0, 0, 0, 0, how, 1, 2, 3, 4, 5, 6]));
    }
    seeds.push(("lengths".into(), [&[0], &PREFIX[..], &[0xff; 72]].concat()));
    seeds
}
