//! An additional host function, which validation code may import beside those of consensus.

use pvf::sp_wasm_interface::{Function, HostFunctionRegistry, HostFunctions, wasmtime};

/// Adds `env.ext_own_answer_version_1() -> i32`.
pub struct OwnHostFunctions;

impl HostFunctions for OwnHostFunctions {
    fn host_functions() -> Vec<&'static dyn Function> {
        Vec::new()
    }

    fn register_static<T: HostFunctionRegistry>(registry: &mut T) -> Result<(), T::Error> {
        registry.register_static("ext_own_answer_version_1", |_: wasmtime::Caller<'_, T::State>| -> i32 { 42 })
    }
}
