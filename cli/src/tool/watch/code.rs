//! The runtime of `pvf watch`, which may be replaced meanwhile.

use crate::tool::{failure::Failure, input};
use pvf_shared::{Bytes, telemetry::to_stderr};
use std::{path::Path, time::SystemTime};

/// Size and time of a file.
type Stamp = Option<(u64, SystemTime)>;

/// The runtime.
pub(super) struct Code {
    /// The code.
    pub(super) bytes: Bytes,
    /// Of the file that it was read from.
    read: Stamp,
    /// What the file had when it was looked at last.
    seen: Stamp,
}

impl Code {
    /// Reads it.
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let stamp = stamp(path);
        Ok(Self { bytes: input::code(path)?, read: stamp, seen: stamp })
    }

    /// Reads it again if the file has changed, and does not change any more: it may still be written. One that cannot
    /// be read is a warning, and the old one stays.
    pub(super) fn renew(&mut self, path: &Path) {
        let now = stamp(path);
        let settled = now == self.seen;
        self.seen = now;
        if now == self.read || !settled {
            return;
        }
        match input::code(path) {
            Ok(_) if stamp(path) != now => {}
            Ok(bytes) => {
                if bytes != self.bytes {
                    to_stderr(format_args!("{} has changed", path.display()));
                }
                (self.bytes, self.read) = (bytes, now);
            }
            Err(failure) => {
                self.read = now;
                to_stderr(format_args!("warning: the runtime of before is used: {failure}"));
            }
        }
    }
}

fn stamp(path: &Path) -> Stamp {
    let of = std::fs::metadata(path).ok()?;
    Some((of.len(), of.modified().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runtime_is_read_again_when_its_file_has_settled() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("runtime.wasm");
        std::fs::write(&path, b"\0asm one").unwrap();
        let mut code = Code::read(&path).unwrap();
        std::fs::write(&path, b"\0asm half of").unwrap();
        code.renew(&path);
        assert_eq!(&code.bytes[..], b"\0asm one", "it may still be written");
        std::fs::write(&path, b"\0asm half of the next").unwrap();
        code.renew(&path);
        assert_eq!(&code.bytes[..], b"\0asm one");
        code.renew(&path);
        assert_eq!(&code.bytes[..], b"\0asm half of the next");
        std::fs::write(&path, b"no code at all").unwrap();
        code.renew(&path);
        code.renew(&path);
        assert_eq!(&code.bytes[..], b"\0asm half of the next");
    }
}
