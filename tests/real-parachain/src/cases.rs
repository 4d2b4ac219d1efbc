//! Candidates with their verdicts, valid and corrupted, before they are written to files.

use crate::{
    chain::Valid,
    expected::{ValidationParams, ValidationResult},
    pov::{Candidate, Layout, compress},
    reference,
};

/// What is meant to come out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meant {
    /// The same result as without the corruption.
    Valid,
    /// No result.
    Invalid,
}

/// A candidate for the host.
pub struct Case {
    /// Its name, and that of its files.
    pub name: String,
    /// What it shows.
    pub about: String,
    /// The argument of `validate_block`; where it is the compression that is corrupted, without block data.
    pub params: ValidationParams,
    /// Whether block data can be had from the PoV at all.
    pub decompresses: bool,
    /// The block data as it is sent.
    pub pov: Vec<u8>,
    /// Whether that is compressed.
    pub compressed: bool,
    /// How many extrinsics there are in the blocks.
    pub extrinsics: usize,
    /// The result, of a valid one.
    pub result: Option<ValidationResult>,
    /// Which case it was before it was corrupted.
    pub of: Option<&'static str>,
    /// What the reference said about it.
    pub reference: String,
}

fn extrinsics(candidate: &Candidate) -> usize {
    candidate.blocks.iter().map(|block| block.extrinsics.len()).sum()
}

impl Valid {
    /// The case of the block as it is.
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

    /// A case made from this block, with other parameters.
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

    /// A case made from this block by a change of its parts.
    pub fn changed(&self, name: &str, about: &str, meant: Meant, change: impl FnOnce(&mut Candidate)) -> Case {
        let mut candidate = self.candidate.clone();
        change(&mut candidate);
        let case = self.with_params(name, about, meant, candidate.params());
        Case { extrinsics: extrinsics(&candidate), ..case }
    }

    /// A case made from this block by a change of its block data.
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
    /// Asks the reference. Panics unless it agrees: then this recipe is wrong about what it makes.
    pub fn check(&mut self) {
        if !self.decompresses {
            self.reference = "does not decompress".into();
            return;
        }
        let outcome = reference::validate(&self.params);
        match (&outcome, &self.result) {
            (Ok(result), Some(expected)) => assert_eq!(result, expected, "{}: another result", self.name),
            (Err(_), None) => {}
            _ => panic!("{}: the reference says {outcome:?}, which was not meant", self.name),
        }
        self.reference = outcome.map_or_else(|panic| panic, |_| "valid".into());
    }
}
