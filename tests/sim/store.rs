//! The object store: which artifacts it has, and whether it answers.

use pvf_scheduler::Listed;
use pvf_shared::{
    artifact::{ArtifactDigest, ArtifactInfo, StoredArtifact},
    ids::ArtifactId,
    time::Timestamp,
    verdict::PrepareError,
};
use std::{collections::BTreeMap, time::Duration};

#[derive(Debug, Clone)]
enum Object {
    Artifact { info: ArtifactInfo, damaged: bool },
    Failure(PrepareError),
}

/// What an execute worker gets when it fetches an artifact.
#[derive(Debug, PartialEq, Eq)]
pub enum Fetched {
    Intact,
    Damaged,
    Missing,
}

#[derive(Debug, Default)]
pub struct Store {
    objects: BTreeMap<ArtifactId, Object>,
    pub failing: bool,
    /// It answers nothing until then.
    pub hangs_until: Timestamp,
    stored: u64,
}

impl Store {
    /// A prepare worker stores an artifact. Compiling is deterministic: one that is there stays the same. Any other has
    /// another MAC, so that it can be told which one an execution was given.
    pub fn put(&mut self, id: &ArtifactId) -> ArtifactInfo {
        if let Some(Object::Artifact { info, damaged: false }) = self.objects.get(id) {
            return *info;
        }
        self.stored += 1;
        let mut digest = [0; 32];
        digest[..8].copy_from_slice(&self.stored.to_le_bytes());
        let info = ArtifactInfo { bytes: 1000, digest: ArtifactDigest(digest) };
        self.objects.insert(id.clone(), Object::Artifact { info, damaged: false });
        info
    }

    pub fn put_failure(&mut self, id: &ArtifactId, error: PrepareError) {
        self.objects.insert(id.clone(), Object::Failure(error));
    }

    pub fn delete(&mut self, id: &ArtifactId) {
        self.objects.remove(id);
    }

    pub fn look_up(&self, id: &ArtifactId) -> Result<Option<StoredArtifact>, String> {
        if self.failing {
            return Err("the store is down".into());
        }
        Ok(self.objects.get(id).map(|object| match object {
            // A look-up reads the header only, which is intact.
            Object::Artifact { info, .. } => StoredArtifact::Prepared(*info),
            Object::Failure(error) => StoredArtifact::Failed(error.clone()),
        }))
    }

    pub fn fetch(&self, id: &ArtifactId, digest: Option<ArtifactDigest>) -> Fetched {
        match self.objects.get(id) {
            Some(Object::Artifact { info, damaged })
                if *damaged || digest.is_some_and(|digest| digest != info.digest) =>
            {
                Fetched::Damaged
            }
            Some(Object::Artifact { .. }) => Fetched::Intact,
            Some(Object::Failure(_)) | None => Fetched::Missing,
        }
    }

    /// All artifacts of a code are lost.
    pub fn lose(&mut self, code: u8) {
        self.objects.retain(|id, _| super::truth::number_of(id.code_hash) != code);
    }

    /// All artifacts of a code are damaged behind their header.
    pub fn damage(&mut self, code: u8) {
        for (id, object) in &mut self.objects {
            if let (true, Object::Artifact { damaged, .. }) = (super::truth::number_of(id.code_hash) == code, object) {
                *damaged = true;
            }
        }
    }

    pub fn list(&self) -> Vec<Listed> {
        let listed =
            |(id, _): (&ArtifactId, _)| Listed { artifact: id.clone(), bytes: 1000, idle: Duration::from_secs(1) };
        self.objects.iter().map(listed).collect()
    }
}
