//! How far the compiler of a preparation has come.

use crate::job::protocol::ProgressCell;
use pvf_shared::wire::CompileProgress;
use std::{
    fs::File,
    os::unix::fs::FileExt as _,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Shows how far the compiler of one preparation has come. Clones show the same.
#[derive(Debug, Clone, Default)]
pub struct CompileMeter(Arc<Mutex<State>>);

#[derive(Debug, Default)]
enum State {
    /// There is no process yet.
    #[default]
    Before,
    /// The process counts in the first bytes of this file, a [`ProgressCell`].
    During(File),
    /// The process has exited; what it said last.
    After(Option<CompileProgress>),
}

impl CompileMeter {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The preparation's process counts in this file. Without a descriptor for it nothing is shown, and the job goes
    /// on.
    pub(super) fn follow(&self, file: &File) {
        if let Ok(copy) = file.try_clone() {
            *self.state() = State::During(copy);
        }
    }

    /// The process has exited: its file, which has the code too, is given up.
    pub(super) fn end(&self) {
        let mut state = self.state();
        if let State::During(file) = &*state {
            *state = State::After(read(file));
        }
    }

    /// What the process says; `None` until its compiler begins.
    pub fn read(&self) -> Option<CompileProgress> {
        match &*self.state() {
            State::Before => None,
            State::During(file) => read(file),
            State::After(last) => *last,
        }
    }
}

/// What is in the file. The process that writes it has read untrusted code, and may write anything.
fn read(file: &File) -> Option<CompileProgress> {
    let mut cell = [0; size_of::<ProgressCell>()];
    file.read_exact_at(&mut cell, 0).ok()?;
    let (functions, compiled) = cell.split_at(size_of::<u32>());
    let number = |bytes: &[u8]| bytes.try_into().map(u32::from_ne_bytes).ok();
    let progress = CompileProgress { compiled: number(compiled)?, functions: number(functions)? };
    (progress.functions > 0).then(|| progress.plausible())
}
