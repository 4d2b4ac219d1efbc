//! Every module builds, and fails or passes a preparation as the table says. These tests perform the steps of a
//! preparation up to validation, with the same parser and the validator of the compiler, and without compiling. The
//! tests of the host execute the guests.

use std::collections::HashSet;

use wasm_instrument::parity_wasm::elements::{
    self, ExportEntry, External, Internal, MemorySection, MemoryType, Section,
};
use wasmparser::{Validator, WasmFeatures};

use super::*;

/// The features of the compiler: everything that can be disabled is.
const FEATURES: WasmFeatures = WasmFeatures::MUTABLE_GLOBAL
    .union(WasmFeatures::SATURATING_FLOAT_TO_INT)
    .union(WasmFeatures::SIGN_EXTENSION)
    .union(WasmFeatures::FLOATS)
    .union(WasmFeatures::GC_TYPES);

/// Decompresses, instruments and validates a code.
fn prepare(code: &[u8]) -> Result<Vec<u8>, (Expect, String)> {
    let code = sp_maybe_compressed_blob::decompress(code, 30 * 1024 * 1024)
        .map_err(|error| (Expect::CouldNotDecompress, error.to_string()))?;
    let module: elements::Module = elements::deserialize_buffer(&code)
        .map_err(|error: elements::Error| (Expect::Prevalidation, error.to_string()))?;
    let preparation = |error: String| (Expect::Preparation, error);
    let mut module =
        wasm_instrument::inject_stack_limiter(module, 65536).map_err(|error| preparation(error.to_owned()))?;
    define_memory(&mut module).map_err(preparation)?;
    let code = elements::serialize(module).map_err(|error| preparation(error.to_string()))?;
    Validator::new_with_features(FEATURES).validate_all(&code).map_err(|error| preparation(error.to_string()))?;
    Ok(code)
}

/// Turns an imported memory into a defined one, and drops the maximum.
fn define_memory(module: &mut elements::Module) -> Result<(), String> {
    let imports = module.import_section_mut().map(elements::ImportSection::entries_mut);
    let imported = imports.and_then(|imports| {
        let at = imports.iter().position(|it| matches!(it.external(), External::Memory(_)))?;
        Some(imports.remove(at))
    });
    if let Some(import) = imported
        && let External::Memory(memory) = import.external()
    {
        let section = Section::Memory(MemorySection::with_entries(vec![*memory]));
        module.insert_section(section).map_err(|error| error.to_string())?;
        let exports = module.export_section_mut().ok_or("no exports")?.entries_mut();
        exports.push(ExportEntry::new(import.field().to_owned(), Internal::Memory(0)));
    }
    for memory in module.memory_section_mut().map(|it| it.entries_mut()).into_iter().flatten() {
        *memory = MemoryType::new(memory.limits().initial(), None);
    }
    Ok(())
}

#[test]
fn names_are_unique_and_well_formed() {
    let mut seen = HashSet::new();
    for case in all() {
        assert!(seen.insert(case.name), "{} is not unique", case.name);
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        assert!(case.name.chars().all(fits), "{}", case.name);
        assert!(!case.why.is_empty(), "{}", case.name);
    }
}

#[test]
fn no_two_cases_have_the_same_code() {
    let mut seen = HashSet::new();
    for case in all() {
        assert!(seen.insert((case.wasm)()), "{} has the code of another case", case.name);
    }
}

#[test]
fn a_failed_precheck_and_its_execution_have_the_same_outcome() {
    for case in all() {
        if case.precheck != Expect::Ok {
            assert_eq!(case.precheck, case.execute, "{}", case.name);
        }
    }
}

#[test]
fn every_outcome_has_a_case() {
    use Expect::*;
    let cases = all();
    for outcome in [Ok, Prevalidation, Preparation, CouldNotDecompress, RuntimeConstruction] {
        assert!(cases.iter().any(|case| case.precheck == outcome), "precheck: {outcome:?}");
    }
    for outcome in [WorkerReportedInvalid, HardTimeout, RuntimeConstruction] {
        assert!(cases.iter().any(|case| case.execute == outcome), "execute: {outcome:?}");
    }
}

#[test]
fn every_preparation_ends_at_the_stage_of_the_table() {
    let mut wrong = Vec::new();
    for case in all() {
        let code = (case.wasm)();
        let outcome = prepare(&code);
        let matches = match (&outcome, case.precheck) {
            (Err((stage, _)), expected) => *stage == expected,
            (Ok(_), expected) => matches!(expected, Expect::Ok | Expect::RuntimeConstruction),
        };
        if !matches {
            wrong.push(format!("{}: {:?}", case.name, outcome.map(|_| "prepared")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn guests_outside_the_table_prepare() {
    for code in [
        returns(b""),
        returns(&vec![1; 200_000]),
        echo_like(),
        returns_end(),
        busy(u64::MAX),
        nan_bits(),
        large(0),
        large(50),
    ] {
        prepare(&code).expect("helpers are valid");
    }
}

#[test]
fn large_guests_grow_with_the_parameter_and_are_reproducible() {
    let [small, double] = [200, 400].map(|functions| large(functions).len());
    assert!(double > small * 9 / 5 && double < small * 11 / 5, "{small}, {double}");
    assert_eq!(large(20), large(20));
}
