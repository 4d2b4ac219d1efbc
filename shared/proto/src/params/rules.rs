//! The rules that a list of executor parameters must keep, as the relay chain's configuration checks them. No host
//! checks them: one that refused what another runs would not vote where the other does. They are for people who write
//! parameters.
//!
//! Source: `docs/design/consensus.md`.

use super::{ExecutorParam, ExecutorParams, HostFunctionSet, PvfExecKind, PvfPrepKind};
use parity_scale_codec::Encode as _;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;

const MIB: u64 = 1024 * 1024;

/// The rule that a list of executor parameters breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum ParamsError {
    /// A parameter is given more than once.
    #[error("executor params: {0} given more than once")]
    Duplicate(String),
    /// A value is outside its range.
    #[error("executor params: {param} = {value} is outside {min}..={max}")]
    OutOfRange {
        /// Name of the parameter.
        param: String,
        /// Its value.
        value: u64,
        /// Smallest allowed value.
        min: u64,
        /// Largest allowed value.
        max: u64,
    },
    /// The native stack could overflow before the logical stack reaches its limit.
    #[error("executor params: StackNativeMax = {native} must be at least 128 x StackLogicalMax = {required}")]
    NativeStackTooSmall {
        /// Native stack, bytes.
        native: u64,
        /// Native stack that the logical stack requires, bytes.
        required: u64,
    },
    /// A strict time-out is not shorter than the lenient time-out of its pair.
    #[error("executor params: {strict} = {strict_ms} ms must be less than {lenient} = {lenient_ms} ms")]
    TimeoutsOutOfOrder {
        /// Name of the strict time-out.
        strict: String,
        /// Its value, milliseconds.
        strict_ms: u64,
        /// Name of the lenient time-out.
        lenient: String,
        /// Its value, milliseconds.
        lenient_ms: u64,
    },
    /// The bytes are not the SCALE encoding of executor parameters.
    #[error("executor params: not valid SCALE: {0}")]
    Malformed(String),
}

impl ExecutorParam {
    /// A list may contain only one parameter with this key: two of them would contradict each other.
    fn uniqueness_key(&self) -> (u8, u8) {
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

impl ExecutorParams {
    /// Checks every rule; the error is the first one that is broken.
    pub fn check_consistency(&self) -> Result<(), ParamsError> {
        let mut seen = HashSet::new();
        for param in &self.0 {
            if !seen.insert(param.uniqueness_key()) {
                return Err(ParamsError::Duplicate(param.name().into()));
            }
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
        check_order(
            ("PvfPrepTimeout(Precheck)", self.prep_timeout_ms(PvfPrepKind::Precheck)),
            ("PvfPrepTimeout(Prepare)", self.prep_timeout_ms(PvfPrepKind::Prepare)),
        )?;
        check_order(
            ("PvfExecTimeout(Backing)", self.exec_timeout_ms(PvfExecKind::Backing)),
            ("PvfExecTimeout(Approval)", self.exec_timeout_ms(PvfExecKind::Approval)),
        )
    }
}

fn check_order(strict: (&str, u64), lenient: (&str, u64)) -> Result<(), ParamsError> {
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
    use super::{super::ExecutorParam::*, *};

    fn params(p: &[ExecutorParam]) -> ExecutorParams {
        ExecutorParams(p.to_vec())
    }

    #[test]
    fn each_rule_has_its_error() {
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
