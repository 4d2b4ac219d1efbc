//! Landlock with an empty rule set: the kernel denies every access that its landlock version handles. The empty root
//! and seccomp deny the same accesses; landlock still holds if either has a hole.

use landlock::{ABI, Access as _, AccessFs, AccessNet, CompatLevel, Compatible as _, Ruleset, RulesetAttr as _, Scope};
use std::fs;

/// The required landlock version: files (ABI 1 to 5), TCP (4), abstract UNIX sockets and signals (6).
const REQUIRED: ABI = ABI::V6;

pub(super) fn restrict() -> Result<(), String> {
    let ruleset = || {
        Ruleset::default()
            .set_compatibility(CompatLevel::HardRequirement)
            .handle_access(AccessFs::from_all(REQUIRED))?
            .handle_access(AccessNet::from_all(REQUIRED))?
            .scope(Scope::from_all(REQUIRED))?
            .create()?
            .restrict_self()
    };
    match ruleset() {
        Ok(status) if status.ruleset == landlock::RulesetStatus::FullyEnforced => Ok(()),
        Ok(status) => Err(format!("only partly enforced by this kernel: {status:?}")),
        Err(error) => Err(error.to_string()),
    }
}

/// Verifies that listing a directory is refused: it needs no privileges, and no other mechanism forbids it.
pub(super) fn verify() -> Result<(), String> {
    match fs::read_dir("/") {
        Err(error) if error.raw_os_error() == Some(libc::EACCES) => Ok(()),
        Err(error) => Err(format!("unexpected error while listing /: {error}")),
        Ok(_) => Err("listing / not refused".into()),
    }
}
