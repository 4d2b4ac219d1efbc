//! The keys of the object store. Keys are built and parsed only here.

use crate::ids::{ArtifactId, CodeHash, EngineId};
use object_store::path::Path;

/// A sealed artifact or kept failure: `artifacts/<engine>/<code hash>-<prep hash>`.
pub fn artifact(id: &ArtifactId) -> Path {
    Path::from(format!("artifacts/{}/{}-{}", id.engine, id.code_hash, id.prep_hash))
}

/// Prefix of all artifacts.
pub const ARTIFACTS: &str = "artifacts";

/// Time of the last use of each artifact: lines of seconds since 1970 and an artifact key.
pub fn last_needed() -> Path {
    Path::from("meta/last-needed")
}

/// The codes that operators have pinned: a code hash a line.
pub fn pinned() -> Path {
    Path::from("meta/pinned")
}

/// The last fencing token, as decimal text.
pub fn fencing_token() -> Path {
    Path::from("meta/fencing-token")
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
    // Text of a hash is not unique (case, `0x`), but the key of an artifact is. Other keys are not artifacts, so that
    // pruning does not delete them.
    (artifact(&id) == *path).then_some(id)
}

/// A temporary object that proves write access.
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
            assert_eq!(parse_artifact(&Path::from(other)), None, "a second key for one artifact");
        }
        assert_eq!(parse_artifact(&last_needed()), None);
    }
}
