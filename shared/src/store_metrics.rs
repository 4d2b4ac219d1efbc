//! The metrics of the store, which every role has that uses one.

use crate::store::{BlobStore, OPERATIONS, StoreResult};
use prometheus::{HistogramOpts, HistogramVec, Registry};
use std::{sync::Arc, time::Duration};

/// Bounds of the buckets, seconds: a local folder takes less than a millisecond, and what takes longer than a minute is
/// given up.
const SECONDS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0];

/// A store whose operations are measured as `pvf_store_seconds`, by operation and result.
///
/// # Errors
/// The registry has a metric of this name already.
pub fn measured(store: BlobStore, registry: &Registry) -> prometheus::Result<BlobStore> {
    let opts = HistogramOpts::new("pvf_store_seconds", "Operations of the object store, by how they ended (s)");
    let seconds = HistogramVec::new(opts.buckets(SECONDS.to_vec()), &["op", "result"])?;
    for op in OPERATIONS {
        for result in [StoreResult::Ok, StoreResult::Failed, StoreResult::Stalled] {
            seconds.get_metric_with_label_values(&[&label(op), result.name()])?;
        }
    }
    registry.register(Box::new(seconds.clone()))?;
    Ok(store.watched_by(Arc::new(move |op, result, took: Duration| {
        seconds.with_label_values(&[label(op).as_str(), result.name()]).observe(took.as_secs_f64());
    })))
}

fn label(op: &str) -> String {
    op.replace(' ', "-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::ArtifactKeys;
    use prometheus::TextEncoder;

    #[tokio::test]
    async fn operations_are_measured_by_how_they_ended() {
        let folder = tempfile::tempdir().unwrap();
        let registry = Registry::new();
        let store = BlobStore::open(folder.path().to_str().unwrap(), ArtifactKeys::unsigned()).unwrap();
        let store = measured(store, &registry).unwrap();
        store.check().await.unwrap();
        let text = TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        assert!(text.contains("pvf_store_seconds_count{op=\"write\",result=\"ok\"} 1"), "{text}");
        assert!(text.contains("pvf_store_seconds_count{op=\"read\",result=\"failed\"} 0"), "{text}");
        assert!(measured(store, &registry).is_err(), "one store for each process");
    }
}
