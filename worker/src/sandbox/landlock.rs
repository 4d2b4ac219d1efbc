//! Landlock with no rules at all: whatever the kernel's landlock can handle is denied. The empty root and seccomp
//! deny the same; this is what is left if either has a hole.

use landlock::{ABI, Access as _, AccessFs, AccessNet, CompatLevel, Compatible as _, Ruleset, RulesetAttr as _, Scope};
use std::fs;

/// What must be there: files (ABI 1 to 5), TCP (4), abstract sockets and signals (6).
const WANTED: ABI = ABI::V6;

pub(super) fn restrict() -> Result<(), String> {
    let ruleset = || {
        Ruleset::default()
            .set_compatibility(CompatLevel::HardRequirement)
            .handle_access(AccessFs::from_all(WANTED))?
            .handle_access(AccessNet::from_all(WANTED))?
            .scope(Scope::from_all(WANTED))?
            .create()?
            .restrict_self()
    };
    match ruleset() {
        Ok(status) if status.ruleset == landlock::RulesetStatus::FullyEnforced => Ok(()),
        Ok(status) => Err(format!("the kernel enforces it only in part: {status:?}")),
        Err(error) => Err(error.to_string()),
    }
}

/// Whether it holds: listing a directory needs no privileges and no other mechanism forbids it.
pub(super) fn holds() -> Result<(), String> {
    match fs::read_dir("/") {
        Err(error) if error.raw_os_error() == Some(libc::EACCES) => Ok(()),
        Err(error) => Err(format!("listing / fails otherwise than it should: {error}")),
        Ok(_) => Err("/ can be listed".into()),
    }
}
