//! The host's side: its functions, the allocator and the panic handler built on them.
//!
//! Byte strings cross the border as one `u64`, the pointer in the low half and the length in the high.

use alloc::boxed::Box;
use core::{
    alloc::{GlobalAlloc, Layout},
    fmt::{self, Write},
    panic::PanicInfo,
    ptr,
};

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn ext_allocator_malloc_version_1(size: u32) -> *mut u8;
    fn ext_allocator_free_version_1(block: *mut u8);
    fn ext_hashing_blake2_256_version_1(data: u64) -> *mut [u8; 32];
    fn ext_logging_log_version_1(level: u32, target: u64, message: u64);
}

/// The border form of a byte string.
pub fn pack(bytes: &[u8]) -> u64 {
    bytes.as_ptr() as u64 | (bytes.len() as u64) << 32
}

/// BLAKE2b-256.
pub fn hash(data: &[u8]) -> [u8; 32] {
    // SAFETY: the host only reads `data`, and returns a fresh allocation of 32 bytes made by the
    // allocator that is our global one, so a box may own and free it. `[u8; 32]` has no alignment.
    let hash = unsafe { Box::from_raw(ext_hashing_blake2_256_version_1(pack(data))) };
    *hash
}

/// The host owns the heap.
struct HostAllocator;

/// The alignment of every block that the host returns.
const HOST_ALIGNMENT: usize = 8;

// SAFETY: the host's allocator returns blocks that are disjoint, aligned to 8 bytes and live until
// freed; a larger alignment is refused with null, as the trait wants it. Running out of memory traps.
unsafe impl GlobalAlloc for HostAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.align() > HOST_ALIGNMENT {
            return ptr::null_mut();
        }
        // SAFETY: takes no pointer.
        unsafe { ext_allocator_malloc_version_1(layout.size() as u32) }
    }

    unsafe fn dealloc(&self, block: *mut u8, _: Layout) {
        // SAFETY: the caller got `block` from `alloc`, that is from the host, and frees it once.
        unsafe { ext_allocator_free_version_1(block) }
    }
}

#[global_allocator]
static ALLOCATOR: HostAllocator = HostAllocator;

/// The level `Error` in the host's numbering.
const LEVEL_ERROR: u32 = 0;

/// Logs the panic on the host, then traps: that makes the candidate invalid.
#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    let mut line = Line { bytes: [0; 256], len: 0 };
    // `Line` cuts what is too long and never fails.
    let _ = write!(line, "{info}");
    // SAFETY: the host only reads the two strings.
    unsafe {
        ext_logging_log_version_1(LEVEL_ERROR, pack(b"adder"), pack(&line.bytes[..line.len]));
    }
    core::arch::wasm32::unreachable()
}

/// A line of bounded length on the stack, as the heap may be what failed.
struct Line {
    bytes: [u8; 256],
    len: usize,
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            // Whole characters only: the host drops a message that is not UTF-8.
            if let Some(room) = self.bytes[self.len..].get_mut(..character.len_utf8()) {
                self.len += character.encode_utf8(room).len();
            }
        }
        Ok(())
    }
}
