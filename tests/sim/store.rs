//! The store: which artifacts it has, and whether it answers.

use pvf_coordinator::scheduler::Listed;
use pvf_shared::{
    ids::ArtifactId,
    job::ArtifactInfo,
    store::{Found, seal::Mac},
    verdict::PrepareError,
};
use std::{collections::BTreeMap, time::Duration};

#[derive(Debug, Clone)]
enum Object {
    Artifact { info: ArtifactInfo, damaged: bool },
    Failure(PrepareError),
}

/// What an execute worker gets when it asks for an artifact.
#[derive(Debug, PartialEq, Eq)]
pub enum Got {
    Intact,
    Damaged,
    Missing,
}

#[derive(Debug, Default)]
pub struct Store {
    objects: BTreeMap<ArtifactId, Object>,
    pub failing: bool,
    made: u64,
}

impl Store {
    /// A prepare worker stores what it made.
    pub fn put(&mut self, id: &ArtifactId) -> ArtifactInfo {
        self.made += 1;
        let mut mac = [0; 32];
        mac[..8].copy_from_slice(&self.made.to_le_bytes());
        let info = ArtifactInfo { bytes: 1000, mac: Mac(mac) };
        self.objects.insert(id.clone(), Object::Artifact { info, damaged: false });
        info
    }

    pub fn put_failure(&mut self, id: &ArtifactId, error: PrepareError) {
        self.objects.insert(id.clone(), Object::Failure(error));
    }

    pub fn delete(&mut self, id: &ArtifactId) {
        self.objects.remove(id);
    }

    pub fn look_up(&self, id: &ArtifactId) -> Result<Option<Found>, String> {
        if self.failing {
            return Err("the store is down".into());
        }
        Ok(self.objects.get(id).map(|object| match object {
            // Its header is intact: the damage is only seen by whoever reads all of it.
            Object::Artifact { info, .. } => Found::Prepared(*info),
            Object::Failure(error) => Found::Failed(error.clone()),
        }))
    }

    pub fn get(&self, id: &ArtifactId, mac: Option<Mac>) -> Got {
        match self.objects.get(id) {
            Some(Object::Artifact { info, damaged }) if *damaged || mac.is_some_and(|mac| mac != info.mac) => {
                Got::Damaged
            }
            Some(Object::Artifact { .. }) => Got::Intact,
            Some(Object::Failure(_)) | None => Got::Missing,
        }
    }

    pub fn lose(&mut self, code: u8) {
        self.objects.retain(|id, _| super::truth::number_of(id.code_hash) != code);
    }

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
