//! What a runtime's wasm says about itself, without running it.

use pvf_shared::params::{ExecutorParam, ExecutorParams, HostFunctionSet};
use pvf_worker::wasm::{RuntimeVersion, decompress_code, host_functions};
use std::collections::{BTreeMap, BTreeSet};
use wasmparser::{BinaryReaderError, CompositeInnerType, ExternalKind, FuncType, Parser, Payload, TypeRef, ValType};

/// Beginnings of names of host functions that a node has for its own runtimes. A parachain's validation function
/// replaces those of storage by its own, on the proof, and calls none of the others.
const OF_NODES: [&str; 9] = [
    "ext_storage_",
    "ext_default_child_storage_",
    "ext_offchain_",
    "ext_transaction_index_",
    "ext_statement_store_",
    "ext_wasm_tracing_",
    "ext_benchmarking_",
    "ext_runtime_tasks_",
    "ext_panic_handler_",
];

/// What is known of a module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ModuleFacts {
    /// Size of the decompressed module, bytes.
    pub(crate) size: u64,
    /// Names of imported functions, as `module.name` if the module is not `env`.
    pub(crate) imports: BTreeSet<String>,
    /// Imports that are no functions, or of another module than `env`: a host refuses them.
    pub(crate) foreign_imports: Vec<String>,
    /// What is exported, by name.
    exports: BTreeMap<String, Exported>,
    /// Number of functions that the module defines.
    pub(crate) functions: u64,
    /// Bytes of data segments.
    pub(crate) data: u64,
    /// Initial size of the memory, pages of 64 KiB.
    pub(crate) memory_initial: Option<u64>,
    /// The version that the runtime says it has.
    pub(crate) version: Option<RuntimeVersion>,
}

/// Something that a module exports.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Exported {
    /// A function; whether it has the signature of `validate_block`.
    Function {
        validates: bool,
    },
    /// A global; whether it is an i32.
    Global {
        is_i32: bool,
    },
    Memory,
    Other,
}

/// Name of an export, what it must be, and whether it is.
type Wanted = (&'static str, &'static str, fn(&Exported) -> bool);

/// What a module defines, as it is read: for the types of its exports.
#[derive(Default)]
struct Defined {
    types: Vec<Option<FuncType>>,
    /// Type of each function.
    functions: Vec<u32>,
    globals: Vec<ValType>,
    version: Option<Vec<u8>>,
    apis: Option<Vec<u8>>,
}

/// Whether the host has what a module imports.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Imports {
    /// Number that the host has.
    pub(crate) known: usize,
    /// Number of functions of nodes, which are not called in a validation.
    pub(crate) of_nodes: usize,
    /// What the host would have if the network enabled it.
    pub(crate) not_enabled: Vec<String>,
    /// What no host has that this version knows.
    pub(crate) unknown: Vec<String>,
}

impl ModuleFacts {
    /// Reads a module, compressed or not, of at most `limit` bytes.
    ///
    /// # Errors
    /// It does not decompress or parse.
    pub(crate) fn read(code: &[u8], limit: u32) -> Result<Self, String> {
        let code = decompress_code(code, limit).map_err(|error| error.to_string())?;
        let mut facts = Self { size: code.len() as u64, ..Self::default() };
        facts.parse(&code).map_err(|e| format!("the wasm does not parse: {e}"))?;
        Ok(facts)
    }

    fn parse(&mut self, code: &[u8]) -> Result<(), BinaryReaderError> {
        let mut defined = Defined::default();
        for payload in Parser::new(0).parse_all(code) {
            match payload? {
                Payload::TypeSection(groups) => {
                    for group in groups {
                        defined.types.extend(group?.into_types().map(|ty| match ty.composite_type.inner {
                            CompositeInnerType::Func(ty) => Some(ty),
                            _ => None,
                        }));
                    }
                }
                Payload::ImportSection(imports) => {
                    for import in imports {
                        self.import(&import?, &mut defined);
                    }
                }
                Payload::FunctionSection(types) => {
                    for ty in types {
                        defined.functions.push(ty?);
                    }
                }
                Payload::GlobalSection(globals) => {
                    for global in globals {
                        defined.globals.push(global?.ty.content_type);
                    }
                }
                Payload::ExportSection(exports) => {
                    for export in exports {
                        let export = export?;
                        let what = defined.exported(export.kind, export.index);
                        self.exports.insert(export.name.to_owned(), what);
                    }
                }
                Payload::MemorySection(memories) => {
                    for memory in memories {
                        self.memory_initial = Some(memory?.initial);
                    }
                }
                Payload::DataSection(segments) => {
                    for segment in segments {
                        self.data += segment?.data.len() as u64;
                    }
                }
                Payload::CodeSectionStart { count, .. } => self.functions = count.into(),
                Payload::CustomSection(section) => match section.name() {
                    "runtime_version" => defined.version = Some(section.data().to_vec()),
                    "runtime_apis" => defined.apis = Some(section.data().to_vec()),
                    _ => {}
                },
                _ => {}
            }
        }
        let version = defined.version.as_ref();
        self.version = version.and_then(|of| RuntimeVersion::of_sections(of, defined.apis.as_deref()).ok());
        Ok(())
    }

    fn import(&mut self, import: &wasmparser::Import<'_>, defined: &mut Defined) {
        match import.ty {
            TypeRef::Func(ty) => {
                defined.functions.push(ty);
                if import.module == "env" {
                    self.imports.insert(import.name.to_owned());
                    return;
                }
            }
            TypeRef::Global(global) => defined.globals.push(global.content_type),
            TypeRef::Memory(memory) if import.module == "env" => {
                self.memory_initial = Some(memory.initial);
                // Preparation turns it into an export of this name.
                self.exports.insert(import.name.to_owned(), Exported::Memory);
                return;
            }
            _ => {}
        }
        self.foreign_imports.push(format!("{}.{}", import.module, import.name));
    }

    /// Which imports the host has under these parameters.
    pub(crate) fn imports_under(&self, params: &ExecutorParams) -> Imports {
        let names = |params: &ExecutorParams| -> BTreeSet<String> {
            host_functions(params).iter().map(|function| function.name().to_owned()).collect()
        };
        let host = names(params);
        let with_all = [ExecutorParam::EnabledHostFunction(HostFunctionSet::EccRfc163)];
        let possible = names(&ExecutorParams(with_all.to_vec()));
        let mut found = Imports::default();
        for name in &self.imports {
            if host.contains(name) {
                found.known += 1;
            } else if possible.contains(name) {
                found.not_enabled.push(name.clone());
            } else if OF_NODES.iter().any(|begin| name.starts_with(begin)) {
                found.of_nodes += 1;
            } else {
                found.unknown.push(name.clone());
            }
        }
        found.unknown.extend(self.foreign_imports.iter().cloned());
        found
    }

    /// What a host needs and the module does not export, or exports as something else.
    pub(crate) fn wrong_exports(&self) -> Vec<String> {
        let wanted: [Wanted; 3] = [
            ("validate_block", "a function (i32, i32) -> i64", |of| *of == Exported::Function { validates: true }),
            ("__heap_base", "a global of type i32", |of| *of == Exported::Global { is_i32: true }),
            ("memory", "a memory", |of| *of == Exported::Memory),
        ];
        let wrong = wanted.iter().filter_map(|(name, what, is_right)| match self.exports.get(*name) {
            None => Some(format!("{name} is missing")),
            Some(of) if is_right(of) => None,
            Some(_) => Some(format!("{name} is not {what}")),
        });
        wrong.collect()
    }
}

impl Defined {
    fn exported(&self, kind: ExternalKind, index: u32) -> Exported {
        let at = index as usize;
        match kind {
            ExternalKind::Func => {
                let ty = self.functions.get(at).and_then(|ty| self.types.get(*ty as usize)?.as_ref());
                let validates =
                    ty.is_some_and(|ty| *ty.params() == [ValType::I32; 2] && *ty.results() == [ValType::I64]);
                Exported::Function { validates }
            }
            ExternalKind::Global => Exported::Global { is_i32: self.globals.get(at) == Some(&ValType::I32) },
            ExternalKind::Memory => Exported::Memory,
            _ => Exported::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODULE: &str = r#"(module
        (import "env" "ext_hashing_twox_64_version_1" (func (param i64) (result i32)))
        (import "env" "ext_storage_get_version_1" (func (param i64) (result i64)))
        (import "env" "ext_crypto_of_tomorrow_version_1" (func))
        (import "wasi" "fd_write" (func))
        (import "env" "memory" (memory 21))
        (func (export "validate_block"))
        (data (i32.const 0) "twelve bytes"))"#;

    #[test]
    fn a_module_is_described() {
        let wasm = wat::parse_str(MODULE).unwrap();
        let facts = ModuleFacts::read(&wasm, 1 << 20).unwrap();
        assert_eq!((facts.size, facts.functions, facts.data), (wasm.len() as u64, 1, 12));
        assert_eq!((facts.memory_initial, facts.version.as_ref()), (Some(21), None));
        assert_eq!(
            facts.wrong_exports(),
            ["validate_block is not a function (i32, i32) -> i64", "__heap_base is missing"]
        );
        let imports = facts.imports_under(&ExecutorParams::default());
        assert_eq!((imports.known, imports.of_nodes), (1, 1));
        assert_eq!(imports.unknown, ["ext_crypto_of_tomorrow_version_1", "wasi.fd_write"]);
    }

    #[test]
    fn functions_that_a_network_has_not_enabled_are_told_apart() {
        let enabled = ExecutorParams(vec![ExecutorParam::EnabledHostFunction(HostFunctionSet::EccRfc163)]);
        let default: BTreeSet<_> =
            host_functions(&ExecutorParams::default()).iter().map(|f| f.name().to_owned()).collect();
        let all = host_functions(&enabled);
        let extra = all.iter().map(|f| f.name()).find(|name| !default.contains(*name)).unwrap();
        let facts = ModuleFacts { imports: [extra.to_owned()].into(), ..ModuleFacts::default() };
        assert_eq!(facts.imports_under(&ExecutorParams::default()).not_enabled, [extra]);
        assert_eq!(facts.imports_under(&enabled).known, 1);
    }

    #[test]
    fn exports_of_another_type_are_wrong() {
        let right = r#"(module (memory (export "memory") 1) (global (export "__heap_base") i32 (i32.const 1))
            (func (export "validate_block") (param i32 i32) (result i64) (i64.const 0)))"#;
        let wrong = |text: &str| ModuleFacts::read(&wat::parse_str(text).unwrap(), 1 << 20).unwrap().wrong_exports();
        assert_eq!(wrong(right), [""; 0]);
        assert_eq!(
            wrong(&right.replace("i32 (i32.const 1)", "i64 (i64.const 1)")),
            ["__heap_base is not a global of type i32"]
        );
        let function = right.replace("(memory (export \"memory\") 1)", "(func (export \"memory\"))");
        assert_eq!(wrong(&function), ["memory is not a memory"]);
    }

    #[test]
    fn what_is_no_module_is_an_error() {
        assert!(ModuleFacts::read(b"\0asm\x01\0\0\0\xff", 100).unwrap_err().contains("does not parse"));
        let bomb = sp_maybe_compressed_blob::compress_weakly(&[0; 1000], 1000).unwrap();
        assert!(ModuleFacts::read(&bomb, 999).unwrap_err().contains("decompress"));
    }
}
