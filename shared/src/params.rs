//! Executor parameters: SCALE to the bit, their hashes, and the rules they must keep.
//!
//! Facts: `reference/pvf-semantics.md` section 2.

use crate::ids::{ParamsHash, PrepHash, blake2b_256};
use parity_scale_codec::{Decode, DecodeAll, Encode};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// For what a preparation is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode, Serialize, Deserialize)]
pub enum PvfPrepKind {
    /// Pre-checking: the strict time-out.
    #[codec(index = 0)]
    Precheck,
    /// Preparing for execution: the lenient time-out.
    #[codec(index = 1)]
    Prepare,
}

/// For what an execution is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode, Serialize, Deserialize)]
pub enum PvfExecKind {
    /// Backing: the strict time-out.
    #[codec(index = 0)]
    Backing,
    /// Approvals and disputes: the lenient time-out.
    #[codec(index = 1)]
    Approval,
}

/// A set of host functions that a parameter switches on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode, Serialize, Deserialize)]
pub enum HostFunctionSet {
    /// Elliptic curve operations of RFC 163.
    #[codec(index = 1)]
    EccRfc163,
}

/// One executor parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode, Serialize, Deserialize)]
pub enum ExecutorParam {
    /// Pages of 64 KiB that the guest's memory may grow to, without the 32 that are always added.
    #[codec(index = 1)]
    MaxMemoryPages(u32),
    /// Values on the logical (wasm) stack.
    #[codec(index = 2)]
    StackLogicalMax(u32),
    /// Bytes of native stack.
    #[codec(index = 3)]
    StackNativeMax(u32),
    /// Bytes that a preparation may allocate.
    #[codec(index = 4)]
    PrecheckingMaxMemory(u64),
    /// CPU time for a preparation, milliseconds.
    #[codec(index = 5)]
    PvfPrepTimeout(PvfPrepKind, u64),
    /// CPU time for an execution, milliseconds.
    #[codec(index = 6)]
    PvfExecTimeout(PvfExecKind, u64),
    /// Allows the bulk memory proposal.
    #[codec(index = 7)]
    WasmExtBulkMemory,
    /// Switches on a set of host functions.
    #[codec(index = 8)]
    EnabledHostFunction(HostFunctionSet),
}

impl ExecutorParam {
    /// Whether the compiled artifact depends on it.
    fn changes_artifact(&self) -> bool {
        match self {
            Self::StackLogicalMax(_) | Self::WasmExtBulkMemory => true,
            Self::MaxMemoryPages(_)
            | Self::StackNativeMax(_)
            | Self::PrecheckingMaxMemory(_)
            | Self::PvfPrepTimeout(..)
            | Self::PvfExecTimeout(..)
            | Self::EnabledHostFunction(_) => false,
        }
    }

    /// Two parameters with one slot contradict each other.
    fn slot(&self) -> (u8, u8) {
        let sub = match self {
            Self::PvfPrepTimeout(kind, _) => *kind as u8,
            Self::PvfExecTimeout(kind, _) => *kind as u8,
            Self::EnabledHostFunction(set) => *set as u8,
            _ => 0,
        };
        (self.encode()[0], sub)
    }

    fn name(&self) -> &'static str {
        match self {
            Self::MaxMemoryPages(_) => "MaxMemoryPages",
            Self::StackLogicalMax(_) => "StackLogicalMax",
            Self::StackNativeMax(_) => "StackNativeMax",
            Self::PrecheckingMaxMemory(_) => "PrecheckingMaxMemory",
            Self::PvfPrepTimeout(PvfPrepKind::Precheck, _) => "PvfPrepTimeout(Precheck)",
            Self::PvfPrepTimeout(PvfPrepKind::Prepare, _) => "PvfPrepTimeout(Prepare)",
            Self::PvfExecTimeout(PvfExecKind::Backing, _) => "PvfExecTimeout(Backing)",
            Self::PvfExecTimeout(PvfExecKind::Approval, _) => "PvfExecTimeout(Approval)",
            Self::WasmExtBulkMemory => "WasmExtBulkMemory",
            Self::EnabledHostFunction(HostFunctionSet::EccRfc163) => "EnabledHostFunction(EccRfc163)",
        }
    }
}

/// Logical stack if no parameter says otherwise, values.
pub const DEFAULT_STACK_LOGICAL_MAX: u32 = 65_536;
/// Native stack if no parameter says otherwise, bytes.
pub const DEFAULT_STACK_NATIVE_MAX: u32 = 256 * 1024 * 1024;
/// Memory growth if no parameter says otherwise, pages of 64 KiB (32 more are always added).
pub const DEFAULT_MAX_MEMORY_PAGES: u32 = 2048;
/// Pages that are added to the maximum.
pub const EXTRA_MEMORY_PAGES: u32 = 32;

/// A rule that a set of executor parameters breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum ParamsError {
    /// The same parameter stands there twice.
    #[error("executor params: {0} given more than once")]
    Duplicate(String),
    /// A value outside its range.
    #[error("executor params: {param} = {value} is outside {min}..={max}")]
    OutOfRange {
        /// The parameter.
        param: String,
        /// Its value.
        value: u64,
        /// The smallest allowed.
        min: u64,
        /// The largest allowed.
        max: u64,
    },
    /// The native stack could run out before the logical one.
    #[error("executor params: StackNativeMax = {native} must be at least 128 x StackLogicalMax = {required}")]
    NativeStackTooSmall {
        /// Native stack, bytes.
        native: u64,
        /// What the logical stack needs, bytes.
        required: u64,
    },
    /// A strict time-out that is not stricter than its lenient one.
    #[error("executor params: {strict} = {strict_ms} ms must be less than {lenient} = {lenient_ms} ms")]
    TimeoutsOutOfOrder {
        /// The stricter time-out.
        strict: String,
        /// Its value, ms.
        strict_ms: u64,
        /// The more lenient one.
        lenient: String,
        /// Its value, ms.
        lenient_ms: u64,
    },
    /// Not the SCALE encoding of executor parameters.
    #[error("executor params: not valid SCALE: {0}")]
    Malformed(String),
}

/// A list of executor parameters, as a session of the relay chain fixes them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Encode, Decode, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ExecutorParams(pub Vec<ExecutorParam>);

impl ExecutorParams {
    /// Reads the SCALE encoding; nothing may be left over.
    pub fn from_scale(bytes: &[u8]) -> Result<Self, ParamsError> {
        Self::decode_all(&mut &bytes[..]).map_err(|e| ParamsError::Malformed(e.to_string()))
    }

    /// blake2b-256 of the encoding.
    pub fn hash(&self) -> ParamsHash {
        ParamsHash(blake2b_256(&[&self.encode()]))
    }

    /// blake2b-256 of `prep` followed by the encodings of the parameters that change an artifact, in order.
    pub fn prep_hash(&self) -> PrepHash {
        let mut bytes = b"prep".to_vec();
        for param in self.0.iter().filter(|p| p.changes_artifact()) {
            param.encode_to(&mut bytes);
        }
        PrepHash(blake2b_256(&[&bytes]))
    }

    fn find<T>(&self, pick: impl Fn(&ExecutorParam) -> Option<T>) -> Option<T> {
        self.0.iter().find_map(pick)
    }

    /// Values on the logical stack.
    pub fn stack_logical_max(&self) -> u32 {
        self.find(|p| if let ExecutorParam::StackLogicalMax(n) = p { Some(*n) } else { None })
            .unwrap_or(DEFAULT_STACK_LOGICAL_MAX)
    }

    /// Bytes of native stack.
    pub fn stack_native_max(&self) -> u32 {
        self.find(|p| if let ExecutorParam::StackNativeMax(n) = p { Some(*n) } else { None })
            .unwrap_or(DEFAULT_STACK_NATIVE_MAX)
    }

    /// Pages that the guest's memory may have, the extra ones included.
    pub fn memory_page_limit(&self) -> u32 {
        self.find(|p| if let ExecutorParam::MaxMemoryPages(n) = p { Some(*n) } else { None })
            .unwrap_or(DEFAULT_MAX_MEMORY_PAGES)
            .saturating_add(EXTRA_MEMORY_PAGES)
    }

    /// Bytes that a preparation may allocate, if that is limited.
    pub fn prechecking_max_memory(&self) -> Option<u64> {
        self.find(|p| if let ExecutorParam::PrecheckingMaxMemory(n) = p { Some(*n) } else { None })
    }

    fn explicit_prep_timeout(&self, kind: PvfPrepKind) -> Option<u64> {
        self.find(|p| match p {
            ExecutorParam::PvfPrepTimeout(k, ms) if *k == kind => Some(*ms),
            _ => None,
        })
    }

    fn explicit_exec_timeout(&self, kind: PvfExecKind) -> Option<u64> {
        self.find(|p| match p {
            ExecutorParam::PvfExecTimeout(k, ms) if *k == kind => Some(*ms),
            _ => None,
        })
    }

    fn prep_timeout_ms(&self, kind: PvfPrepKind) -> u64 {
        self.explicit_prep_timeout(kind).unwrap_or(match kind {
            PvfPrepKind::Precheck => 60_000,
            PvfPrepKind::Prepare => 360_000,
        })
    }

    fn exec_timeout_ms(&self, kind: PvfExecKind) -> u64 {
        self.explicit_exec_timeout(kind).unwrap_or(match kind {
            PvfExecKind::Backing => 2_000,
            PvfExecKind::Approval => 12_000,
        })
    }

    /// CPU time that a preparation may take.
    pub fn prep_timeout(&self, kind: PvfPrepKind) -> Duration {
        Duration::from_millis(self.prep_timeout_ms(kind))
    }

    /// CPU time that an execution may take.
    pub fn exec_timeout(&self, kind: PvfExecKind) -> Duration {
        Duration::from_millis(self.exec_timeout_ms(kind))
    }

    /// Whether the bulk memory proposal is on.
    pub fn bulk_memory(&self) -> bool {
        self.0.contains(&ExecutorParam::WasmExtBulkMemory)
    }

    /// Whether the host functions of RFC 163 are on.
    pub fn ecc_rfc163(&self) -> bool {
        self.0.contains(&ExecutorParam::EnabledHostFunction(HostFunctionSet::EccRfc163))
    }

    /// Checks every rule; the first broken one is the error.
    pub fn check_consistency(&self) -> Result<(), ParamsError> {
        let mut seen = std::collections::HashSet::new();
        for param in &self.0 {
            if !seen.insert(param.slot()) {
                return Err(ParamsError::Duplicate(param.name().into()));
            }
            const MIB: u64 = 1024 * 1024;
            let (value, min, max) = match param {
                ExecutorParam::MaxMemoryPages(n) => (u64::from(*n), 1, 65_536),
                ExecutorParam::StackLogicalMax(n) => (u64::from(*n), 1024, 131_072),
                ExecutorParam::PrecheckingMaxMemory(n) => (*n, 256 * MIB, 16 * 1024 * MIB),
                ExecutorParam::StackNativeMax(_)
                | ExecutorParam::PvfPrepTimeout(..)
                | ExecutorParam::PvfExecTimeout(..)
                | ExecutorParam::WasmExtBulkMemory
                | ExecutorParam::EnabledHostFunction(_) => continue,
            };
            if !(min..=max).contains(&value) {
                return Err(ParamsError::OutOfRange { param: param.name().into(), value, min, max });
            }
        }
        let (native, required) = (u64::from(self.stack_native_max()), 128 * u64::from(self.stack_logical_max()));
        if native < required {
            return Err(ParamsError::NativeStackTooSmall { native, required });
        }
        in_order(
            ("PvfPrepTimeout(Precheck)", self.prep_timeout_ms(PvfPrepKind::Precheck)),
            ("PvfPrepTimeout(Prepare)", self.prep_timeout_ms(PvfPrepKind::Prepare)),
        )?;
        in_order(
            ("PvfExecTimeout(Backing)", self.exec_timeout_ms(PvfExecKind::Backing)),
            ("PvfExecTimeout(Approval)", self.exec_timeout_ms(PvfExecKind::Approval)),
        )
    }
}

fn in_order(strict: (&str, u64), lenient: (&str, u64)) -> Result<(), ParamsError> {
    if strict.1 < lenient.1 {
        return Ok(());
    }
    Err(ParamsError::TimeoutsOutOfOrder {
        strict: strict.0.into(),
        strict_ms: strict.1,
        lenient: lenient.0.into(),
        lenient_ms: lenient.1,
    })
}

#[cfg(test)]
mod tests {
    use super::{ExecutorParam::*, *};

    fn params(p: &[ExecutorParam]) -> ExecutorParams {
        ExecutorParams(p.to_vec())
    }

    #[test]
    fn golden_encoding() {
        let all = params(&[
            MaxMemoryPages(1),
            StackLogicalMax(2),
            StackNativeMax(3),
            PrecheckingMaxMemory(4),
            PvfPrepTimeout(PvfPrepKind::Prepare, 5),
            PvfExecTimeout(PvfExecKind::Approval, 6),
            WasmExtBulkMemory,
            EnabledHostFunction(HostFunctionSet::EccRfc163),
        ]);
        let hex = "2001010000000202000000030300000004040000000000000005010500000000000000060106000000000000000708 01"
            .replace(' ', "");
        assert_eq!(hex::encode(all.encode()), hex);
        assert_eq!(ExecutorParams::from_scale(&hex::decode(hex).unwrap()).unwrap(), all);
        assert!(ExecutorParams::from_scale(&[4, 9]).is_err());
        assert!(ExecutorParams::from_scale(&[0, 0]).is_err(), "left-over byte");
    }

    #[test]
    fn only_some_change_the_artifact() {
        let base = ExecutorParams::default().prep_hash();
        assert_eq!(base.0, blake2b_256(&[b"prep"]));
        for without in [
            MaxMemoryPages(9),
            StackNativeMax(1 << 28),
            PrecheckingMaxMemory(1 << 30),
            PvfPrepTimeout(PvfPrepKind::Precheck, 1),
            PvfExecTimeout(PvfExecKind::Backing, 1),
            EnabledHostFunction(HostFunctionSet::EccRfc163),
        ] {
            assert_eq!(params(&[without]).prep_hash(), base, "{without:?}");
            assert_ne!(params(&[without]).hash(), ExecutorParams::default().hash());
        }
        let stack = params(&[StackLogicalMax(2048)]).prep_hash();
        assert_eq!(stack.0, blake2b_256(&[b"prep", &[2, 0, 8, 0, 0]]));
        assert_ne!(params(&[WasmExtBulkMemory]).prep_hash(), base);
        assert_eq!(params(&[MaxMemoryPages(1), StackLogicalMax(2048)]).prep_hash(), stack);
    }

    #[test]
    fn an_error_for_each_rule() {
        let err = |p: &[ExecutorParam]| params(p).check_consistency().unwrap_err();
        let mib = 1024 * 1024;
        assert!(params(&[]).check_consistency().is_ok());
        assert_eq!(err(&[MaxMemoryPages(1), MaxMemoryPages(2)]), ParamsError::Duplicate("MaxMemoryPages".into()));
        for (param, ok) in [
            (MaxMemoryPages(0), false),
            (MaxMemoryPages(1), true),
            (MaxMemoryPages(65_536), true),
            (MaxMemoryPages(65_537), false),
            (StackLogicalMax(1023), false),
            (StackLogicalMax(1024), true),
            (StackLogicalMax(131_072), true),
            (StackLogicalMax(131_073), false),
            (PrecheckingMaxMemory(256 * mib - 1), false),
            (PrecheckingMaxMemory(256 * mib), true),
            (PrecheckingMaxMemory(16 * 1024 * mib), true),
            (PrecheckingMaxMemory(16 * 1024 * mib + 1), false),
            (StackNativeMax(128 * 65_536), true),
            (StackNativeMax(128 * 65_536 - 1), false),
            (PvfPrepTimeout(PvfPrepKind::Precheck, 359_999), true),
            (PvfPrepTimeout(PvfPrepKind::Precheck, 360_000), false),
            (PvfPrepTimeout(PvfPrepKind::Prepare, 60_000), false),
            (PvfExecTimeout(PvfExecKind::Backing, 11_999), true),
            (PvfExecTimeout(PvfExecKind::Backing, 12_000), false),
            (PvfExecTimeout(PvfExecKind::Approval, 2_000), false),
        ] {
            assert_eq!(params(&[param]).check_consistency().is_ok(), ok, "{param:?}");
        }
        assert!(
            params(&[PvfExecTimeout(PvfExecKind::Backing, 1), PvfExecTimeout(PvfExecKind::Approval, 2)])
                .check_consistency()
                .is_ok()
        );
        assert!(err(&[StackLogicalMax(131_072), StackNativeMax(1 << 20)]).to_string().contains("128 x"));
    }
}
