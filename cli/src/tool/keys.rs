//! `pvf keys`: makes and shows the keys that artifacts are signed with.

use super::{
    args::Keys,
    failure::{Exit, Failure},
};
use pvf_shared::keys::{KeyError, KeyPairFiles, read_public_of};
use serde_json::json;
use std::path::Path;

impl From<KeyError> for Failure {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::Random(_) => Self::NoResult(error.to_string()),
            KeyError::File { .. } | KeyError::Content { .. } | KeyError::Permissions { .. } | KeyError::Options(_) => {
                Self::Input(error.to_string())
            }
        }
    }
}

/// Runs a command about keys.
pub(crate) fn run(command: &Keys, as_json: bool) -> Result<Exit, Failure> {
    match command {
        Keys::New { out } => new(out, as_json),
        Keys::Show { file } => show(file, as_json),
    }
}

fn new(out: &Path, as_json: bool) -> Result<Exit, Failure> {
    let files = KeyPairFiles::at(out);
    let fingerprint = files.create()?.fingerprint();
    let (private, public) = (files.private.display(), files.public.display());
    if as_json {
        let made = json!({
            "fingerprint": fingerprint.to_string(), "private_key": private.to_string(),
            "public_key": public.to_string(),
        });
        outln!("{made}");
        return Ok(Exit::Success);
    }
    outln!("private key  {private}  (mode 0600)\npublic key   {public}\nfingerprint  {fingerprint}\n");
    outln!("prepare workers               --signing-key {private}  (PVF_SIGNING_KEY)");
    outln!("coordinator, execute workers  --trusted-key {public}  (PVF_TRUSTED_KEYS)");
    outln!("The private key makes artifacts that execute workers run: give it to prepare workers only.");
    Ok(Exit::Success)
}

fn show(file: &Path, as_json: bool) -> Result<Exit, Failure> {
    let fingerprint = read_public_of(file)?.fingerprint();
    match as_json {
        true => outln!("{}", json!({ "fingerprint": fingerprint.to_string() })),
        false => outln!("{fingerprint}"),
    }
    Ok(Exit::Success)
}
