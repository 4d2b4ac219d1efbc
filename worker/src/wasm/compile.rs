//! Prepares validation code: decompresses, parses, instruments and compiles it to an artifact.

use super::{
    config::{CpuBaseline, engine},
    module_codec, sections,
};
use pvf_shared::{
    params::{ExecutorParam, ExecutorParams},
    store::seal::Compiled,
    verdict::{PrepareError, clean_reason},
};
use std::borrow::Cow;
use wasm_instrument::parity_wasm::elements::{
    ExportEntry, ExportSection, External, Internal, MemorySection, MemoryType, Module, Section,
};

/// Decompresses code that has the compression prefix, and returns other code as it is.
///
/// # Errors
/// [`PrepareError::CouldNotDecompress`] if the code is malformed, or larger than `bomb_limit` bytes.
pub fn decompress_code(code: &[u8], bomb_limit: u32) -> Result<Cow<'_, [u8]>, PrepareError> {
    sp_maybe_compressed_blob::decompress(code, bomb_limit as usize)
        .map_err(|e| PrepareError::CouldNotDecompress(e.to_string()))
}

/// Parses decompressed code. Accepted is wasm MVP as `parity-wasm` implements it. `threads` changes how long it takes,
/// and neither what is accepted nor the result.
///
/// # Errors
/// [`PrepareError::Prevalidation`] if the code does not parse.
pub fn prevalidate(code: &[u8], threads: u32) -> Result<Module, PrepareError> {
    module_codec::decode(code, threads).map_err(|e| PrepareError::Prevalidation(clean_reason(&e.to_string())))
}

fn preparation(why: impl std::fmt::Display) -> PrepareError {
    PrepareError::Preparation(clean_reason(&why.to_string()))
}

/// Instruments and compiles. `threads` changes how long it takes, and not the bytes.
///
/// # Errors
/// As [`instrument`] and [`compile`].
pub fn prepare(
    module: Module,
    params: &ExecutorParams,
    baseline: CpuBaseline,
    threads: u32,
) -> Result<Compiled, PrepareError> {
    compile(&instrument(module, params, threads)?, params, baseline, threads)
}

/// Injects the stack limiter, and turns imported memories into defined ones without a maximum.
///
/// # Errors
/// [`PrepareError::Preparation`] if the stack limiter or the conversion rejects the module.
pub fn instrument(module: Module, params: &ExecutorParams, threads: u32) -> Result<Vec<u8>, PrepareError> {
    module_codec::encode(own_memory(limit_stack(module, params)?)?, threads).map_err(preparation)
}

/// Name under which [`instrument_to_watch`] exports the height of the logical stack.
pub(super) const STACK_HEIGHT: &str = "__pvf_stack_height";

/// As [`instrument`], for a call that is watched: the global that holds the height of the logical stack is exported.
pub(super) fn instrument_to_watch(
    module: Module,
    params: &ExecutorParams,
    threads: u32,
) -> Result<Vec<u8>, PrepareError> {
    let mut module = own_memory(limit_stack(module, params)?)?;
    // The limiter appends its global. A module that imports globals is not linked, so this is its index.
    let height = module.global_section().map_or(0, |globals| globals.entries().len()).saturating_sub(1) as u32;
    if let Some(exports) = module.export_section_mut() {
        exports.entries_mut().push(ExportEntry::new(STACK_HEIGHT.into(), Internal::Global(height)));
    }
    module_codec::encode(module, threads).map_err(preparation)
}

fn limit_stack(module: Module, params: &ExecutorParams) -> Result<Module, PrepareError> {
    wasm_instrument::inject_stack_limiter(module, params.stack_logical_max())
        .map_err(|e| preparation(format!("stack limiter: {e}")))
}

/// Compiles instrumented code.
///
/// # Errors
/// [`PrepareError::Preparation`] if the compiler rejects the code; [`PrepareError::Kernel`] if there is no engine.
pub fn compile(
    code: &[u8],
    params: &ExecutorParams,
    baseline: CpuBaseline,
    threads: u32,
) -> Result<Compiled, PrepareError> {
    // The native stack is no part of the artifact, so any limit of it must give the same: with 0 there is no engine,
    // and only what links or executes may fail for that.
    let is_native_stack = |param: &ExecutorParam| matches!(param, ExecutorParam::StackNativeMax(_));
    let params = ExecutorParams(params.0.iter().copied().filter(|param| !is_native_stack(param)).collect());
    // Not attributable to the code, so it must not be cached as its failure.
    let engine = engine(&params, baseline, threads)
        .map_err(|e| PrepareError::Kernel(format!("cannot create the engine: {e:#}")))?;
    let compiled = engine.precompile_module(code).map_err(|e| preparation(format!("{e:#}")))?;
    Ok(Compiled { code: compiled.into(), has_start: sections::has_start(code) })
}

/// Turns imported memories into defined ones that are exported under the import's field name, and drops the maximum of
/// every memory: the execution's parameters limit its growth.
fn own_memory(mut module: Module) -> Result<Module, PrepareError> {
    let mut imported = Vec::new();
    if let Some(imports) = module.import_section_mut() {
        imports.entries_mut().retain(|entry| match entry.external() {
            External::Memory(memory) => {
                imported.push((*memory, entry.field().to_owned()));
                false
            }
            _ => true,
        });
    }
    if !imported.is_empty() && module.memory_section().is_some() {
        // Also if the section is empty: the conversion would add a second one.
        return Err(preparation("module has both an imported memory and a memory section"));
    }
    // Imported memories come first in the index space.
    for (index, (memory, field)) in imported.into_iter().enumerate() {
        match module.memory_section_mut() {
            Some(section) => section.entries_mut().insert(index, memory),
            None => module
                .insert_section(Section::Memory(MemorySection::with_entries(vec![memory])))
                .map_err(preparation)?,
        }
        if module.export_section().is_none() {
            module.insert_section(Section::Export(ExportSection::default())).map_err(preparation)?;
        }
        if let Some(exports) = module.export_section_mut() {
            exports.entries_mut().push(ExportEntry::new(field, Internal::Memory(index as u32)));
        }
    }
    if let Some(section) = module.memory_section_mut() {
        for memory in section.entries_mut() {
            *memory = MemoryType::new(memory.limits().initial(), None);
        }
    }
    Ok(module)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compiled(wat: &str, threads: u32) -> Result<Compiled, PrepareError> {
        let wasm = wat::parse_str(wat).unwrap();
        prepare(prevalidate(&wasm, threads)?, &ExecutorParams::default(), CpuBaseline::V1, threads)
    }

    #[test]
    fn artifacts_do_not_depend_on_the_thread_count() {
        let functions: String = (0..50)
            .map(|n| format!("(func (export \"f{n}\") (result i32) (i32.mul (i32.const {n}) (i32.const 3)))"))
            .collect();
        let wat = format!("(module (memory (export \"memory\") 1) {functions})");
        let one = compiled(&wat, 1).unwrap();
        for threads in [2, 8] {
            assert!(one == compiled(&wat, threads).unwrap(), "{threads} threads");
        }
    }

    #[test]
    fn the_bomb_limit_is_exact() {
        let code = sp_maybe_compressed_blob::compress_weakly(&[0; 1000], 1000).unwrap();
        assert_eq!(decompress_code(&code, 1000).unwrap().len(), 1000);
        assert!(matches!(decompress_code(&code, 999), Err(PrepareError::CouldNotDecompress(_))));
    }

    #[test]
    fn artifacts_do_not_depend_on_the_native_stack() {
        let wasm = wat::parse_str(r#"(module (func (export "f") (result i32) (i32.const 1)))"#).unwrap();
        let prepared = |params: &[ExecutorParam]| {
            prepare(prevalidate(&wasm, 1).unwrap(), &ExecutorParams(params.to_vec()), CpuBaseline::V1, 1).unwrap()
        };
        for bytes in [0, 1, u32::MAX] {
            assert!(prepared(&[]) == prepared(&[ExecutorParam::StackNativeMax(bytes)]), "{bytes} bytes");
        }
    }

    #[test]
    fn code_that_does_not_parse_fails_prevalidation() {
        assert!(matches!(prevalidate(b"not wasm", 2), Err(PrepareError::Prevalidation(_))));
        assert!(matches!(prevalidate(b"", 1), Err(PrepareError::Prevalidation(_))));
    }
}
