//! How far the compiler of a preparation has come.

use crate::job::protocol::ProgressCell;
use pvf_shared::wire::CompileProgress;
use std::{
    fs::File,
    os::unix::fs::FileExt as _,
    sync::{Arc, OnceLock},
};

/// Shows how far the compiler of one preparation has come. Clones show the same.
#[derive(Debug, Clone, Default)]
pub struct CompileMeter(Arc<OnceLock<File>>);

impl CompileMeter {
    /// The preparation's process counts in the first bytes of this file, a [`ProgressCell`]. A meter is for one process.
    /// Without a descriptor for it, it shows nothing, and the job goes on.
    pub(super) fn follow(&self, file: &File) {
        if let Ok(copy) = file.try_clone() {
            let _ = self.0.set(copy);
        }
    }

    /// What the process says; `None` until its compiler begins. The process has read untrusted code and may say
    /// anything.
    pub fn read(&self) -> Option<CompileProgress> {
        let mut cell = [0; size_of::<ProgressCell>()];
        self.0.get()?.read_exact_at(&mut cell, 0).ok()?;
        let (functions, compiled) = cell.split_at(size_of::<u32>());
        let number = |bytes: &[u8]| bytes.try_into().map(u32::from_ne_bytes).ok();
        let progress = CompileProgress { compiled: number(compiled)?, functions: number(functions)? };
        (progress.functions > 0).then(|| progress.plausible())
    }
}
