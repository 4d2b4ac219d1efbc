//! Executor parameters in their exact SCALE encoding, their hashes and default values. A host takes whatever decodes;
//! the rules that the relay chain checks when it sets parameters are in `rules`.
//!
//! Of entries given twice the last counts where the existing host goes through the list (memory and stacks), and the
//! first where it looks for one parameter (time-outs and the memory of a preparation).
//!
//! Source: `docs/design/consensus.md`.

mod rules;

pub use rules::ParamsError;

use crate::ids::{ParamsHash, PrepHash, blake2b_256};
use parity_scale_codec::{Decode, DecodeAll, Encode};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Purpose of a preparation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode, Serialize, Deserialize)]
pub enum PvfPrepKind {
    /// Pre-checking, with the strict time-out.
    #[codec(index = 0)]
    Precheck,
    /// Preparation for an execution, with the lenient time-out.
    #[codec(index = 1)]
    Prepare,
}

/// Purpose of an execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode, Serialize, Deserialize)]
pub enum PvfExecKind {
    /// Backing, with the strict time-out.
    #[codec(index = 0)]
    Backing,
    /// Approvals and disputes, with the lenient time-out.
    #[codec(index = 1)]
    Approval,
}

/// A set of host functions that a parameter enables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode, Serialize, Deserialize)]
pub enum HostFunctionSet {
    /// Elliptic curve operations of RFC 163.
    #[codec(index = 1)]
    EccRfc163,
}

/// One executor parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode, Serialize, Deserialize)]
pub enum ExecutorParam {
    /// Limit of the guest's memory in pages of 64 KiB, without the [`EXTRA_MEMORY_PAGES`].
    #[codec(index = 1)]
    MaxMemoryPages(u32),
    /// Limit of the logical (wasm) stack, values.
    #[codec(index = 2)]
    StackLogicalMax(u32),
    /// Limit of the native stack, bytes.
    #[codec(index = 3)]
    StackNativeMax(u32),
    /// Memory limit of a preparation, bytes.
    #[codec(index = 4)]
    PrecheckingMaxMemory(u64),
    /// CPU time limit of a preparation, milliseconds.
    #[codec(index = 5)]
    PvfPrepTimeout(PvfPrepKind, u64),
    /// CPU time limit of an execution, milliseconds.
    #[codec(index = 6)]
    PvfExecTimeout(PvfExecKind, u64),
    /// Allows the bulk memory proposal.
    #[codec(index = 7)]
    WasmExtBulkMemory,
    /// Enables a set of host functions.
    #[codec(index = 8)]
    EnabledHostFunction(HostFunctionSet),
}

impl ExecutorParam {
    /// Whether the compiled artifact depends on the parameter.
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
}

/// Default limit of the logical stack, values.
pub const DEFAULT_STACK_LOGICAL_MAX: u32 = 65_536;
/// Default limit of the native stack, bytes.
pub const DEFAULT_STACK_NATIVE_MAX: u32 = 256 * 1024 * 1024;
/// Default limit of the guest's memory in pages of 64 KiB, without the [`EXTRA_MEMORY_PAGES`].
pub const DEFAULT_MAX_MEMORY_PAGES: u32 = 2048;
/// Pages that are added to every memory limit.
pub const EXTRA_MEMORY_PAGES: u32 = 32;

/// The executor parameters of a relay-chain session, in the session's order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Encode, Decode, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ExecutorParams(pub Vec<ExecutorParam>);

impl ExecutorParams {
    /// Decodes the SCALE encoding; trailing bytes are an error.
    pub fn from_scale(bytes: &[u8]) -> Result<Self, ParamsError> {
        Self::decode_all(&mut &bytes[..]).map_err(|e| ParamsError::Malformed(e.to_string()))
    }

    /// blake2b-256 of the SCALE encoding.
    pub fn hash(&self) -> ParamsHash {
        ParamsHash(blake2b_256(&[&self.encode()]))
    }

    /// blake2b-256 of `prep` followed by the encodings of the parameters that affect compilation, in order.
    pub fn prep_hash(&self) -> PrepHash {
        let mut bytes = b"prep".to_vec();
        for param in self.0.iter().filter(|p| p.changes_artifact()) {
            param.encode_to(&mut bytes);
        }
        PrepHash(blake2b_256(&[&bytes]))
    }

    /// The value of the first entry that `pick` knows.
    fn first<T>(&self, pick: impl Fn(&ExecutorParam) -> Option<T>) -> Option<T> {
        self.0.iter().find_map(pick)
    }

    /// The value of the last entry that `pick` knows.
    fn last<T>(&self, pick: impl Fn(&ExecutorParam) -> Option<T>) -> Option<T> {
        self.0.iter().rev().find_map(pick)
    }

    /// Limit of the logical stack, values.
    pub fn stack_logical_max(&self) -> u32 {
        self.last(|p| if let ExecutorParam::StackLogicalMax(n) = p { Some(*n) } else { None })
            .unwrap_or(DEFAULT_STACK_LOGICAL_MAX)
    }

    /// Limit of the native stack, bytes.
    pub fn stack_native_max(&self) -> u32 {
        self.last(|p| if let ExecutorParam::StackNativeMax(n) = p { Some(*n) } else { None })
            .unwrap_or(DEFAULT_STACK_NATIVE_MAX)
    }

    /// Limit of the guest's memory, pages of 64 KiB, without the [`EXTRA_MEMORY_PAGES`].
    pub fn max_memory_pages(&self) -> u32 {
        self.last(|p| if let ExecutorParam::MaxMemoryPages(n) = p { Some(*n) } else { None })
            .unwrap_or(DEFAULT_MAX_MEMORY_PAGES)
    }

    /// Limit of the guest's memory, pages of 64 KiB, with the [`EXTRA_MEMORY_PAGES`].
    pub fn memory_page_limit(&self) -> u32 {
        self.max_memory_pages().saturating_add(EXTRA_MEMORY_PAGES)
    }

    /// Memory limit of a preparation, bytes, if there is one. Zero and what does not fit a signed number are no limit.
    pub fn prechecking_max_memory(&self) -> Option<u64> {
        self.first(|p| if let ExecutorParam::PrecheckingMaxMemory(n) = p { Some(*n) } else { None })
            .filter(|limit| *limit != 0 && i64::try_from(*limit).is_ok())
    }

    fn explicit_prep_timeout(&self, kind: PvfPrepKind) -> Option<u64> {
        self.first(|p| match p {
            ExecutorParam::PvfPrepTimeout(k, ms) if *k == kind => Some(*ms),
            _ => None,
        })
    }

    fn explicit_exec_timeout(&self, kind: PvfExecKind) -> Option<u64> {
        self.first(|p| match p {
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

    /// CPU time limit of a preparation.
    pub fn prep_timeout(&self, kind: PvfPrepKind) -> Duration {
        Duration::from_millis(self.prep_timeout_ms(kind))
    }

    /// CPU time limit of an execution.
    pub fn exec_timeout(&self, kind: PvfExecKind) -> Duration {
        Duration::from_millis(self.exec_timeout_ms(kind))
    }

    /// Whether the bulk memory proposal is enabled.
    pub fn bulk_memory(&self) -> bool {
        self.0.contains(&ExecutorParam::WasmExtBulkMemory)
    }

    /// Whether the host functions of RFC 163 are enabled.
    pub fn ecc_rfc163(&self) -> bool {
        self.0.contains(&ExecutorParam::EnabledHostFunction(HostFunctionSet::EccRfc163))
    }
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
        assert!(ExecutorParams::from_scale(&[0, 0]).is_err(), "trailing byte");
    }

    #[test]
    fn of_entries_given_twice_one_counts() {
        use {PvfExecKind::Backing, PvfPrepKind::Precheck};
        let twice = params(&[
            MaxMemoryPages(1),
            StackLogicalMax(2),
            StackNativeMax(3),
            PrecheckingMaxMemory(4),
            PvfPrepTimeout(Precheck, 5),
            PvfExecTimeout(Backing, 6),
            MaxMemoryPages(10),
            StackLogicalMax(20),
            StackNativeMax(30),
            PrecheckingMaxMemory(40),
            PvfPrepTimeout(Precheck, 50),
            PvfExecTimeout(Backing, 60),
        ]);
        assert_eq!((twice.max_memory_pages(), twice.memory_page_limit()), (10, 42));
        assert_eq!((twice.stack_logical_max(), twice.stack_native_max()), (20, 30));
        assert_eq!(twice.prechecking_max_memory(), Some(4));
        assert_eq!(twice.prep_timeout(Precheck), Duration::from_millis(5));
        assert_eq!(twice.exec_timeout(Backing), Duration::from_millis(6));
        // Each entry counts for the hashes.
        assert_ne!(twice.prep_hash(), params(&[StackLogicalMax(20)]).prep_hash());
    }

    #[test]
    fn any_value_has_a_meaning() {
        assert_eq!(params(&[MaxMemoryPages(0)]).memory_page_limit(), 32);
        assert_eq!(params(&[MaxMemoryPages(u32::MAX)]).memory_page_limit(), u32::MAX);
        let memory = |bytes| params(&[PrecheckingMaxMemory(bytes)]).prechecking_max_memory();
        let most = i64::MAX as u64;
        assert_eq!([0, 1, most, most + 1, u64::MAX].map(memory), [None, Some(1), Some(most), None, None]);
        let longest = params(&[PvfExecTimeout(PvfExecKind::Approval, u64::MAX)]);
        assert_eq!(longest.exec_timeout(PvfExecKind::Approval), Duration::from_millis(u64::MAX));
    }

    #[test]
    fn only_some_parameters_change_the_prep_hash() {
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
}
