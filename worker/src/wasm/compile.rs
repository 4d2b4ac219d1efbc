//! From validation code to an artifact: decompress, parse, instrument, compile.

use super::{
    config::{CpuBaseline, engine},
    parallel, start,
};
use pvf_shared::{
    params::ExecutorParams,
    verdict::{PrepareError, clean_reason},
};
use std::borrow::Cow;
use wasm_instrument::parity_wasm::elements::{
    self, ExportEntry, ExportSection, External, Internal, MemorySection, MemoryType, Module, Section,
};

/// Decompresses code, if it is compressed.
pub fn decompress_code(code: &[u8], bomb_limit: u32) -> Result<Cow<'_, [u8]>, PrepareError> {
    sp_maybe_compressed_blob::decompress(code, bomb_limit as usize)
        .map_err(|e| PrepareError::CouldNotDecompress(e.to_string()))
}

/// Parses decompressed code, on so many threads: the accepted subset is wasm MVP, as the parser has it.
pub fn prevalidate(code: &[u8], threads: u32) -> Result<Module, PrepareError> {
    let module = if threads > 1 { parallel::read(code) } else { elements::deserialize_buffer(code) };
    module.map_err(|e| PrepareError::Prevalidation(clean_reason(&e.to_string())))
}

fn preparation(why: impl std::fmt::Display) -> PrepareError {
    PrepareError::Preparation(clean_reason(&why.to_string()))
}

/// Instruments and compiles. `threads` changes only how long it takes, not the bytes.
pub fn prepare(
    module: Module,
    params: &ExecutorParams,
    baseline: CpuBaseline,
    threads: u32,
) -> Result<Vec<u8>, PrepareError> {
    compile(&instrument(module, params, threads)?, params, baseline, threads)
}

/// Injects the stack limiter and takes over the memory.
pub fn instrument(module: Module, params: &ExecutorParams, threads: u32) -> Result<Vec<u8>, PrepareError> {
    let module = wasm_instrument::inject_stack_limiter(module, params.stack_logical_max())
        .map_err(|e| preparation(format!("stack limiter: {e}")))?;
    let module = own_memory(module)?;
    if threads > 1 { parallel::write(module) } else { elements::serialize(module) }.map_err(preparation)
}

/// Compiles instrumented code.
pub fn compile(
    code: &[u8],
    params: &ExecutorParams,
    baseline: CpuBaseline,
    threads: u32,
) -> Result<Vec<u8>, PrepareError> {
    // Not the code's fault, and must not be kept as if it were.
    let engine = engine(params, baseline, threads).map_err(|e| PrepareError::Kernel(format!("no engine: {e:#}")))?;
    let mut artifact = engine.precompile_module(code).map_err(|e| preparation(format!("{e:#}")))?;
    start::say(&mut artifact, code);
    Ok(artifact)
}

/// Turns imported memories into defined ones that are exported under the import's field name, and drops the
/// maximum of every memory: how far it may grow is decided at execution.
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
        // Even an empty one: the conversion adds a section of its own.
        return Err(preparation("an imported memory, and a memory section as well"));
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

    fn compiled(wat: &str, threads: u32) -> Result<Vec<u8>, PrepareError> {
        let wasm = wat::parse_str(wat).unwrap();
        prepare(prevalidate(&wasm, threads)?, &ExecutorParams::default(), CpuBaseline::V1, threads)
    }

    #[test]
    fn the_thread_count_does_not_change_the_bytes() {
        let functions: String = (0..50)
            .map(|n| format!("(func (export \"f{n}\") (result i32) (i32.mul (i32.const {n}) (i32.const 3)))"))
            .collect();
        let wat = format!("(module (memory (export \"memory\") 1) {functions})");
        assert_eq!(compiled(&wat, 1).unwrap(), compiled(&wat, 4).unwrap());
    }

    #[test]
    fn bomb_limit_to_the_byte() {
        let code = sp_maybe_compressed_blob::compress_weakly(&[0; 1000], 1000).unwrap();
        assert_eq!(decompress_code(&code, 1000).unwrap().len(), 1000);
        assert!(matches!(decompress_code(&code, 999), Err(PrepareError::CouldNotDecompress(_))));
    }

    #[test]
    fn an_engine_that_cannot_be_made_is_not_the_codes_fault() {
        let params = ExecutorParams(vec![pvf_shared::params::ExecutorParam::StackNativeMax(0)]);
        let wasm = wat::parse_str("(module)").unwrap();
        let error = prepare(prevalidate(&wasm, 1).unwrap(), &params, CpuBaseline::V1, 1).unwrap_err();
        assert!(matches!(error, PrepareError::Kernel(_)) && !error.is_deterministic(), "{error}");
    }

    #[test]
    fn rubbish_is_prevalidation() {
        assert!(matches!(prevalidate(b"not wasm", 2), Err(PrepareError::Prevalidation(_))));
        assert!(matches!(prevalidate(b"", 1), Err(PrepareError::Prevalidation(_))));
    }
}
