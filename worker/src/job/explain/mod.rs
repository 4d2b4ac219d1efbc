//! A diagnostic run, inside its process: compiles a code and executes one candidate with it, watched. The process has
//! the sandbox of a preparation, and its reply is for people: it never becomes a verdict.

mod log;

use super::{
    execute::HOST_STACK,
    failure::Failure,
    prepare::start_threads,
    process::set_limit,
    protocol::{ExplainReply, ExplainRequest, PrepareRequest},
    reply::panic_text,
};
use crate::{
    explanation::{Explanation, HostCalls, MAX_CALLS, MAX_NAME, MemoryStep, NamedFrame},
    sandbox::{self, Limits},
    wasm::{CallError, Watched, WatchedCall, decompress_code, function_names, prevalidate},
};
use parity_scale_codec::{Compact, Decode as _, Encode as _};
use pvf_shared::{
    candidate::ValidationResult,
    record::MAX_FRAMES,
    verdict::{InvalidReason, PrepareError, clean_reason},
};
use sp_wasm_interface::HostFunctions;
use std::{
    borrow::Cow,
    collections::BTreeMap,
    fs::File,
    io::Write as _,
    os::fd::OwnedFd,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

/// Runs and replies.
pub(super) fn run<H: HostFunctions>(request: &ExplainRequest, reply_to: OwnedFd) -> Result<(), Failure> {
    let preparation = &request.preparation;
    set_limit(libc::RLIMIT_CPU, preparation.cpu_seconds).map_err(Failure::system("CPU limit"))?;
    log::init();
    let limits = Limits::explanation(&preparation.params, preparation.threads);
    sandbox::lock_preparation(preparation.sandbox, &limits).map_err(|error| Failure::Sandbox(error.to_string()))?;
    let reply = catch_unwind(AssertUnwindSafe(|| explain::<H>(request)))
        .unwrap_or_else(|panic| ExplainReply::NoCall(clean_reason(&panic_text(&*panic))));
    let bytes = rmp_serde::to_vec_named(&reply).map_err(|source| Failure::Encode { what: "explanation", source })?;
    File::from(reply_to).write_all(&bytes).map_err(Failure::system("explanation"))
}

fn explain<H: HostFunctions>(request: &ExplainRequest) -> ExplainReply {
    let compiled = match compile(&request.preparation) {
        Ok(compiled) => compiled,
        Err(error) => return ExplainReply::NotPrepared(error),
    };
    let block_data = match request.pov_bomb_limit {
        None => Cow::Borrowed(&request.block_data[..]),
        Some(limit) => match sp_maybe_compressed_blob::decompress(&request.block_data, limit as usize) {
            Ok(data) => data,
            Err(_) => {
                let outcome = Err(InvalidReason::PovDecompression.to_string());
                return ExplainReply::Called(Box::new(Explanation { outcome, ..Explanation::default() }));
            }
        },
    };
    let length = Compact(block_data.len() as u32).encode();
    let [prefix, suffix] = &request.around_block_data;
    let parts = [&prefix[..], &length, &block_data, suffix];
    let stack = u64::from(request.preparation.params.stack_native_max()) + HOST_STACK;
    let on_large_stack = || {
        log::record(request.log_level);
        let before = thread_cpu();
        let seen = compiled.watched.call::<H>(&parts);
        seen.map(|seen| (seen, thread_cpu().saturating_sub(before)))
    };
    let called = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("guest".into()).stack_size(stack as usize);
        let thread = thread.spawn_scoped(scope, on_large_stack).map_err(|e| format!("a stack for the guest: {e}"))?;
        thread.join().map_err(|panic| panic_text(&*panic))
    });
    match called {
        Ok(Ok((seen, cpu))) => {
            let explanation = explanation(seen, &compiled.names);
            let block_data = Some(block_data.len() as u64);
            ExplainReply::Called(Box::new(Explanation { cpu, block_data, ..explanation }))
        }
        Ok(Err(error)) => ExplainReply::NoCall(text(error)),
        Err(why) => ExplainReply::NoCall(clean_reason(&why)),
    }
}

struct CompiledCode {
    watched: Watched,
    names: BTreeMap<u32, String>,
}

fn compile(request: &PrepareRequest) -> Result<CompiledCode, PrepareError> {
    start_threads(request.threads)?;
    let code = decompress_code(&request.code, request.bomb_limit)?;
    let module = prevalidate(&code, request.threads)?;
    let names = function_names(&code);
    drop(code);
    let watched = Watched::compile(module, &request.params, request.baseline, request.threads)?;
    Ok(CompiledCode { watched, names })
}

fn text(error: CallError) -> String {
    match error {
        CallError::Machine(why) => format!("the machine refused: {why}"),
        CallError::Construction(why) => format!("no instance: {why}"),
        CallError::Invalid(why) => why,
        CallError::HostPanic(why) => format!("panic in a host function: {why}"),
    }
}

fn explanation(seen: WatchedCall, names: &BTreeMap<u32, String>) -> Explanation {
    let WatchedCall { call, host_calls, memory, stack_height } = seen;
    let outcome = match call.output {
        Ok(output) => match ValidationResult::decode(&mut &output[..]) {
            Ok(_) => Ok(()),
            Err(error) => Err(format!("the result does not decode: {error}")),
        },
        Err(error) => Err(clean_reason(&text(error))),
    };
    let frame = |frame: &pvf_shared::record::Frame| NamedFrame {
        function: frame.function,
        offset: frame.offset,
        name: names.get(&frame.function).map(|name| name[..name.floor_char_boundary(MAX_NAME)].to_owned()),
    };
    let mut calls: Vec<_> =
        host_calls.into_iter().map(|(name, (count, time))| HostCalls { name, count, time }).collect();
    calls.sort_by_key(|of| std::cmp::Reverse(of.time));
    calls.truncate(MAX_CALLS);
    let (log, log_dropped) = log::take();
    Explanation {
        outcome,
        log,
        log_dropped,
        frames: call.backtrace.frames.iter().take(MAX_FRAMES).map(frame).collect(),
        frames_total: call.backtrace.total,
        host_calls: calls,
        memory: memory.into_iter().map(|(after, pages)| MemoryStep { after, pages }).collect(),
        memory_pages: call.memory_pages,
        stack_height,
        ..Explanation::default()
    }
}

/// CPU time of this thread.
fn thread_cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap_or(0), time.tv_nsec.try_into().unwrap_or(0))
}
