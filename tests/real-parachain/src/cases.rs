//! Candidates with their expected verdicts, valid and corrupted.

use crate::{
    chain::Valid,
    expected::{ValidationParams, ValidationResult},
    pov::{Candidate, Layout, compress},
    reference,
};

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
    /// Name of the case from which it was derived.
    pub of: Option<&'static str>,
    /// Outcome of the reference: `valid`, or the message of its panic.
    pub reference: String,
}

fn extrinsics(candidate: &Candidate) -> usize {
    candidate.blocks.iter().map(|block| block.extrinsics.len()).sum()
}

impl Valid {
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
            extrinsics: extrinsics(&self.candidate),
            result: Some(self.expected.clone()),
            of: None,
            reference: String::new(),
        }
    }

    /// A case derived from this block, with other parameters.
    pub fn with_params(&self, name: &str, about: &str, meant: Meant, params: ValidationParams) -> Case {
        Case {
            name: format!("{}.{name}", self.name),
            about: about.into(),
            pov: compress(&params.block_data),
            params,
            result: (meant == Meant::Valid).then(|| self.expected.clone()),
            of: Some(self.name),
            ..self.case()
        }
    }

    /// A case derived from this block by a change of its parts.
    pub fn changed(&self, name: &str, about: &str, meant: Meant, change: impl FnOnce(&mut Candidate)) -> Case {
        let mut candidate = self.candidate.clone();
        change(&mut candidate);
        let case = self.with_params(name, about, meant, candidate.params());
        Case { extrinsics: extrinsics(&candidate), ..case }
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
    /// Validates the case with the reference. Panics if the verdict is not the intended one, which is a bug of this
    /// recipe.
    pub fn check(&mut self) {
        if !self.decompresses {
            self.reference = "does not decompress".into();
            return;
        }
        let outcome = reference::validate(&self.params);
        match (&outcome, &self.result) {
            (Ok(result), Some(expected)) => assert_eq!(result, expected, "{}: another result", self.name),
            (Err(_), None) => {}
            _ => panic!("{}: unintended verdict of the reference: {outcome:?}", self.name),
        }
        self.reference = outcome.map_or_else(|panic| panic, |_| "valid".into());
    }
}
