//! Candidates with their expected verdicts, valid and corrupted.

use crate::{
    chain::{Code, Valid},
    expected::{ValidationParams, ValidationResult},
    export::Export,
    linked::{BlockOf, Linked},
    pov::{Candidate, Layout, compress},
    reference,
};
use sp_runtime::traits::Block as _;
use std::time::Duration;

/// The intended verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meant {
    /// Valid, with the same result as without the change.
    Valid,
    /// Invalid.
    Invalid,
}

/// A candidate with its expected verdict.
pub struct Case {
    /// Its name, and that of its files.
    pub name: String,
    /// What is special about it.
    pub about: String,
    /// The argument of `validate_block`; without block data if the PoV does not decompress.
    pub params: ValidationParams,
    /// Whether the PoV decompresses.
    pub decompresses: bool,
    /// The PoV: the block data as sent by a collator.
    pub pov: Vec<u8>,
    /// Whether the PoV is compressed.
    pub compressed: bool,
    /// Number of extrinsics in the blocks.
    pub extrinsics: usize,
    /// The result; `None` if the candidate is invalid.
    pub result: Option<ValidationResult>,
    /// The code that validates it.
    pub code: Code,
    /// Its files as those of a collator; `None` if it is not a block of the chain.
    pub export: Option<Export>,
    /// Name of the case from which it was derived.
    pub of: Option<&'static str>,
    /// Outcome of the reference: `valid`, or the message of its panic.
    pub reference: String,
}

/// CPU time of this thread up to now; zero where the kernel does not tell.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(stat.split(' ').next().and_then(|nanoseconds| nanoseconds.parse().ok()).unwrap_or_default())
}

fn extrinsics<R: Linked>(candidate: &Candidate<BlockOf<R>>) -> usize {
    candidate.blocks.iter().map(|block| block.extrinsics().len()).sum()
}

impl<R: Linked> Valid<R> {
    /// The unchanged block as a case.
    pub fn case(&self) -> Case {
        let params = self.candidate.params();
        Case {
            name: self.name.into(),
            about: self.about.into(),
            pov: compress(&params.block_data),
            compressed: true,
            decompresses: true,
            params,
            extrinsics: extrinsics::<R>(&self.candidate),
            result: Some(self.expected.clone()),
            code: self.code,
            export: Some(Export::new(self)),
            of: None,
            reference: String::new(),
        }
    }
}

impl Valid {
    /// A case derived from this block, with other parameters.
    pub fn with_params(&self, name: &str, about: &str, meant: Meant, params: ValidationParams) -> Case {
        Case {
            name: format!("{}.{name}", self.name),
            about: about.into(),
            pov: compress(&params.block_data),
            params,
            result: (meant == Meant::Valid).then(|| self.expected.clone()),
            export: None,
            of: Some(self.name),
            ..self.case()
        }
    }

    /// A case derived from this block by a change of its parts.
    pub fn changed(&self, name: &str, about: &str, meant: Meant, change: impl FnOnce(&mut Candidate)) -> Case {
        let mut candidate = self.candidate.clone();
        change(&mut candidate);
        let case = self.with_params(name, about, meant, candidate.params());
        Case { extrinsics: extrinsics::<penpal_runtime::Runtime>(&candidate), ..case }
    }

    /// A case derived from this block by a change of its block data.
    pub fn with_data(&self, name: &str, about: &str, meant: Meant, change: impl FnOnce(&mut Vec<u8>)) -> Case {
        let mut params = self.candidate.params();
        change(&mut params.block_data);
        self.with_params(name, about, meant, params)
    }

    /// The same block in another layout.
    pub fn in_layout(&self, name: &str, about: &str, layout: Layout) -> Case {
        self.changed(name, about, Meant::Valid, |candidate| candidate.layout = layout)
    }
}

impl Case {
    /// Validates the case with the reference, and returns the CPU time that it took. Panics if the verdict is not the
    /// intended one, which is a bug of this recipe.
    pub fn check<R: Linked>(&mut self) -> Duration {
        if !self.decompresses {
            self.reference = "does not decompress".into();
            return Duration::ZERO;
        }
        let begin = cpu_time();
        let outcome = reference::validate::<R>(&self.params);
        let took = cpu_time().saturating_sub(begin);
        match (&outcome, &self.result) {
            (Ok(result), Some(expected)) => assert_eq!(result, expected, "{}: another result", self.name),
            (Err(_), None) => {}
            _ => panic!("{}: unintended verdict of the reference: {outcome:?}", self.name),
        }
        self.reference = outcome.map_or_else(|panic| panic, |_| "valid".into());
        took
    }
}
