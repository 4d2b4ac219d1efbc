//! The limits of a guest's memory and tables, and what happens if the machine does not give what they allow.

use crate::exit_status::EXIT_MACHINE_REFUSED;
use wasmtime::{Error, ResourceLimiter, Result, StoreLimits, StoreLimitsBuilder};

/// The number of the operating system's error among the causes of a failure, if there is one: then the machine has
/// refused something, whatever the artifact or the guest is.
pub(super) fn os_error(error: &Error) -> Option<i32> {
    error.chain().find_map(|cause| {
        let number = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::raw_os_error);
        number.or_else(|| cause.downcast_ref::<rustix::io::Errno>().map(|error| error.raw_os_error()))
    })
}

/// The limits of one instance.
pub(super) struct GuestLimits(StoreLimits);

impl GuestLimits {
    /// A memory of at most this many bytes.
    pub(super) fn new(memory: usize) -> Self {
        Self(StoreLimitsBuilder::new().memory_size(memory).build())
    }
}

/// Growth within the limits that the machine refuses must not reach the guest: it would see -1, which it never sees on
/// another machine, and what it does then would be its verdict. The process ends instead.
fn end_if_refused(error: &Error) {
    if os_error(error).is_some() {
        eprintln!("the machine refuses what the guest's limits allow: {error:#}");
        // SAFETY: ends the process.
        unsafe { libc::_exit(EXIT_MACHINE_REFUSED) };
    }
}

impl ResourceLimiter for GuestLimits {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> Result<bool> {
        self.0.memory_growing(current, desired, maximum)
    }

    fn memory_grow_failed(&mut self, error: Error) -> Result<()> {
        end_if_refused(&error);
        self.0.memory_grow_failed(error)
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> Result<bool> {
        self.0.table_growing(current, desired, maximum)
    }

    fn table_grow_failed(&mut self, error: Error) -> Result<()> {
        end_if_refused(&error);
        self.0.table_grow_failed(error)
    }

    fn instances(&self) -> usize {
        self.0.instances()
    }

    fn tables(&self) -> usize {
        self.0.tables()
    }

    fn memories(&self) -> usize {
        self.0.memories()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_the_operating_system_is_found_among_the_causes() {
        let io = Error::from(std::io::Error::from_raw_os_error(libc::ENOMEM)).context("cannot map").context("module");
        assert_eq!(os_error(&io), Some(libc::ENOMEM));
        let errno = Error::from(rustix::io::Errno::ACCESS).context("failed to make memory executable");
        assert_eq!(os_error(&errno), Some(libc::EACCES));
        let end_of_file = std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
        assert_eq!(os_error(&Error::from(end_of_file)), None);
        assert_eq!(os_error(&Error::msg("Memory maximum size exceeded")), None);
    }
}
