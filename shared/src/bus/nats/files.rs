//! Files with secrets of the bus.

use super::connection::{Credentials, Secret};
use std::{
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

/// The largest secret, bytes; a credentials file has about one KiB.
const MAX_SECRET: u64 = 64 << 10;

/// Reads a secret without the white space around it. A file that others may read is used, with a warning.
pub(super) fn read_secret(file: &Path) -> Result<Secret, String> {
    let wrong = |why: &dyn std::fmt::Display| format!("{}: {why}", file.display());
    let meta = std::fs::metadata(file).map_err(|e| wrong(&e))?;
    if meta.len() > MAX_SECRET {
        return Err(wrong(&format_args!("{} bytes, more than the {MAX_SECRET} of any secret", meta.len())));
    }
    let text = std::fs::read_to_string(file).map_err(|e| wrong(&e))?;
    let text = text.trim();
    if text.is_empty() {
        return Err(wrong(&"is empty"));
    }
    if meta.permissions().mode() & 0o077 != 0 {
        tracing::warn!(file = %file.display(), "other users may read this secret; chmod 600 helps");
    }
    Ok(Secret(text.to_owned()))
}

/// Reads a credentials file. The client library looks for lines, of which the last one must be complete.
pub(super) fn read_credentials(file: &Path) -> Result<Credentials, String> {
    let Secret(text) = read_secret(file)?;
    if !text.contains("BEGIN NATS USER JWT") || !text.contains("BEGIN USER NKEY SEED") {
        return Err(format!("{}: no JWT and seed of a user", file.display()));
    }
    Ok(Credentials::Jwt(Secret(text + "\n")))
}

/// The content of a credentials file for this JWT and seed.
pub(super) fn credentials_of(jwt: &str, seed: &str) -> Credentials {
    Credentials::Jwt(Secret(format!(
        "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    )))
}

/// A path in which `~/` stands for the home folder.
pub(super) fn expanded(path: &str, env: &dyn Fn(&str) -> Option<String>) -> PathBuf {
    match (path.strip_prefix("~/"), env("HOME")) {
        (Some(rest), Some(home)) => Path::new(&home).join(rest),
        _ => PathBuf::from(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_read_without_white_space_and_are_never_empty_or_huge() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        std::fs::write(&file, "  s3cret \n").unwrap();
        assert_eq!(read_secret(&file).unwrap().0, "s3cret");
        for (content, word) in [(String::from("\n"), "is empty"), ("x".repeat(70_000), "70000 bytes")] {
            std::fs::write(&file, content).unwrap();
            let error = read_secret(&file).unwrap_err();
            assert!(error.contains(word) && error.contains("secret"), "{error}");
        }
        assert!(read_secret(&folder.path().join("missing")).unwrap_err().contains("No such file"));
    }
}
