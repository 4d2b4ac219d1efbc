//! The host functions that a guest can import, and their access to the guest's memory and heap.

use pvf_shared::{ids::blake2b_256, params::ExecutorParams, record::Backtrace};
use sc_allocator::FreeingBumpHeapAllocator;
use sp_wasm_interface::{Function, FunctionContext, HostFunctionRegistry, HostFunctions, Pointer, WordSize};
use std::{collections::HashMap, sync::OnceLock};
use wasmtime::{AsContext, AsContextMut, Caller, FuncType, IntoFunc, Linker, Memory};

/// Host functions that every guest may import. Consensus.
pub(super) type PvfHostFunctions = (
    sp_io::misc::HostFunctions,
    sp_io::crypto::HostFunctions,
    sp_io::hashing::HostFunctions,
    sp_io::allocator::HostFunctions,
    sp_io::logging::HostFunctions,
    sp_io::trie::HostFunctions,
);

/// Host functions that the executor parameter `EnabledHostFunction(EccRfc163)` adds. Consensus.
pub(super) type Rfc163HostFunctions = sp_crypto_ec_utils::HostFunctionsRfc163;

/// The consensus host functions under these parameters.
pub fn host_functions(params: &ExecutorParams) -> Vec<&'static dyn Function> {
    let mut functions = PvfHostFunctions::host_functions();
    if params.ecc_rfc163() {
        functions.extend(Rfc163HostFunctions::host_functions());
    }
    functions
}

/// Host functions that this program has beyond those of consensus.
static EXTRA: OnceLock<fn() -> Vec<&'static dyn Function>> = OnceLock::new();

/// This program has these host functions beyond those of consensus.
pub(crate) fn declare_extra<H: HostFunctions>() {
    EXTRA.get_or_init(|| H::host_functions);
}

/// Names the host functions of this program: the version of the library that implements them, and a hash of all their
/// names and signatures. For records: no decision depends on it.
pub fn host_functions_version() -> String {
    let mut functions = PvfHostFunctions::host_functions();
    functions.extend(Rfc163HostFunctions::host_functions());
    functions.extend(EXTRA.get().map(|extra| extra()).unwrap_or_default());
    let mut texts: Vec<_> = functions.iter().map(|f| format!("{} {:?}\n", f.name(), f.signature())).collect();
    texts.sort_unstable();
    let digest = blake2b_256(&[texts.concat().as_bytes()]);
    let hash: String = digest[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sp-io {}, {hash}", env!("PVF_SP_IO_VERSION"))
}

/// Host state of one instance.
pub(super) struct State {
    pub(super) limits: super::guest_limits::GuestLimits,
    /// Maximum size of the memory, pages; the allocator doubles the memory up to this size.
    pub(super) max_pages: u32,
    /// `None` during instantiation.
    pub(super) memory: Option<Memory>,
    /// `None` until the parameters are written, and while a host function allocates.
    pub(super) allocator: Option<FreeingBumpHeapAllocator>,
    /// The message that the guest registered before it trapped.
    pub(super) panic_message: Option<String>,
    /// Where it trapped.
    pub(super) backtrace: Backtrace,
}

/// The guest's memory, for the allocator.
pub(super) struct GuestMemory<C>(pub(super) Memory, pub(super) C);

impl<C: AsContextMut<Data = State>> sc_allocator::Memory for GuestMemory<C> {
    fn with_access_mut<R>(&mut self, run: impl FnOnce(&mut [u8]) -> R) -> R {
        run(self.0.data_mut(&mut self.1))
    }
    fn with_access<R>(&self, run: impl FnOnce(&[u8]) -> R) -> R {
        run(self.0.data(&self.1))
    }
    fn grow(&mut self, additional: u32) -> Result<(), ()> {
        self.0.grow(&mut self.1, u64::from(additional)).map(drop).map_err(drop)
    }
    fn pages(&self) -> u32 {
        // Fits: a 32-bit memory has at most 65536 pages.
        self.0.size(&self.1) as u32
    }
    fn max_pages(&self) -> Option<u32> {
        // The memory type has no maximum: preparation dropped it. Without a limit here the allocator would double the
        // memory beyond the store's limit and be refused, although there is room for the allocation.
        Some(self.1.as_context().data().max_pages)
    }
}

/// The guest, for a host function during its call.
pub(super) struct Context<'a>(Caller<'a, State>);

impl Context<'_> {
    fn memory(&self) -> Result<Memory, String> {
        self.0.data().memory.ok_or_else(|| "the guest's memory is not available during instantiation".into())
    }

    fn with_allocator<R>(
        &mut self,
        run: impl FnOnce(
            &mut FreeingBumpHeapAllocator,
            &mut GuestMemory<&mut Caller<'_, State>>,
        ) -> Result<R, sc_allocator::Error>,
    ) -> Result<R, String> {
        let memory = self.memory()?;
        let mut allocator = self.0.data_mut().allocator.take().ok_or("the allocator is not available")?;
        let result = run(&mut allocator, &mut GuestMemory(memory, &mut self.0));
        self.0.data_mut().allocator = Some(allocator);
        result.map_err(|e| e.to_string())
    }
}

fn range(len: usize, address: Pointer<u8>, size: usize) -> Option<std::ops::Range<usize>> {
    let start = u32::from(address) as usize;
    let end = start.checked_add(size)?;
    (end <= len).then_some(start..end)
}

impl FunctionContext for Context<'_> {
    fn read_memory_into(&mut self, address: Pointer<u8>, dest: &mut [u8]) -> Result<(), String> {
        let memory = self.memory()?.data(self.0.as_context());
        let range = range(memory.len(), address, dest.len()).ok_or("memory read is out of bounds")?;
        dest.copy_from_slice(&memory[range]);
        Ok(())
    }

    // The default implementation would allocate `size` bytes, which the guest chooses, before it checks the bounds.
    fn read_memory(&mut self, address: Pointer<u8>, size: WordSize) -> Result<Vec<u8>, String> {
        let memory = self.memory()?.data(self.0.as_context());
        let range = range(memory.len(), address, size as usize).ok_or("memory read is out of bounds")?;
        Ok(memory[range].to_vec())
    }

    fn write_memory(&mut self, address: Pointer<u8>, data: &[u8]) -> Result<(), String> {
        let memory = self.memory()?.data_mut(self.0.as_context_mut());
        let range = range(memory.len(), address, data.len()).ok_or("memory write is out of bounds")?;
        memory[range].copy_from_slice(data);
        Ok(())
    }

    fn allocate_memory(&mut self, size: WordSize) -> Result<Pointer<u8>, String> {
        self.with_allocator(|allocator, memory| allocator.allocate(memory, size))
    }

    fn deallocate_memory(&mut self, ptr: Pointer<u8>) -> Result<(), String> {
        self.with_allocator(|allocator, memory| allocator.deallocate(memory, ptr))
    }

    fn register_panic_error_message(&mut self, message: &str) {
        self.0.data_mut().panic_message = Some(message.to_owned());
    }
}

/// Defines the host functions that a module imports in its linker, and no others.
pub(super) struct Registry<'a> {
    pub(super) linker: &'a mut Linker<State>,
    /// Functions that the module imports from `env` and that are not defined yet.
    pub(super) wanted: HashMap<String, FuncType>,
}

impl Registry<'_> {
    /// Defines the imported functions that a set contains. A function that an earlier set defined stays as it is.
    pub(super) fn add<H: HostFunctions>(&mut self) -> wasmtime::Result<()> {
        H::register_static(self)
    }
}

impl HostFunctionRegistry for Registry<'_> {
    type State = State;
    type Error = wasmtime::Error;
    type FunctionContext = Context<'static>;

    fn with_function_context<R>(caller: Caller<'_, State>, callback: impl FnOnce(&mut dyn FunctionContext) -> R) -> R {
        callback(&mut Context(caller))
    }

    fn register_static<Params, Results>(
        &mut self,
        name: &str,
        func: impl IntoFunc<State, Params, Results> + 'static,
    ) -> wasmtime::Result<()> {
        if self.wanted.remove(name).is_some() {
            self.linker.func_wrap("env", name, func)?;
        }
        Ok(())
    }
}
