//! Every key of the object store. No other file makes or parses one.

use crate::ids::{ArtifactId, BlobHash, CodeHash, EngineId};
use object_store::path::Path;

/// A content-addressed blob: code, a PoV, or a result that is too large for the bus.
pub fn blob(hash: &BlobHash) -> Path {
    Path::from(format!("inputs/{hash}"))
}

/// A sealed artifact or failure: `artifacts/<engine>/<code hash>-<prep hash>`.
pub fn artifact(id: &ArtifactId) -> Path {
    Path::from(format!("artifacts/{}/{}-{}", id.engine, id.code_hash, id.prep_hash))
}

/// Where all artifacts are.
pub const ARTIFACTS: &str = "artifacts";

/// When each artifact was last needed: a text file of seconds since 1970 and keys.
pub fn last_needed() -> Path {
    Path::from("meta/last-needed")
}

/// The fencing token of the last coordinator, as text.
pub fn fencing_token() -> Path {
    Path::from("meta/fencing-token")
}

/// Where all artifacts of an engine are.
pub fn artifacts_of(engine: &EngineId) -> Path {
    Path::from(format!("artifacts/{engine}"))
}

/// The inverse of [`artifact`].
pub fn parse_artifact(path: &Path) -> Option<ArtifactId> {
    let text = path.as_ref().strip_prefix("artifacts/")?;
    let (engine, rest) = text.split_once('/')?;
    let (code, prep) = rest.split_once('-')?;
    let id = ArtifactId {
        code_hash: code.parse::<CodeHash>().ok()?,
        prep_hash: prep.parse().ok()?,
        engine: EngineId::parse(engine).ok()?,
    };
    // Hashes can be written in more than one way, keys cannot: what is not ours to make is not ours to delete.
    (artifact(&id) == *path).then_some(id)
}

/// The object that is written and deleted to see whether the store can be written.
pub fn write_probe(id: &str) -> Path {
    Path::from(format!("probe/{id}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::PrepHash;

    #[test]
    fn artifact_keys_round_trip() {
        let id = ArtifactId {
            code_hash: CodeHash([0xab; 32]),
            prep_hash: PrepHash([0xcd; 32]),
            engine: EngineId::parse("wt36.0.20-x86_64-v3-0011223344556677").unwrap(),
        };
        let key = artifact(&id);
        assert_eq!(
            key.as_ref(),
            format!("artifacts/wt36.0.20-x86_64-v3-0011223344556677/{}-{}", "ab".repeat(32), "cd".repeat(32))
        );
        assert_eq!(parse_artifact(&key), Some(id));
        assert_eq!(parse_artifact(&Path::from("artifacts/x/zz")), None);
        let upper = key.as_ref().replace("ab", "AB");
        for other in [upper, key.as_ref().replace("/ab", "/0xab"), key.as_ref().replace("-cd", "-0xcd")] {
            assert_eq!(parse_artifact(&Path::from(other)), None, "two keys for one artifact");
        }
        assert_eq!(parse_artifact(&blob(&BlobHash([0; 32]))), None);
    }
}
