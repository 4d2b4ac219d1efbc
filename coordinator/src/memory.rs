//! Memory that is there before it is needed: a queue that grows then does not wait for the kernel to find pages, which
//! takes milliseconds for a huge one where the machine is a virtual one.

/// Touches so many bytes now and has the allocator keep them, and whatever else is freed later. To be called before
/// there are other threads: from now on all of them share one heap. Does nothing without glibc's allocator.
pub fn reserve(bytes: usize) {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    glibc::reserve(bytes);
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    let _ = bytes;
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod glibc {
    /// Pieces in which it is asked for; small enough to come from the heap.
    const PIECE: usize = 64 * 1024;
    const PAGE: usize = 4096;

    pub(super) fn reserve(bytes: usize) {
        // The last is what glibc comes to by itself otherwise.
        for (parameter, value) in
            [(libc::M_ARENA_MAX, 1), (libc::M_TRIM_THRESHOLD, -1), (libc::M_MMAP_THRESHOLD, 32 << 20)]
        {
            // SAFETY: takes two numbers; what it does not know it refuses.
            unsafe { libc::mallopt(parameter, value) };
        }
        let pieces: Vec<Vec<u8>> = (0..bytes / PIECE).map(|_| touched()).collect();
        drop(pieces);
    }

    fn touched() -> Vec<u8> {
        let mut piece = Vec::with_capacity(PIECE);
        for page in piece.spare_capacity_mut().chunks_mut(PAGE) {
            std::hint::black_box(page[0].write(0));
        }
        piece
    }
}
