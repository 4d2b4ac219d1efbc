//! Which host functions a module gets.

use super::{
    call_error::CallError,
    host_functions::{PvfHostFunctions, Registry, Rfc163HostFunctions, State},
};
use pvf_shared::params::ExecutorParams;
use sp_wasm_interface::HostFunctions;
use std::collections::HashMap;
use wasmtime::{Engine, ExternType, Linker, Module, Val};

/// A linker with everything that a module imports: the consensus host functions and those of `H`. A function that does
/// not exist traps when it is called.
pub(super) fn linker<H: HostFunctions>(
    engine: &Engine,
    module: &Module,
    params: &ExecutorParams,
) -> Result<Linker<State>, CallError> {
    let mut wanted = HashMap::new();
    for import in module.imports() {
        let (from, name) = (import.module(), import.name());
        if from != "env" {
            return Err(CallError::construction(format!("import {from}.{name}: only module env can be imported from")));
        }
        match import.ty() {
            ExternType::Func(ty) => wanted.insert(name.to_owned(), ty),
            _ => {
                return Err(CallError::construction(format!("import {from}.{name}: only functions can be imported")));
            }
        };
    }
    let mut linker = Linker::new(engine);
    let mut registry = Registry { linker: &mut linker, wanted };
    let mut add = || {
        registry.add::<PvfHostFunctions>()?;
        if params.ecc_rfc163() {
            registry.add::<Rfc163HostFunctions>()?;
        }
        registry.add::<H>()
    };
    add().map_err(|e| CallError::construction(format!("{e:#}")))?;
    let missing = registry.wanted;
    for (name, ty) in missing {
        let why = format!("call to a missing function env:{name}");
        let stub =
            move |_: wasmtime::Caller<'_, State>, _: &[Val], _: &mut [Val]| Err(wasmtime::Error::msg(why.clone()));
        linker.func_new("env", &name, ty, stub).map_err(|e| CallError::construction(format!("{e:#}")))?;
    }
    Ok(linker)
}
