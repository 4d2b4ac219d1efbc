//! The environment of host functions: the extensions that the Polkadot node's host registers, and no storage. Access to
//! storage panics, which makes the candidate invalid.

use super::runtime_version::EmbeddedVersion;
use sp_core::{storage::ChildInfo, storage::StateVersion, storage::TrackedStorageKey, traits::ReadRuntimeVersionExt};
use sp_externalities::{Error, Extension, ExtensionStore, Extensions, Externalities, MultiRemovalResults};
use std::any::{Any, TypeId};

/// Externalities without storage.
pub(super) struct ValidationExternalities(Extensions);

impl ValidationExternalities {
    /// The externalities of one execution.
    pub(super) fn new() -> Self {
        let mut extensions = Extensions::new();
        extensions.register(ReadRuntimeVersionExt::new(EmbeddedVersion));
        Self(extensions)
    }
}

impl ExtensionStore for ValidationExternalities {
    fn extension_by_type_id(&mut self, type_id: TypeId) -> Option<&mut dyn Any> {
        self.0.get_mut(type_id)
    }
    fn register_extension_with_type_id(&mut self, id: TypeId, extension: Box<dyn Extension>) -> Result<(), Error> {
        self.0.register_with_type_id(id, extension)
    }
    fn deregister_extension_by_type_id(&mut self, type_id: TypeId) -> Result<(), Error> {
        if self.0.deregister(type_id) { Ok(()) } else { Err(Error::ExtensionIsNotRegistered(type_id)) }
    }
}

fn no_storage(what: &str) -> ! {
    panic!("{what}: no storage in a validation function")
}

impl Externalities for ValidationExternalities {
    fn set_offchain_storage(&mut self, _: &[u8], _: Option<&[u8]>) {
        no_storage("set_offchain_storage")
    }
    fn storage(&mut self, _: &[u8]) -> Option<Vec<u8>> {
        no_storage("storage")
    }
    fn storage_hash(&mut self, _: &[u8]) -> Option<Vec<u8>> {
        no_storage("storage_hash")
    }
    fn child_storage_hash(&mut self, _: &ChildInfo, _: &[u8]) -> Option<Vec<u8>> {
        no_storage("child_storage_hash")
    }
    fn child_storage(&mut self, _: &ChildInfo, _: &[u8]) -> Option<Vec<u8>> {
        no_storage("child_storage")
    }
    fn next_storage_key(&mut self, _: &[u8]) -> Option<Vec<u8>> {
        no_storage("next_storage_key")
    }
    fn next_child_storage_key(&mut self, _: &ChildInfo, _: &[u8]) -> Option<Vec<u8>> {
        no_storage("next_child_storage_key")
    }
    fn kill_child_storage(&mut self, _: &ChildInfo, _: Option<u32>, _: Option<&[u8]>) -> MultiRemovalResults {
        no_storage("kill_child_storage")
    }
    fn clear_prefix(&mut self, _: &[u8], _: Option<u32>, _: Option<&[u8]>) -> MultiRemovalResults {
        no_storage("clear_prefix")
    }
    fn clear_child_prefix(&mut self, _: &ChildInfo, _: &[u8], _: Option<u32>, _: Option<&[u8]>) -> MultiRemovalResults {
        no_storage("clear_child_prefix")
    }
    fn place_storage(&mut self, _: Vec<u8>, _: Option<Vec<u8>>) {
        no_storage("place_storage")
    }
    fn place_child_storage(&mut self, _: &ChildInfo, _: Vec<u8>, _: Option<Vec<u8>>) {
        no_storage("place_child_storage")
    }
    fn storage_root(&mut self, _: StateVersion) -> Vec<u8> {
        no_storage("storage_root")
    }
    fn child_storage_root(&mut self, _: &ChildInfo, _: StateVersion) -> Vec<u8> {
        no_storage("child_storage_root")
    }
    fn storage_append(&mut self, _: Vec<u8>, _: Vec<u8>) {
        no_storage("storage_append")
    }
    fn storage_start_transaction(&mut self) {
        no_storage("storage_start_transaction")
    }
    fn storage_rollback_transaction(&mut self) -> Result<(), ()> {
        no_storage("storage_rollback_transaction")
    }
    fn storage_commit_transaction(&mut self) -> Result<(), ()> {
        no_storage("storage_commit_transaction")
    }
    fn wipe(&mut self) {
        no_storage("wipe")
    }
    fn commit(&mut self) {
        no_storage("commit")
    }
    fn read_write_count(&self) -> (u32, u32, u32, u32) {
        no_storage("read_write_count")
    }
    fn reset_read_write_count(&mut self) {
        no_storage("reset_read_write_count")
    }
    fn get_whitelist(&self) -> Vec<TrackedStorageKey> {
        no_storage("get_whitelist")
    }
    fn set_whitelist(&mut self, _: Vec<TrackedStorageKey>) {
        no_storage("set_whitelist")
    }
    fn get_read_and_written_keys(&self) -> Vec<(Vec<u8>, u32, u32, bool)> {
        no_storage("get_read_and_written_keys")
    }
}
