//! The adder parachain of the demo (`cli/demo`), and its validation code as this build compiles it.

pub use pvf_adder::*;

/// The adder compiled from `cli/demo/guest` by this build. [`ADDER`] is the committed form of it.
pub const FRESH_ADDER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/adder.wasm"));

#[cfg(test)]
mod tests {
    use super::*;
    use wasm_instrument::parity_wasm::elements::{
        External, ImportCountType, ImportEntry, Internal, Module, deserialize_buffer,
    };

    /// The committed module and the fresh one, parsed. The parser knows nothing but the MVP.
    fn modules() -> [Module; 2] {
        [ADDER, FRESH_ADDER].map(|wasm| deserialize_buffer(wasm).expect("the adder is wasm MVP"))
    }

    #[test]
    fn the_committed_adder_has_the_sections_of_a_fresh_build() {
        if std::env::var_os("PVF_BLESS").is_some() {
            let committed = concat!(env!("CARGO_MANIFEST_DIR"), "/../../cli/demo/adder.wasm");
            std::fs::write(committed, FRESH_ADDER).expect("the file can be written");
            return;
        }
        // Not the bytes: panic messages name files of the standard library, and their paths depend on whether its
        // sources are installed. That both behave the same is tested on a real host, in `tests/it/tool.rs`.
        let [committed, fresh] = modules();
        assert_eq!(committed.import_section(), fresh.import_section());
        assert_eq!(committed.export_section(), fresh.export_section());
        assert_eq!(committed.memory_section(), fresh.memory_section());
    }

    #[test]
    fn the_adder_imports_functions_of_env_only() {
        for module in modules() {
            let imports = module.import_section().expect("it calls the host").entries();
            assert_eq!(module.import_count(ImportCountType::Function), imports.len());
            let mut names: Vec<_> = imports.iter().map(ImportEntry::field).collect();
            names.sort_unstable();
            assert_eq!(
                names,
                [
                    "ext_allocator_free_version_1",
                    "ext_allocator_malloc_version_1",
                    "ext_hashing_blake2_256_version_1",
                    "ext_logging_log_version_1",
                ]
            );
            for import in imports {
                assert_eq!(import.module(), "env");
                assert!(matches!(import.external(), External::Function(_)));
            }
        }
    }

    #[test]
    fn the_adder_exports_what_the_host_requires() {
        for module in modules() {
            let exports = module.export_section().expect("it has exports").entries();
            let export = |name| exports.iter().find(|it| it.field() == name).map(|it| *it.internal());
            assert!(matches!(export("validate_block"), Some(Internal::Function(_))));
            assert!(matches!(export("memory"), Some(Internal::Memory(0))));
            assert!(matches!(export("__heap_base"), Some(Internal::Global(_))));
        }
    }

    #[test]
    fn the_adder_contains_no_path_of_the_build_machine() {
        let home = std::env::var("HOME").unwrap_or_default();
        for path in [env!("CARGO_MANIFEST_DIR"), &home].into_iter().filter(|path| path.len() > 1) {
            for wasm in [ADDER, FRESH_ADDER] {
                assert!(!wasm.windows(path.len()).any(|window| window == path.as_bytes()), "{path}");
            }
        }
    }
}
