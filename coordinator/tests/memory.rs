//! What is reserved is there. A program of its own without a harness: it has one thread, as the coordinator when it
//! reserves, and nobody else's page faults.

/// This process's page faults so far.
fn faults() -> i64 {
    // SAFETY: all zeroes is a value, and the call only writes to it.
    unsafe {
        let mut usage = std::mem::zeroed::<libc::rusage>();
        libc::getrusage(libc::RUSAGE_SELF, &raw mut usage);
        usage.ru_minflt
    }
}

fn main() {
    pvf_coordinator::memory::reserve(64 << 20);
    let before = faults();
    let pieces: Vec<Vec<u8>> = (0..500).map(|n| vec![n as u8; 64 * 1024]).collect();
    let paid = faults() - before;
    println!("{paid} page faults for {} pages", pieces.len() * 16);
    assert!(!cfg!(target_env = "gnu") || paid < 1000, "too many page faults");
}
