//! SCALE: parameters and results of `validate_block`, and executor parameters. Encoding what was decoded must give the
//! same bytes.

use crate::{Seeds, alloc::bounded};
use parity_scale_codec::{Decode as _, Encode as _};
use pvf_shared::{
    candidate::{
        BlockDataForm, CandidateContext, HorizontalMessage, ValidationParams, ValidationParamsExtension,
        ValidationResult, decode_params, encode_params,
    },
    ids::StorageRoot,
    params::{ExecutorParam, ExecutorParams, HostFunctionSet, PvfExecKind, PvfPrepKind},
};

/// Memory of a decoder: an empty message of one byte takes 24 bytes in a list, and while the list grows there may be
/// three copies of it.
const MEMORY: (usize, usize) = (64 << 10, 128);

/// Decodes an input as each of the three.
pub fn run(bytes: &[u8]) {
    if let Ok((params, extension)) = bounded(bytes.len(), MEMORY, || decode_params(bytes)) {
        assert_eq!(encode_params(&params, extension.as_ref()), bytes);
        let context = CandidateContext {
            parent_head: params.parent_head.into(),
            relay_parent_number: params.relay_parent_number,
            relay_parent_storage_root: StorageRoot(params.relay_parent_storage_root),
            extension,
            block_data_form: BlockDataForm::Decompressed,
        };
        let (before, behind) = context.around_block_data();
        assert_eq!([&before, &params.block_data.encode()[..], &behind].concat(), bytes);
        assert_eq!(context.encode_with(params.block_data), bytes);
    }
    let mut rest = bytes;
    if let Ok(result) = bounded(bytes.len(), MEMORY, || ValidationResult::decode(&mut rest)) {
        assert_eq!(result.encode(), bytes[..bytes.len() - rest.len()]);
    }
    if let Ok(params) = bounded(bytes.len(), MEMORY, || ExecutorParams::from_scale(bytes)) {
        assert_eq!(params.encode(), bytes);
        let checked = bounded(bytes.len(), MEMORY, || params.check_consistency());
        let limits = (params.memory_page_limit(), params.stack_native_max(), params.stack_logical_max());
        match checked {
            Ok(()) => {
                assert!((33..=65_568).contains(&limits.0));
                assert!(u64::from(limits.1) >= 128 * u64::from(limits.2));
                assert!(params.prep_timeout(PvfPrepKind::Precheck) < params.prep_timeout(PvfPrepKind::Prepare));
                assert!(params.exec_timeout(PvfExecKind::Backing) < params.exec_timeout(PvfExecKind::Approval));
                assert!(params.0.len() <= 10, "each kind at most once");
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
        // A parameter without effect on the artifact must not change its id.
        let mut more = params.clone();
        more.0.push(ExecutorParam::MaxMemoryPages(1));
        assert_eq!(params.prep_hash(), more.prep_hash());
        assert_ne!(params.hash(), more.hash());
    }
}

/// Describes an input.
pub fn show(bytes: &[u8]) -> String {
    let result = ValidationResult::decode(&mut &bytes[..]);
    format!("{:#?}\n{result:#?}\n{:#?}", decode_params(bytes), ExecutorParams::from_scale(bytes))
}

/// One of each, and large element counts without elements.
pub fn seeds() -> Seeds {
    let params = ValidationParams {
        parent_head: vec![1; 70],
        block_data: vec![2, 3],
        relay_parent_number: 4,
        relay_parent_storage_root: [5; 32],
    };
    let v3 = ValidationParamsExtension::V3 { relay_parent: [6; 32], scheduling_parent: [7; 32] };
    let result = ValidationResult {
        head_data: vec![1, 2],
        new_validation_code: Some(vec![3].into()),
        upward_messages: vec![vec![4].into(), vec![].into()],
        horizontal_messages: vec![HorizontalMessage { recipient: 2000, data: vec![5] }],
        processed_downward_messages: 6,
        hrmp_watermark: 7,
    };
    let all = ExecutorParams(vec![
        ExecutorParam::MaxMemoryPages(8192),
        ExecutorParam::StackLogicalMax(65_536),
        ExecutorParam::StackNativeMax(256 << 20),
        ExecutorParam::PrecheckingMaxMemory(1 << 30),
        ExecutorParam::PvfPrepTimeout(PvfPrepKind::Precheck, 60_000),
        ExecutorParam::PvfPrepTimeout(PvfPrepKind::Prepare, 360_000),
        ExecutorParam::PvfExecTimeout(PvfExecKind::Backing, 2_000),
        ExecutorParam::PvfExecTimeout(PvfExecKind::Approval, 12_000),
        ExecutorParam::WasmExtBulkMemory,
        ExecutorParam::EnabledHostFunction(HostFunctionSet::EccRfc163),
    ]);
    let seeds = [
        ("params", encode_params(&params, None)),
        ("params with extension", encode_params(&params, Some(&v3))),
        ("result", result.encode()),
        ("smallest result", vec![0; 12]),
        ("executor params", all.encode()),
        ("no executor params", vec![0]),
        ("a large count", vec![0xfe, 0xff, 0xff, 0xff]),
        ("a larger count", vec![3, 0xff, 0xff, 0xff, 0xff]),
        ("messages without any", vec![0, 0, 2, 0, 1, 0]),
    ];
    seeds.into_iter().map(|(name, bytes)| (name.to_owned(), bytes)).collect()
}
