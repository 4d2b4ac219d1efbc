//! The file of a bundle. All numbers are little endian:
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `pvf-bndl` |
//! | 2 | version of the format, [`FORMAT`] |
//! | 2 | 0 |
//! | 4 | length of the case |
//! | 4 | length of the notes |
//! | 32 | id: BLAKE3 of the first 12 bytes and the case |
//! | 32 | BLAKE3 of the notes |
//! | | the case: MessagePack, with the hashes and lengths of code, PoV and result |
//! | | code, PoV, SCALE-encoded result, as far as the case has them |
//! | | the notes: MessagePack |
//!
//! Code and PoV are stored as they were submitted, which is compressed as a rule. A case has one encoding, so the same
//! case has one id; notes may have fields that a reader does not know. A reader allocates nothing by a length that it
//! has not compared with the size of the file.

use super::{Bundle, BundleError, BundleId, Candidate, Notes};
use crate::{
    blob::BlobRef,
    candidate::{CandidateContext, ValidationResult},
    config::MAX_PULLED,
    content::Content,
    ids::{BlobHash, CodeHash},
    params::ExecutorParams,
    priority::ExecuteKind,
    record::JobRecord,
    units::MIB,
    verdict::{Outcome, WireOutcome, clean_reason},
};
use bytes::Bytes;
use parity_scale_codec::{DecodeAll as _, Encode as _};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::time::Duration;

/// Version of the format that this build writes, and the newest that it reads.
pub const FORMAT: u16 = 1;
/// The largest file of a bundle, bytes.
pub const MAX_FILE: u64 = HEADER as u64 + MAX_CASE + MAX_NOTES + 3 * MAX_PULLED;

const MAGIC: &[u8; 8] = b"pvf-bndl";
/// Length of what the id covers besides the case, bytes.
const PREFIX: usize = 12;
/// Length of what comes before the case, bytes.
const HEADER: usize = PREFIX + 8 + 64;
/// The largest case, bytes: all of it but the parent head and the reason is small.
const MAX_CASE: u64 = 16 * MIB as u64;
/// The largest notes, bytes: a few records of jobs.
const MAX_NOTES: u64 = MIB as u64;

/// The case as it is encoded: with the names of code, PoV and result instead of the bytes.
#[derive(Serialize, Deserialize)]
struct CaseHead {
    code: CodeHash,
    code_len: u64,
    code_bomb_limit: u32,
    executor_params: ExecutorParams,
    prepare_timeout: Option<Duration>,
    candidate: Option<CandidateHead>,
    /// A result is held by the bundle.
    outcome: WireOutcome,
}

#[derive(Serialize, Deserialize)]
struct CandidateHead {
    kind: ExecuteKind,
    context: CandidateContext,
    block_data: BlobHash,
    block_data_len: u64,
    pov_bomb_limit: u32,
    exec_timeout: Option<Duration>,
}

impl Bundle {
    /// Names the bundle.
    pub fn id(&self) -> BundleId {
        id_of(&prefix(), &encode(&self.head().0))
    }

    /// The file, in parts to write one after another.
    ///
    /// # Errors
    /// [`BundleError::TooLarge`] if a part is over its limit.
    pub fn parts(&self) -> Result<Vec<Bytes>, BundleError> {
        let (head, result) = self.head();
        let (case, notes) = (encode(&head), encode(&self.notes));
        let block_data = self.candidate.as_ref().map(|candidate| candidate.block_data.clone()).unwrap_or_default();
        let sizes = [
            ("case", case.len(), MAX_CASE),
            ("notes", notes.len(), MAX_NOTES),
            ("code", self.code.len(), MAX_PULLED),
            ("block data", block_data.len(), MAX_PULLED),
            ("result", result.len(), MAX_PULLED),
        ];
        for (part, len, limit) in sizes {
            check_size(part, len as u64, limit)?;
        }
        let mut header = Vec::with_capacity(HEADER);
        header.extend(prefix());
        header.extend((case.len() as u32).to_le_bytes());
        header.extend((notes.len() as u32).to_le_bytes());
        header.extend(id_of(&prefix(), &case).0);
        header.extend(BlobHash::of(&notes).0);
        Ok(vec![header.into(), case.into(), self.code.clone(), block_data, result, notes.into()])
    }

    /// Reads a file. Code, PoV and result of the bundle share the memory of `file`.
    ///
    /// # Errors
    /// The file is no bundle that this build can read, or was changed; the error names the part.
    pub fn decode(file: &Bytes) -> Result<Self, BundleError> {
        let header = Header::read(file)?;
        let len = file.len() as u64;
        let mut rest = Rest { file, at: HEADER };
        let case = rest.take(header.case_len.into())?;
        if id_of(&file[..PREFIX], &case) != header.id {
            return Err(BundleError::Hash { part: "case", hash: header.id.to_string() });
        }
        let head: CaseHead = decode("case", &case)?;
        if encode(&head) != case {
            let why = "not the encoding that this version of the format has".into();
            return Err(BundleError::Malformed { part: "case", why });
        }
        let expected = header.file_len(&head)?;
        if len != expected {
            return Err(BundleError::Length { len, expected });
        }
        let code = rest.member("code", head.code.into(), head.code_len)?;
        let candidate = head.candidate.map(|head| candidate(head, &mut rest)).transpose()?;
        let outcome = outcome(head.outcome, &mut rest)?;
        let notes = rest.take(header.notes_len.into())?;
        if BlobHash::of(&notes) != header.notes {
            return Err(BundleError::Hash { part: "notes", hash: header.notes.to_string() });
        }
        let mut notes: Notes = decode("notes", &notes)?;
        for job in &mut notes.jobs {
            job.record = job.record.take().map(JobRecord::bounded);
        }
        Ok(Self {
            code,
            code_bomb_limit: head.code_bomb_limit,
            executor_params: head.executor_params,
            prepare_timeout: head.prepare_timeout,
            candidate,
            outcome,
            notes,
        })
    }

    /// The case as it is encoded, and the encoded result of a valid candidate.
    fn head(&self) -> (CaseHead, Bytes) {
        let result = match &self.outcome {
            Outcome::Valid(result) => Bytes::from(result.encode()),
            _ => Bytes::new(),
        };
        let candidate = self.candidate.as_ref().map(|of| CandidateHead {
            kind: of.kind,
            context: of.context.clone(),
            block_data: BlobHash::of(&of.block_data),
            block_data_len: of.block_data.len() as u64,
            pov_bomb_limit: of.pov_bomb_limit,
            exec_timeout: of.exec_timeout,
        });
        let held = BlobRef::Held { hash: BlobHash::of(&result), len: result.len() as u64 };
        let head = CaseHead {
            code: CodeHash::of(&self.code),
            code_len: self.code.len() as u64,
            code_bomb_limit: self.code_bomb_limit,
            executor_params: self.executor_params.clone(),
            prepare_timeout: self.prepare_timeout,
            candidate,
            outcome: self.outcome.clone().map_result(|_| held),
        };
        (head, result)
    }
}

/// What comes before the case.
struct Header {
    case_len: u32,
    notes_len: u32,
    id: BundleId,
    notes: BlobHash,
}

impl Header {
    fn read(file: &[u8]) -> Result<Self, BundleError> {
        let Some(rest) = file.strip_prefix(MAGIC) else { return Err(BundleError::NotABundle) };
        let expected = HEADER as u64;
        let fixed: &[u8; HEADER - MAGIC.len()] =
            rest.first_chunk().ok_or(BundleError::Length { len: file.len() as u64, expected })?;
        let number = |at: usize| u32::from_le_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]]);
        let hash = |at: usize| {
            let mut hash = [0; 32];
            hash.copy_from_slice(&fixed[at..at + 32]);
            BlobHash(hash)
        };
        let version = u16::from_le_bytes([fixed[0], fixed[1]]);
        if version > FORMAT {
            return Err(BundleError::NewerVersion { found: version, supported: FORMAT });
        }
        if version == 0 || fixed[2..4] != [0, 0] {
            return Err(BundleError::Malformed { part: "header", why: "no version of the format has it".into() });
        }
        let header = Self { case_len: number(4), notes_len: number(8), id: hash(12), notes: hash(44) };
        check_size("case", header.case_len.into(), MAX_CASE)?;
        check_size("notes", header.notes_len.into(), MAX_NOTES)?;
        Ok(header)
    }

    /// The length of the file with this case, bytes.
    fn file_len(&self, head: &CaseHead) -> Result<u64, BundleError> {
        let block_data = head.candidate.as_ref().map_or(0, |candidate| candidate.block_data_len);
        let result = match &head.outcome {
            Outcome::Valid(result) => result.len(),
            _ => 0,
        };
        for (part, len) in [("code", head.code_len), ("block data", block_data), ("result", result)] {
            check_size(part, len, MAX_PULLED)?;
        }
        Ok(HEADER as u64 + u64::from(self.case_len) + head.code_len + block_data + result + u64::from(self.notes_len))
    }
}

/// What has not been read of a file.
struct Rest<'a> {
    file: &'a Bytes,
    at: usize,
}

impl Rest<'_> {
    fn take(&mut self, len: u64) -> Result<Bytes, BundleError> {
        let end = usize::try_from(len).ok().and_then(|len| self.at.checked_add(len));
        let Some(end) = end.filter(|end| *end <= self.file.len()) else {
            let (len, expected) = (self.file.len() as u64, (self.at as u64).saturating_add(len));
            return Err(BundleError::Length { len, expected });
        };
        let taken = self.file.slice(self.at..end);
        self.at = end;
        Ok(taken)
    }

    /// Bytes that have this name.
    fn member(&mut self, part: &'static str, name: Content, len: u64) -> Result<Bytes, BundleError> {
        let bytes = self.take(len)?;
        let mut hasher = name.hasher();
        hasher.update(&bytes);
        match hasher.content() == name {
            true => Ok(bytes),
            false => Err(BundleError::Hash { part, hash: name.to_string() }),
        }
    }
}

fn candidate(head: CandidateHead, rest: &mut Rest<'_>) -> Result<Candidate, BundleError> {
    Ok(Candidate {
        kind: head.kind,
        context: head.context,
        block_data: rest.member("block data", head.block_data.into(), head.block_data_len)?,
        pov_bomb_limit: head.pov_bomb_limit,
        exec_timeout: head.exec_timeout,
    })
}

fn outcome(head: WireOutcome, rest: &mut Rest<'_>) -> Result<Outcome, BundleError> {
    head.try_map_result(|result| {
        let malformed = |why: String| BundleError::Malformed { part: "result", why };
        let BlobRef::Held { hash, len } = result else { return Err(malformed("it is in the wrong place".into())) };
        let bytes = rest.member("result", hash.into(), len)?;
        let result = ValidationResult::decode_all(&mut &bytes[..]);
        result.map(Box::new).map_err(|e| malformed(clean_reason(&format!("does not decode: {e}"))))
    })
}

fn prefix() -> [u8; PREFIX] {
    let mut prefix = [0; PREFIX];
    prefix[..8].copy_from_slice(MAGIC);
    prefix[8..10].copy_from_slice(&FORMAT.to_le_bytes());
    prefix
}

fn id_of(prefix: &[u8], case: &[u8]) -> BundleId {
    let mut hasher = blake3::Hasher::new();
    hasher.update(prefix).update(case);
    BlobHash(*hasher.finalize().as_bytes())
}

fn check_size(part: &'static str, len: u64, limit: u64) -> Result<(), BundleError> {
    if len > limit { Err(BundleError::TooLarge { part, len, limit }) } else { Ok(()) }
}

fn encode(part: &impl Serialize) -> Vec<u8> {
    match rmp_serde::to_vec_named(part) {
        Ok(bytes) => bytes,
        // The types contain nothing that MessagePack cannot express, and writing to a Vec cannot fail.
        Err(e) => unreachable!("a part of a bundle cannot be encoded: {e}"),
    }
}

fn decode<T: DeserializeOwned>(part: &'static str, bytes: &[u8]) -> Result<T, BundleError> {
    // The error may quote any part of the file.
    rmp_serde::from_slice(bytes)
        .map_err(|e| BundleError::Malformed { part, why: clean_reason(&format!("does not decode: {e}")) })
}
