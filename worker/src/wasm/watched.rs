//! A call that is watched: how often and for how long the guest calls which host function, how its memory grows, and
//! how high its logical stack is. For people only: no verdict comes of such a call.

use super::{
    call_error::CallError,
    compile::{STACK_HEIGHT, instrument_to_watch},
    config::{CpuBaseline, engine_to_watch},
    externalities::ValidationExternalities,
    host_functions::State,
    instance::{Call, Exports, guarded_call, memory_limit, new_store},
    linking::linker,
};
use pvf_shared::{params::ExecutorParams, verdict::PrepareError};
use sp_externalities::set_and_run_with_externalities;
use sp_wasm_interface::HostFunctions;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, Instant},
};
use wasm_instrument::parity_wasm::elements::Module as ParsedModule;
use wasmparser::{KnownCustom, Name, Parser, Payload};
use wasmtime::{AsContext, AsContextMut, Caller, Func, Global, Linker, Module, Val};

/// Most steps of memory growth that are kept.
const MAX_STEPS: usize = 256;

/// A module that is compiled to be watched.
pub(crate) struct Watched {
    module: Module,
    params: ExecutorParams,
}

/// A watched call.
pub(crate) struct WatchedCall {
    pub(crate) call: Call,
    /// Calls of each imported function, and the time they took.
    pub(crate) host_calls: BTreeMap<String, (u64, Duration)>,
    /// How large the memory was found at calls of host functions: time since the start, and pages of 64 KiB.
    pub(crate) memory: Vec<(Duration, u32)>,
    /// The largest height of the logical stack at any call of a host function or at the end, values.
    pub(crate) stack_height: Option<u32>,
}

/// What the wrappers of host functions write down.
struct Trace {
    started: Instant,
    calls: Vec<(u64, Duration)>,
    memory: Vec<(Duration, u32)>,
    stack: u32,
}

type SharedTrace = Arc<Mutex<Trace>>;

fn lock(trace: &SharedTrace) -> MutexGuard<'_, Trace> {
    trace.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Watched {
    /// Instruments and compiles a parsed module. Its machine code stays in this process.
    pub(crate) fn compile(
        module: ParsedModule,
        params: &ExecutorParams,
        baseline: CpuBaseline,
        threads: u32,
    ) -> Result<Self, PrepareError> {
        let failed = |what: &str, e: wasmtime::Error| PrepareError::Preparation(format!("{what}: {e:#}"));
        let code = instrument_to_watch(module, params, threads)?;
        let engine = engine_to_watch(params, baseline, threads).map_err(|e| PrepareError::Kernel(format!("{e:#}")))?;
        let module = Module::from_binary(&engine, &code).map_err(|e| failed("compiler", e))?;
        Ok(Self { module, params: params.clone() })
    }

    /// Calls `validate_block`. Must run on a thread whose stack is larger than the native stack limit.
    ///
    /// # Errors
    /// The module cannot be linked or instantiated.
    pub(crate) fn call<H: HostFunctions>(&self, parts: &[&[u8]]) -> Result<WatchedCall, CallError> {
        let engine = self.module.engine();
        let mut store = new_store(engine, memory_limit(&self.params));
        let linked = linker::<H>(engine, &self.module, &self.params)?;
        let names: Vec<String> = self.module.imports().map(|import| import.name().to_owned()).collect();
        let trace = Trace {
            started: Instant::now(),
            calls: vec![(0, Duration::ZERO); names.len()],
            memory: Vec::new(),
            stack: 0,
        };
        let trace: SharedTrace = Arc::new(Mutex::new(trace));
        let height = Arc::new(OnceLock::<Global>::new());
        let construction = |e: wasmtime::Error| CallError::construction(format!("{e:#}"));

        let mut watching = Linker::new(engine);
        watching.allow_shadowing(true);
        for (index, name) in names.iter().enumerate() {
            let inner = linked.get(&mut store, "env", name).and_then(|item| item.into_func());
            let inner = inner.ok_or_else(|| CallError::construction(format!("import env.{name} is no function")))?;
            let wrapper = Wrapper { index, inner, trace: trace.clone(), height: height.clone() };
            let ty = inner.ty(&store);
            let run = move |caller: Caller<'_, State>, params: &[Val], results: &mut [Val]| {
                wrapper.run(caller, params, results)
            };
            watching.func_new("env", name, ty, run).map_err(construction)?;
        }
        set_and_run_with_externalities(&mut ValidationExternalities::new(), || {
            let instance = watching.instantiate(&mut store, &self.module);
            let instance = instance.map_err(|e| CallError::before_call("cannot instantiate", &e))?;
            if let Some(global) = instance.get_global(&mut store, STACK_HEIGHT) {
                let _ = height.set(global);
            }
            let exports = Exports::of(&mut store, &instance);
            lock(&trace).started = Instant::now();
            let call = guarded_call(&mut store, exports, parts);
            // A guest that traps does not unwind its stack.
            let end = read(&height, &mut store);
            let trace = lock(&trace);
            let mut host_calls = BTreeMap::<String, (u64, Duration)>::new();
            for (name, (count, time)) in names.into_iter().zip(&trace.calls) {
                let sum = host_calls.entry(name).or_default();
                *sum = (sum.0 + count, sum.1 + *time);
            }
            host_calls.retain(|_, (count, _)| *count > 0);
            let stack_height = end.map(|end| end.max(trace.stack));
            Ok(WatchedCall { call, host_calls, memory: trace.memory.clone(), stack_height })
        })
    }
}

fn read(height: &OnceLock<Global>, store: impl AsContextMut<Data = State>) -> Option<u32> {
    height.get()?.get(store).i32().map(|height| height as u32)
}

/// A host function, and where its calls are written down.
struct Wrapper {
    index: usize,
    inner: Func,
    trace: SharedTrace,
    height: Arc<OnceLock<Global>>,
}

impl Wrapper {
    fn run(&self, mut caller: Caller<'_, State>, params: &[Val], results: &mut [Val]) -> wasmtime::Result<()> {
        let stack = read(&self.height, &mut caller).unwrap_or(0);
        {
            let mut trace = lock(&self.trace);
            trace.stack = trace.stack.max(stack);
            // Counted before: a call may end the guest.
            trace.calls[self.index].0 += 1;
        }
        self.look_at_memory(&caller);
        let began = Instant::now();
        let result = self.inner.call(&mut caller, params, results);
        lock(&self.trace).calls[self.index].1 += began.elapsed();
        self.look_at_memory(&caller);
        result
    }

    /// Writes down how large the memory is, if it has another size than before.
    fn look_at_memory(&self, store: impl AsContext<Data = State>) {
        let store = store.as_context();
        let Some(memory) = store.data().memory else { return };
        let pages = u32::try_from(memory.size(&store)).unwrap_or(u32::MAX);
        let mut trace = lock(&self.trace);
        if trace.memory.last().map(|(_, pages)| *pages) != Some(pages) {
            let after = trace.started.elapsed();
            // Of many steps the first ones and the last one are kept.
            if trace.memory.len() == MAX_STEPS {
                trace.memory.pop();
            }
            trace.memory.push((after, pages));
        }
    }
}

/// The names of functions from the name section of decompressed code, by index; none if it has no such section, and
/// those before the first mistake if it has one.
pub(crate) fn function_names(code: &[u8]) -> BTreeMap<u32, String> {
    let mut names = BTreeMap::new();
    for payload in Parser::new(0).parse_all(code).map_while(Result::ok) {
        let Payload::CustomSection(section) = payload else { continue };
        let KnownCustom::Name(subsections) = section.as_known() else { continue };
        for subsection in subsections.into_iter().map_while(Result::ok) {
            let Name::Function(functions) = subsection else { continue };
            for naming in functions.into_iter().map_while(Result::ok) {
                names.insert(naming.index, naming.name.to_owned());
            }
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wasm::prevalidate;

    const GUEST: &str = r#"(module
        (import "env" "ext_allocator_malloc_version_1" (func $malloc (param i32) (result i32)))
        (import "env" "ext_allocator_free_version_1" (func $free (param i32)))
        (memory (export "memory") 17)
        (global (export "__heap_base") i32 (i32.const 4096))
        (func $deep (param i32) (result i32)
            (if (result i32) (local.get 0)
                (then (i32.add (i32.const 1) (call $deep (i32.sub (local.get 0) (i32.const 1)))))
                (else (call $free (call $malloc (i32.const 4000000))) (i32.const 0))))
        (func $entry (export "validate_block") (param i32 i32) (result i64)
            (drop (call $malloc (i32.const 8)))
            (drop (call $deep (i32.const 100)))
            (unreachable)))"#;

    #[test]
    fn calls_memory_and_stack_of_a_guest_are_seen() {
        let wasm = wat::parse_str(GUEST).unwrap();
        let params = ExecutorParams::default();
        let watched = Watched::compile(prevalidate(&wasm, 1).unwrap(), &params, CpuBaseline::V1, 1).unwrap();
        let seen = watched.call::<()>(&[b"params"]).unwrap();
        let counts: Vec<_> = seen.host_calls.iter().map(|(name, (count, _))| (name.as_str(), *count)).collect();
        assert_eq!(counts, [("ext_allocator_free_version_1", 1), ("ext_allocator_malloc_version_1", 2)]);
        assert!(seen.memory.len() >= 2 && seen.memory.last() > seen.memory.first(), "{:?}", seen.memory);
        // A hundred calls of a function with at least two values each.
        assert!(seen.stack_height.is_some_and(|height| (200..10_000).contains(&height)), "{:?}", seen.stack_height);
        assert!(matches!(&seen.call.output, Err(CallError::Invalid(why)) if why.contains("unreachable")));
        assert_eq!(seen.call.backtrace.frames.first().map(|frame| frame.function), Some(3));
    }

    #[test]
    fn names_are_read_and_what_is_broken_has_none() {
        let wasm = wat::parse_str(GUEST).unwrap();
        let names = function_names(&wasm);
        assert_eq!(
            (names.get(&2).map(String::as_str), names.get(&3).map(String::as_str)),
            (Some("deep"), Some("entry"))
        );
        assert_eq!(function_names(b"not wasm"), BTreeMap::new());
        // A section that claims 2^32 - 1 names, and has none.
        let claims = b"\0asm\x01\0\0\0\0\x0c\x04name\x01\x05\xff\xff\xff\xff\x0f";
        assert_eq!(function_names(claims), BTreeMap::new());
        for end in 0..wasm.len() {
            function_names(&wasm[..end]);
        }
    }
}
