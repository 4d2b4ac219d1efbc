//! From an artifact to a result: map, link, instantiate, call. What fails before the call is *construction*;
//! what fails in it is the candidate's fault.

use super::{
    config::{CpuBaseline, engine},
    externalities::ValidationExternalities,
    host_functions::{GuestMemory, PvfHostFunctions, Registry, Rfc163HostFunctions, State},
    start,
};
use pvf_shared::{params::ExecutorParams, verdict::clean_reason};
use sc_allocator::FreeingBumpHeapAllocator;
use sp_externalities::set_and_run_with_externalities;
use sp_wasm_interface::HostFunctions;
use std::{
    any::Any,
    collections::HashMap,
    mem::ManuallyDrop,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    path::Path,
};
use wasmtime::{
    Engine, ExternType, Instance, InstancePre, Linker, Memory, Module, Store, StoreLimitsBuilder, TypedFunc, Val,
};

const PAGE: usize = 64 * 1024;
/// Building a copy-on-write memory image can fail with EBUSY when its memfd is sealed: that is ours to retry.
const EBUSY_RETRIES: u32 = 20;
/// How the standard library's panic begins where a host function prints and that cannot be written any more.
const NO_ROOM_FOR_WORDS: &str = "failed printing to ";

/// Why there is no result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallError {
    /// The artifact could not be mapped, linked or instantiated.
    Construction(String),
    /// The guest's doing.
    Invalid(String),
}

impl CallError {
    fn construction(why: impl std::fmt::Display) -> Self {
        Self::Construction(clean_reason(&why.to_string()))
    }

    fn invalid(why: impl std::fmt::Display) -> Self {
        Self::Invalid(clean_reason(&why.to_string()))
    }
}

/// A linked artifact.
pub struct Runtime {
    engine: Engine,
    linked: InstancePre<State>,
    memory_limit: usize,
    /// Making an instance runs code of the guest.
    starts: bool,
}

/// A fresh instance that has run nothing, made ahead of its call.
pub struct Ready {
    store: Store<State>,
    found: Result<Found, CallError>,
    externalities: ValidationExternalities,
}

/// What a call needs of an instance.
struct Found {
    memory: Memory,
    heap_base: u32,
    entry: TypedFunc<(i32, i32), i64>,
}

impl Runtime {
    /// Maps and links an artifact from a file, with the host functions of consensus and those of `H`.
    ///
    /// # Safety
    /// The file must be an artifact that a trusted compiler made, and must not change while it is mapped.
    pub unsafe fn from_file<H: HostFunctions>(
        artifact: &Path,
        params: &ExecutorParams,
        baseline: CpuBaseline,
    ) -> Result<Self, CallError> {
        let engine = engine(params, baseline, 1).map_err(|e| CallError::construction(format!("{e:#}")))?;
        let module = retry_ebusy(|| {
            // SAFETY: see above.
            unsafe { Module::deserialize_file(&engine, artifact) }
        });
        let module = module.map_err(|e| CallError::construction(format!("{e:#}")))?;
        // Not with the first instance: where that is made, a file cannot be.
        retry_ebusy(|| module.initialize_copy_on_write_image())
            .map_err(|e| CallError::construction(format!("memory image: {e:#}")))?;
        let starts = start::said_in(artifact).map_err(CallError::construction)?;
        Self::link::<H>(engine, &module, params, starts)
    }

    /// Links an artifact that was just compiled.
    ///
    /// # Safety
    /// The bytes must be what the compiler gave.
    pub unsafe fn from_bytes<H: HostFunctions>(
        artifact: &[u8],
        params: &ExecutorParams,
        baseline: CpuBaseline,
    ) -> Result<Self, CallError> {
        let engine = engine(params, baseline, 1).map_err(|e| CallError::construction(format!("{e:#}")))?;
        // SAFETY: see above.
        let module = unsafe { Module::deserialize(&engine, artifact) };
        let module = module.map_err(|e| CallError::construction(format!("{e:#}")))?;
        let starts = start::said(artifact).map_err(CallError::construction)?;
        Self::link::<H>(engine, &module, params, starts)
    }

    fn link<H: HostFunctions>(
        engine: Engine,
        module: &Module,
        params: &ExecutorParams,
        starts: bool,
    ) -> Result<Self, CallError> {
        let mut wanted = HashMap::new();
        for import in module.imports() {
            let (from, name) = (import.module(), import.name());
            if from != "env" {
                return Err(CallError::construction(format!("import {from}.{name}: only env can be imported from")));
            }
            match import.ty() {
                ExternType::Func(ty) => wanted.insert(name.to_owned(), ty),
                _ => {
                    return Err(CallError::construction(format!(
                        "import {from}.{name}: only functions can be imported"
                    )));
                }
            };
        }
        let mut linker = Linker::new(&engine);
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
        let linked = linker.instantiate_pre(module).map_err(|e| CallError::construction(format!("{e:#}")))?;
        Ok(Self { engine, linked, memory_limit: params.memory_page_limit() as usize * PAGE, starts })
    }

    /// Calls `validate_block` in a fresh instance. Must run on a thread whose stack is larger than the native
    /// stack limit.
    pub fn validate_block(&self, params: &[u8]) -> Result<Vec<u8>, CallError> {
        // Making the instance may run code of the guest, and what that leaves behind the call finds.
        set_and_run_with_externalities(&mut ValidationExternalities::new(), || {
            let (mut store, found) = self.instantiate()?;
            guarded_call(&mut store, found, params)
        })
    }

    /// A fresh instance for a call in a fork of this process: everything that can be done for it before. None if
    /// making one runs code of the guest, or fails: then [`Runtime::validate_block`] does, and says why.
    pub fn ready(&self) -> Option<Ready> {
        // Whatever they keep for each thread is made now as well.
        Engine::tls_eager_initialize();
        set_and_run_with_externalities(&mut ValidationExternalities::new(), || ());
        if self.starts {
            return None;
        }
        let (store, found) = self.instantiate().ok()?;
        Some(Ready { store, found, externalities: ValidationExternalities::new() })
    }

    /// An instance, and what a call needs of it.
    fn instantiate(&self) -> Result<(Store<State>, Result<Found, CallError>), CallError> {
        let instantiated = catch_unwind(AssertUnwindSafe(|| {
            retry_ebusy(|| {
                let limits = StoreLimitsBuilder::new().memory_size(self.memory_limit).build();
                let max_pages = (self.memory_limit / PAGE) as u32;
                let state = State { limits, max_pages, memory: None, allocator: None, panic_message: None };
                let mut store = Store::new(&self.engine, state);
                store.limiter(|state| &mut state.limits);
                let instance = self.linked.instantiate(&mut store)?;
                Ok((store, instance))
            })
        }));
        match instantiated {
            Ok(Ok((mut store, instance))) => {
                let found = Found::new(&mut store, &instance);
                Ok((store, found))
            }
            Ok(Err(error)) => Err(CallError::construction(format!("cannot instantiate: {error:#}"))),
            Err(panic) => Err(CallError::construction(format!("panic while instantiating: {}", message(&*panic)))),
        }
    }
}

impl Ready {
    /// As [`Runtime::validate_block`]. The instance is not taken apart after the call: the process is to end.
    pub fn validate_block(self, params: &[u8]) -> Result<Vec<u8>, CallError> {
        let (mut store, mut around) = (ManuallyDrop::new(self.store), ManuallyDrop::new(self.externalities));
        set_and_run_with_externalities(&mut *around, || guarded_call(&mut store, self.found, params))
    }
}

impl Found {
    /// What is missing is the guest's fault, as soon as it is called.
    fn new(store: &mut Store<State>, instance: &Instance) -> Result<Self, CallError> {
        let memory = instance
            .get_memory(&mut *store, "memory")
            .ok_or_else(|| CallError::invalid("memory is not exported under the name `memory`"))?;
        let heap_base = heap_base(store, instance)?;
        Ok(Self { memory, heap_base, entry: entry_point(store, instance)? })
    }
}

fn guarded_call(
    store: &mut Store<State>,
    found: Result<Found, CallError>,
    params: &[u8],
) -> Result<Vec<u8>, CallError> {
    let found = found?;
    let called = catch_unwind(AssertUnwindSafe(|| call(store, &found, params)));
    called.unwrap_or_else(|panic| {
        let said = message(&*panic);
        if said.starts_with(NO_ROOM_FOR_WORDS) {
            // The guest did not do that: it is our limit, so the verdict must not be its.
            resume_unwind(panic);
        }
        Err(CallError::invalid(format!("panic in a host function: {said}")))
    })
}

fn retry_ebusy<T>(mut run: impl FnMut() -> wasmtime::Result<T>) -> wasmtime::Result<T> {
    let mut tries = 0;
    loop {
        let result = run();
        let Err(error) = &result else { return result };
        let busy = error
            .chain()
            .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
            .any(|e| e.raw_os_error() == Some(libc::EBUSY));
        let busy = busy
            || error
                .chain()
                .filter_map(|c| c.downcast_ref::<rustix::io::Errno>())
                .any(|e| *e == rustix::io::Errno::BUSY);
        if !busy || tries == EBUSY_RETRIES {
            return result;
        }
        tries += 1;
        std::thread::yield_now();
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned())).unwrap_or_else(|| "no message".into())
}

fn call(store: &mut Store<State>, found: &Found, params: &[u8]) -> Result<Vec<u8>, CallError> {
    let Found { memory, heap_base, ref entry } = *found;
    store.data_mut().memory = Some(memory);
    let mut allocator = FreeingBumpHeapAllocator::new(heap_base);
    let len = u32::try_from(params.len()).map_err(|_| CallError::invalid("the parameters are over 4 GiB"))?;
    let ptr = allocator
        .allocate(&mut GuestMemory(memory, &mut *store), len)
        .map_err(|e| CallError::invalid(format!("no room for the parameters: {e}")))?;
    write(store, memory, u32::from(ptr), params)?;
    store.data_mut().allocator = Some(allocator);

    let packed = entry.call(&mut *store, (u32::from(ptr) as i32, len as i32)).map_err(|error| {
        // The cause, not the frames above it: without names they say nothing.
        let cause = error.root_cause();
        match store.data_mut().panic_message.take() {
            Some(said) => CallError::invalid(format!("{said} ({cause})")),
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

fn write(store: &mut Store<State>, memory: Memory, ptr: u32, data: &[u8]) -> Result<(), CallError> {
    memory
        .write(store, ptr as usize, data)
        .map_err(|_| CallError::invalid("the allocator gave memory that is not there for the parameters"))
}

/// The result's bytes: `ptr | len << 32`. Bounds are checked before anything is allocated.
fn output(store: &Store<State>, memory: Memory, packed: u64) -> Result<Vec<u8>, CallError> {
    let (ptr, len) = ((packed & 0xffff_ffff) as usize, (packed >> 32) as usize);
    let data = memory.data(store);
    let bytes = ptr.checked_add(len).and_then(|end| data.get(ptr..end));
    bytes.map(<[u8]>::to_vec).ok_or_else(|| {
        CallError::invalid(format!("output of {len} bytes at {ptr} is outside the memory of {} bytes", data.len()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Error;

    /// As wasmtime gives it: an error of the system below others.
    fn failed(code: i32) -> wasmtime::Error {
        wasmtime::Error::from(Error::from_raw_os_error(code)).context("cannot make the memory image")
    }

    #[test]
    fn a_busy_memory_image_is_tried_again_and_nothing_else_is() {
        let mut tries = 0;
        let result = retry_ebusy(|| {
            tries += 1;
            if tries < 5 { Err(failed(libc::EBUSY)) } else { Ok(tries) }
        });
        assert_eq!(result.unwrap(), 5);
        let mut tries = 0;
        let result: wasmtime::Result<()> = retry_ebusy(|| {
            tries += 1;
            Err(failed(libc::ENOMEM))
        });
        assert!(result.is_err());
        assert_eq!(tries, 1);
    }

    #[test]
    fn a_memory_image_that_stays_busy_is_an_error() {
        let mut tries = 0;
        let result: wasmtime::Result<()> = retry_ebusy(|| {
            tries += 1;
            Err(failed(libc::EBUSY))
        });
        assert!(result.is_err());
        assert_eq!(tries, EBUSY_RETRIES + 1);
    }
}
