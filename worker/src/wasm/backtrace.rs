//! The frames of a trap, and errors without them.

use pvf_shared::record::{Backtrace, Frame, MAX_FRAMES};
use wasmtime::{Error, WasmBacktrace};

/// The frames that wasmtime recorded with this error.
pub(super) fn frames_of(error: &Error) -> Backtrace {
    let Some(trace) = error.downcast_ref::<WasmBacktrace>() else { return Backtrace::default() };
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let frames = trace
        .frames()
        .iter()
        .take(MAX_FRAMES)
        .map(|frame| Frame { function: frame.func_index(), offset: frame.func_offset().map_or(0, number) });
    Backtrace { frames: frames.collect(), total: number(trace.frames().len()) }
}

/// The text of an error with its causes, without frames: whether they were recorded changes no reason of a verdict.
pub(super) fn text_without_frames(error: &Error) -> String {
    let frames = error.downcast_ref::<WasmBacktrace>().map(ToString::to_string);
    let causes = error.chain().map(ToString::to_string).filter(|cause| Some(cause) != frames.as_ref());
    causes.collect::<Vec<_>>().join(": ")
}
