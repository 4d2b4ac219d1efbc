//! How far a preparation has come, for people who wait for it: the job counts the functions that it has compiled, in
//! the first bytes of the memory file that its request came in, where the worker looks at them ([`ProgressCell`]).

use super::protocol::ProgressCell;
use cranelift_codegen::timing::{Pass, Profiler, set_thread_profiler};
use std::{
    any::Any,
    cell::Cell,
    mem::size_of,
    sync::{OnceLock, atomic::Ordering},
};

/// Where this process counts; `None` if the file cannot be mapped. Then nothing is shown.
static CELL: OnceLock<Option<&'static ProgressCell>> = OnceLock::new();

thread_local! {
    /// A function of the code was translated on this thread and is not compiled yet. The compiler also makes functions
    /// of its own, which do not count.
    static TRANSLATED: Cell<bool> = const { Cell::new(false) };
}

fn cell() -> Option<&'static ProgressCell> {
    *CELL.get_or_init(|| {
        // SAFETY: a new mapping of the memory file that is stdin, which the worker has made larger than a cell.
        let at = unsafe {
            let (len, access) = (size_of::<ProgressCell>(), libc::PROT_READ | libc::PROT_WRITE);
            libc::mmap(std::ptr::null_mut(), len, access, libc::MAP_SHARED, 0, 0)
        };
        // SAFETY: the mapping is aligned to a page and is never removed, and any bytes are a cell.
        (at != libc::MAP_FAILED).then(|| unsafe { &*at.cast() })
    })
}

/// Has the functions counted that the current thread compiles.
pub(super) fn count_on_this_thread() {
    if cell().is_some() {
        set_thread_profiler(Box::new(Counter));
    }
}

/// The compiler begins with code that has so many functions.
pub(super) fn begin(functions: u32) {
    if let Some(cell) = cell() {
        cell.functions.store(functions, Ordering::Relaxed);
    }
}

/// Told by the compiler of each of its passes.
struct Counter;

impl Profiler for Counter {
    fn start_pass(&self, pass: Pass) -> Box<dyn Any> {
        match pass {
            Pass::wasm_translate_function => TRANSLATED.set(true),
            Pass::compile if TRANSLATED.take() => return Box::new(Compiled),
            _ => {}
        }
        Box::new(())
    }
}

/// Dropped when a function is compiled.
struct Compiled;

impl Drop for Compiled {
    fn drop(&mut self) {
        if let Some(cell) = cell() {
            cell.compiled.fetch_add(1, Ordering::Relaxed);
        }
    }
}
