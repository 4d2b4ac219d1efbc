//! The host functions, and the allocator and the panic handler built on them.
//!
//! A byte string is passed to the host as one `u64`: the pointer in the low half, the length in the high half.

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

/// A byte string as a host function takes it.
pub fn pack(bytes: &[u8]) -> u64 {
    bytes.as_ptr() as u64 | (bytes.len() as u64) << 32
}

/// BLAKE2b-256.
pub fn hash(data: &[u8]) -> [u8; 32] {
    // SAFETY: the host only reads `data`. It returns a new block of 32 bytes from its allocator, which is the global
    // allocator here, so a box may own and free it. `[u8; 32]` has alignment 1.
    let hash = unsafe { Box::from_raw(ext_hashing_blake2_256_version_1(pack(data))) };
    *hash
}

/// The global allocator: the host manages the heap.
struct HostAllocator;

/// The alignment of every block that the host returns, bytes.
const HOST_ALIGNMENT: usize = 8;

// SAFETY: the host's allocator returns disjoint blocks that are aligned to 8 bytes and live until they are freed. A
// larger alignment is refused with null, as the trait requires. An allocation that fails traps.
unsafe impl GlobalAlloc for HostAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.align() > HOST_ALIGNMENT {
            return ptr::null_mut();
        }
        // SAFETY: the function takes no pointer.
        unsafe { ext_allocator_malloc_version_1(layout.size() as u32) }
    }

    unsafe fn dealloc(&self, block: *mut u8, _: Layout) {
        // SAFETY: by the contract of the trait, `block` comes from `alloc`, hence from the host, and is freed once.
        unsafe { ext_allocator_free_version_1(block) }
    }
}

#[global_allocator]
static ALLOCATOR: HostAllocator = HostAllocator;

/// The level `Error` in the host's numbering.
const LEVEL_ERROR: u32 = 0;

/// Logs the panic through the host, then traps, which makes the candidate invalid.
#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    let mut line = Line { bytes: [0; 256], len: 0 };
    // `Line` truncates and never fails.
    let _ = write!(line, "{info}");
    // SAFETY: the host only reads the two strings.
    unsafe {
        ext_logging_log_version_1(LEVEL_ERROR, pack(b"adder"), pack(&line.bytes[..line.len]));
    }
    core::arch::wasm32::unreachable()
}

/// A line of bounded length on the stack: the panic may be a failed allocation.
struct Line {
    bytes: [u8; 256],
    len: usize,
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            // Whole characters only: the host discards a message that is not UTF-8.
            if let Some(room) = self.bytes[self.len..].get_mut(..character.len_utf8()) {
                self.len += character.encode_utf8(room).len();
            }
        }
        Ok(())
    }
}
