//! Memory images that the kernel calls busy.

/// Sealing the memory file of a copy-on-write memory image can fail with EBUSY. That is not attributable to the guest,
/// so it is retried.
const EBUSY_RETRIES: u32 = 20;

/// Repeats what failed because a memory image was busy.
pub(super) fn retry_ebusy<T>(mut run: impl FnMut() -> wasmtime::Result<T>) -> wasmtime::Result<T> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Error;

    /// An error of the operating system within others, as wasmtime returns it.
    fn failed(code: i32) -> wasmtime::Error {
        wasmtime::Error::from(Error::from_raw_os_error(code)).context("cannot make the memory image")
    }

    #[test]
    fn only_a_busy_memory_image_is_retried() {
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
