//! The codes that operators have pinned, for the next coordinator.

use super::{BlobStore, StoreError, keys};
use crate::{ids::CodeHash, wire::MAX_PINNED};
use bytes::Bytes;

/// Bound of the list, bytes: twice what a coordinator writes.
const MAX_BYTES: u64 = (MAX_PINNED * 65 * 2) as u64;

impl BlobStore {
    /// Saves which codes are pinned; they replace those that were.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn save_pins(&self, codes: &[CodeHash]) -> Result<(), StoreError> {
        let text: String = codes.iter().map(|code| format!("{code}\n")).collect();
        self.put(&keys::pinned(), Bytes::from(text)).await
    }

    /// The codes that are pinned. Lines that name no code are left out, with a warning.
    ///
    /// # Errors
    /// Those of the store; it is none that nothing was ever pinned.
    pub async fn read_pins(&self) -> Result<Vec<CodeHash>, StoreError> {
        match self.get(&keys::pinned(), MAX_BYTES).await {
            Ok(bytes) => {
                let text = String::from_utf8_lossy(&bytes);
                let codes: Vec<_> = text.lines().filter_map(|line| line.parse().ok()).collect();
                let left_out = text.lines().count() - codes.len();
                if left_out > 0 {
                    tracing::warn!(key = %keys::pinned(), left_out, "lines of the pinned codes name no code");
                }
                Ok(codes)
            }
            Err(StoreError::NotFound { .. }) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }
}
