//! Executes an artifact: maps, links, instantiates and calls it. A failure before the call is the machine's if the
//! operating system refused something, and else a *construction* failure; a failure in the call makes the candidate
//! invalid.

use super::{
    backtrace::frames_of,
    busy_image::retry_ebusy,
    call_error::CallError,
    config::{CpuBaseline, engine},
    externalities::ValidationExternalities,
    guest_limits::GuestLimits,
    host_functions::{GuestMemory, State},
    linking::linker,
};
use pvf_shared::{params::ExecutorParams, record::Backtrace, store::seal::Compiled};
use sc_allocator::FreeingBumpHeapAllocator;
use sp_externalities::set_and_run_with_externalities;
use sp_wasm_interface::HostFunctions;
use std::{
    any::Any,
    fs::File,
    mem::ManuallyDrop,
    panic::{AssertUnwindSafe, catch_unwind},
};
use wasmtime::{Engine, Instance, InstancePre, Memory, Module, Store, TypedFunc};

const PAGE: usize = 64 * 1024;

/// A call that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// What the guest returned.
    pub output: Result<Vec<u8>, CallError>,
    /// Size of the guest's memory after the call, pages of 64 KiB; `None` if the guest could not be called.
    pub memory_pages: Option<u32>,
    /// Where the guest trapped.
    pub backtrace: Backtrace,
}

impl Call {
    fn failed(error: CallError) -> Self {
        Self { output: Err(error), memory_pages: None, backtrace: Backtrace::default() }
    }
}

/// A mapped and linked artifact.
pub struct Runtime {
    engine: Engine,
    linked: InstancePre<State>,
    memory_limit: usize,
    /// Whether instantiation runs guest code.
    has_start: bool,
}

/// A fresh instance that has run no code, made ahead of its call.
pub struct Ready {
    store: Store<State>,
    exports: Result<Exports, CallError>,
    externalities: ValidationExternalities,
}

/// The exports of an instance that a call uses.
pub(super) struct Exports {
    memory: Memory,
    heap_base: u32,
    entry: TypedFunc<(i32, i32), i64>,
}

/// wasmtime's engine for executions. It is made without any artifact.
pub struct ExecutionEngine(Engine);

impl ExecutionEngine {
    /// The engine for these parameters.
    ///
    /// # Errors
    /// [`CallError::Construction`], [`CallError::Machine`].
    pub fn new(params: &ExecutorParams, baseline: CpuBaseline) -> Result<Self, CallError> {
        engine(params, baseline, 1).map(Self).map_err(|e| CallError::before_call("engine", &e))
    }
}

impl Runtime {
    /// Maps and links an artifact file, with the consensus host functions and those of `H`. `has_start` is whether its
    /// module has a start function.
    ///
    /// # Errors
    /// [`CallError::Construction`], [`CallError::Machine`].
    ///
    /// # Safety
    /// The file must be an artifact that wasmtime's compiler made, or this process must be one in which any machine
    /// code may run: sandboxed, and with nothing that others rely on. The file must not change while it is mapped.
    #[expect(clippy::disallowed_methods, reason = "runs in a sandboxed job only")]
    pub unsafe fn from_open_file<H: HostFunctions>(
        ExecutionEngine(engine): ExecutionEngine,
        artifact: File,
        params: &ExecutorParams,
        has_start: bool,
    ) -> Result<Self, CallError> {
        // SAFETY: guaranteed by the caller.
        let module = unsafe { Module::deserialize_open_file(&engine, artifact) };
        let module = module.map_err(|e| CallError::before_call("artifact", &e))?;
        // Not later, with the first instance: the sandbox then forbids creating the memory file.
        retry_ebusy(|| module.initialize_copy_on_write_image())
            .map_err(|e| CallError::before_call("memory image", &e))?;
        Self::link::<H>(engine, &module, params, has_start)
    }

    /// Links an artifact that was just compiled, as [`Runtime::from_open_file`].
    ///
    /// # Errors
    /// [`CallError::Construction`], [`CallError::Machine`].
    ///
    /// # Safety
    /// The bytes must be what the compiler gave.
    #[expect(clippy::disallowed_methods, reason = "runs in a sandboxed job only")]
    pub unsafe fn from_bytes<H: HostFunctions>(
        compiled: &Compiled,
        params: &ExecutorParams,
        baseline: CpuBaseline,
    ) -> Result<Self, CallError> {
        let engine = engine(params, baseline, 1).map_err(|e| CallError::before_call("engine", &e))?;
        // SAFETY: guaranteed by the caller.
        let module = unsafe { Module::deserialize(&engine, &compiled.code) };
        let module = module.map_err(|e| CallError::before_call("artifact", &e))?;
        Self::link::<H>(engine, &module, params, compiled.has_start)
    }

    fn link<H: HostFunctions>(
        engine: Engine,
        module: &Module,
        params: &ExecutorParams,
        has_start: bool,
    ) -> Result<Self, CallError> {
        let linker = linker::<H>(&engine, module, params)?;
        let linked = linker.instantiate_pre(module).map_err(|e| CallError::construction(format!("{e:#}")))?;
        Ok(Self { engine, linked, memory_limit: memory_limit(params), has_start })
    }

    /// Calls `validate_block` in a fresh instance. Must run on a thread whose stack is larger than the native stack
    /// limit of the parameters.
    ///
    /// # Errors
    /// [`CallError::Construction`] or [`CallError::Machine`] if there is no instance, [`CallError::Invalid`] if the
    /// call fails.
    pub fn validate_block(&self, params: &[u8]) -> Result<Vec<u8>, CallError> {
        self.call(&[params]).output
    }

    /// As [`Runtime::validate_block`], with parameters in parts, and with what else is known of the call.
    pub fn call(&self, params: &[&[u8]]) -> Call {
        // Instantiation may run guest code; the call sees the externalities as that left them.
        set_and_run_with_externalities(&mut ValidationExternalities::new(), || match self.instantiate() {
            Ok((mut store, exports)) => guarded_call(&mut store, exports, params),
            Err(error) => Call::failed(error),
        })
    }

    /// An instance for a call in a fork of this process, so that the fork need not make it. `None` if instantiation
    /// runs guest code or fails; [`Runtime::call`] then makes the instance, or reports the failure.
    pub fn ready(&self) -> Option<Ready> {
        // Initialises the thread-local state of wasmtime and of the externalities for the forks, too.
        Engine::tls_eager_initialize();
        set_and_run_with_externalities(&mut ValidationExternalities::new(), || ());
        if self.has_start {
            return None;
        }
        let (store, exports) = self.instantiate().ok()?;
        Some(Ready { store, exports, externalities: ValidationExternalities::new() })
    }

    /// An instance and its exports. Missing exports are not a failure of instantiation: they fail the call.
    fn instantiate(&self) -> Result<(Store<State>, Result<Exports, CallError>), CallError> {
        let instantiated = catch_unwind(AssertUnwindSafe(|| {
            retry_ebusy(|| {
                let mut store = new_store(&self.engine, self.memory_limit);
                let instance = self.linked.instantiate(&mut store)?;
                Ok((store, instance))
            })
        }));
        match instantiated {
            Ok(Ok((mut store, instance))) => {
                let exports = Exports::of(&mut store, &instance);
                Ok((store, exports))
            }
            Ok(Err(error)) => Err(CallError::before_call("cannot instantiate", &error)),
            Err(panic) => Err(CallError::construction(format!("panic while instantiating: {}", message(&*panic)))),
        }
    }
}

/// Limit of a guest's memory, bytes.
pub(super) fn memory_limit(params: &ExecutorParams) -> usize {
    params.memory_page_limit() as usize * PAGE
}

/// The store of one instance, whose memory has at most so many bytes.
pub(super) fn new_store(engine: &Engine, memory_limit: usize) -> Store<State> {
    let limits = GuestLimits::new(memory_limit);
    let max_pages = (memory_limit / PAGE) as u32;
    let backtrace = Backtrace::default();
    let state = State { limits, max_pages, memory: None, allocator: None, panic_message: None, backtrace };
    let mut store = Store::new(engine, state);
    store.limiter(|state| &mut state.limits);
    store
}

impl Ready {
    /// As [`Runtime::call`]. The instance is leaked, because the process exits after the call.
    pub fn call(self, params: &[&[u8]]) -> Call {
        let (mut store, mut externalities) = (ManuallyDrop::new(self.store), ManuallyDrop::new(self.externalities));
        set_and_run_with_externalities(&mut *externalities, || guarded_call(&mut store, self.exports, params))
    }
}

impl Exports {
    /// A missing or ill-typed export makes the candidate invalid once the guest is called.
    pub(super) fn of(store: &mut Store<State>, instance: &Instance) -> Result<Self, CallError> {
        let memory = instance
            .get_memory(&mut *store, "memory")
            .ok_or_else(|| CallError::invalid("memory is not exported under the name `memory`"))?;
        let heap_base = heap_base(store, instance)?;
        Ok(Self { memory, heap_base, entry: entry_point(store, instance)? })
    }
}

/// Calls the guest, and attributes a panic in a host function to it.
pub(super) fn guarded_call(store: &mut Store<State>, exports: Result<Exports, CallError>, params: &[&[u8]]) -> Call {
    let exports = match exports {
        Ok(exports) => exports,
        Err(error) => return Call::failed(error),
    };
    let called = catch_unwind(AssertUnwindSafe(|| call(store, &exports, params)));
    let output = called.unwrap_or_else(|panic| Err(CallError::HostPanic(message(&*panic))));
    let backtrace = std::mem::take(&mut store.data_mut().backtrace);
    Call { output, memory_pages: u32::try_from(exports.memory.size(&*store)).ok(), backtrace }
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned())).unwrap_or_else(|| "no message".into())
}

fn call(store: &mut Store<State>, exports: &Exports, params: &[&[u8]]) -> Result<Vec<u8>, CallError> {
    let Exports { memory, heap_base, ref entry } = *exports;
    store.data_mut().memory = Some(memory);
    let mut allocator = FreeingBumpHeapAllocator::new(heap_base);
    let len = params.iter().map(|part| part.len()).sum::<usize>();
    let len = u32::try_from(len).map_err(|_| CallError::invalid("parameters larger than 4 GiB"))?;
    let ptr = allocator
        .allocate(&mut GuestMemory(memory, &mut *store), len)
        .map_err(|e| CallError::invalid(format!("cannot allocate the parameters: {e}")))?;
    write(store, memory, u32::from(ptr), params)?;
    store.data_mut().allocator = Some(allocator);

    let packed = entry.call(&mut *store, (u32::from(ptr) as i32, len as i32)).map_err(|error| {
        store.data_mut().backtrace = frames_of(&error);
        // Without the frames around the cause: the reason does not depend on whether they are recorded.
        let cause = error.root_cause();
        match store.data_mut().panic_message.take() {
            Some(message) => CallError::invalid(format!("{message} ({cause})")),
            None => CallError::invalid(cause),
        }
    })? as u64;
    output(store, memory, packed)
}

fn heap_base(store: &mut Store<State>, instance: &Instance) -> Result<u32, CallError> {
    let global = instance
        .get_global(&mut *store, "__heap_base")
        .ok_or_else(|| CallError::invalid("the global __heap_base is not exported"))?;
    let value = global.get(&mut *store).i32().ok_or_else(|| CallError::invalid("__heap_base is not an i32"))?;
    Ok(value as u32)
}

fn entry_point(store: &mut Store<State>, instance: &Instance) -> Result<TypedFunc<(i32, i32), i64>, CallError> {
    let function = instance
        .get_func(&mut *store, "validate_block")
        .ok_or_else(|| CallError::invalid("the function validate_block is not exported"))?;
    function
        .typed(&*store)
        .map_err(|_| CallError::invalid("validate_block does not have the signature (i32, i32) -> i64"))
}

fn write(store: &mut Store<State>, memory: Memory, ptr: u32, parts: &[&[u8]]) -> Result<(), CallError> {
    let len = parts.iter().map(|part| part.len()).sum::<usize>();
    let to = memory.data_mut(store).get_mut(ptr as usize..).and_then(|from| from.get_mut(..len));
    let mut to = to.ok_or_else(|| CallError::invalid("the allocation for the parameters is outside the memory"))?;
    populate(to);
    for part in parts {
        let (now, rest) = to.split_at_mut(part.len());
        now.copy_from_slice(part);
        to = rest;
    }
    Ok(())
}

/// Less than this is written without further ado, bytes.
const POPULATED: usize = 256 * 1024;

/// Lets the kernel make all pages of a large range in one call instead of one at a time as they are written. Where it
/// cannot (before Linux 5.14, or without memory), writing does the same or fails as ever.
fn populate(range: &mut [u8]) {
    if range.len() >= POPULATED {
        let page = rustix::param::page_size();
        let begin = range.as_mut_ptr().map_addr(|at| at & !(page - 1));
        let len = range.as_mut_ptr_range().end.addr() - begin.addr();
        // SAFETY: the advice changes no contents; all pages of the range are guest memory, which is made of pages.
        unsafe { libc::madvise(begin.cast(), len, libc::MADV_POPULATE_WRITE) };
    }
}

/// The result, from its address and length: `ptr | len << 32`. Bounds are checked before anything is allocated.
fn output(store: &Store<State>, memory: Memory, packed: u64) -> Result<Vec<u8>, CallError> {
    let (ptr, len) = ((packed & 0xffff_ffff) as usize, (packed >> 32) as usize);
    let data = memory.data(store);
    let bytes = ptr.checked_add(len).and_then(|end| data.get(ptr..end));
    bytes.map(<[u8]>::to_vec).ok_or_else(|| {
        CallError::invalid(format!("output of {len} bytes at {ptr} is outside the memory of {} bytes", data.len()))
    })
}
