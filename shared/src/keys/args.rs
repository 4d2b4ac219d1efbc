//! The command line of keys, the same for every program.

use super::{ArtifactKeys, KeyError, read_private, read_public};
use clap::builder::{FalseyValueParser, OsStringValueParser, TypedValueParser};
use std::{ffi::OsString, path::PathBuf};

/// The keys that artifacts are signed with.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Keys of artifacts")]
pub struct KeyArgs {
    /// File with the private key that artifacts are signed with, for prepare workers only; `pvf keys new` makes one
    #[arg(long, global = true, env = "PVF_SIGNING_KEY", value_name = "FILE", value_parser = path())]
    pub signing_key: Option<PathBuf>,
    /// File with a public key whose artifacts are valid; can be repeated, and take several: old.pub,new.pub
    #[arg(long = "trusted-key", global = true, env = "PVF_TRUSTED_KEYS", value_name = "FILE", value_delimiter = ',',
        value_parser = path())]
    pub trusted_keys: Vec<PathBuf>,
    /// Work without keys: every process that can write to the store can run code on execute workers
    #[arg(long, global = true, env = "PVF_UNSIGNED", value_parser = FalseyValueParser::new())]
    pub unsigned: bool,
}

/// A path; an empty one, as an empty variable gives, is none.
fn path() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

const MAKE: &str = "make them with `pvf keys new`, or work without keys: --unsigned (PVF_UNSIGNED=1)";

impl KeyArgs {
    fn signing_key(&self) -> Option<&PathBuf> {
        self.signing_key.as_ref().filter(|path| !path.as_os_str().is_empty())
    }

    fn trusted_keys(&self) -> impl Iterator<Item = &PathBuf> {
        self.trusted_keys.iter().filter(|path| !path.as_os_str().is_empty())
    }

    /// Whether none of the options is given.
    pub fn is_empty(&self) -> bool {
        !self.unsigned && self.signing_key().is_none() && self.trusted_keys().next().is_none()
    }

    /// The built-in key, if it is asked for.
    fn unsigned(&self) -> Result<Option<ArtifactKeys>, KeyError> {
        let keys = Self { unsigned: false, ..self.clone() };
        match (self.unsigned, keys.is_empty()) {
            (false, _) => Ok(None),
            (true, true) => {
                tracing::warn!(
                    "artifacts are not signed (--unsigned): whoever can write to the store can replace them"
                );
                Ok(Some(ArtifactKeys::unsigned()))
            }
            (true, false) => {
                let why = "--unsigned (PVF_UNSIGNED) contradicts --signing-key and --trusted-key: leave it out";
                Err(KeyError::Options(why.into()))
            }
        }
    }

    fn trusted(&self) -> Result<Vec<super::PublicKey>, KeyError> {
        self.trusted_keys().map(|path| read_public(path)).collect()
    }

    /// The keys of a role that signs: the private key, and the public keys that it trusts besides its own.
    ///
    /// # Errors
    /// There is no private key, or a file cannot be used.
    pub fn of_signer(&self) -> Result<ArtifactKeys, KeyError> {
        if let Some(unsigned) = self.unsigned()? {
            return Ok(unsigned);
        }
        let Some(path) = self.signing_key() else {
            let why = "a prepare worker needs the private key that artifacts are signed with";
            return Err(KeyError::Options(format!("{why}: --signing-key FILE (PVF_SIGNING_KEY); {MAKE}")));
        };
        ArtifactKeys::signing(read_private(path)?, &self.trusted()?)
    }

    /// The keys of a role that only verifies; `role` is its name.
    ///
    /// # Errors
    /// There is no public key, there is a private one, or a file cannot be used.
    pub fn of_verifier(&self, role: &str) -> Result<ArtifactKeys, KeyError> {
        if let Some(unsigned) = self.unsigned()? {
            return Ok(unsigned);
        }
        if self.signing_key().is_some() {
            let why = "must not have the private key of artifacts: remove --signing-key (PVF_SIGNING_KEY)";
            return Err(KeyError::Options(format!("{role} {why}")));
        }
        let trusted = self.trusted()?;
        if trusted.is_empty() {
            let why = "needs the public keys of artifacts: --trusted-key FILE (PVF_TRUSTED_KEYS)";
            return Err(KeyError::Options(format!("{role} {why}; {MAKE}")));
        }
        ArtifactKeys::trusting(&trusted)
    }

    /// The options as a command line, those of which `is_given` is true.
    pub fn forwarded(&self, is_given: &dyn Fn(&str) -> bool) -> Vec<OsString> {
        let mut options = Vec::new();
        if let (true, Some(path)) = (is_given("signing_key"), self.signing_key()) {
            options.extend(["--signing-key".into(), path.into()]);
        }
        if is_given("trusted_keys") {
            for path in self.trusted_keys() {
                options.extend(["--trusted-key".into(), path.into()]);
            }
        }
        if is_given("unsigned") && self.unsigned {
            options.push("--unsigned".into());
        }
        options
    }
}

#[cfg(test)]
mod tests {
    use super::{super::KeyPairFiles, *};
    use clap::Parser as _;
    use std::path::Path;

    #[derive(Debug, clap::Parser)]
    struct Program {
        #[command(flatten)]
        keys: KeyArgs,
    }

    fn parse(words: &[&str]) -> KeyArgs {
        Program::try_parse_from(["program"].iter().chain(words)).unwrap().keys
    }

    fn pair(folder: &Path, name: &str) -> (String, String) {
        let files = KeyPairFiles::at(&folder.join(name));
        files.create().unwrap();
        (files.private.display().to_string(), files.public.display().to_string())
    }

    #[test]
    fn each_role_needs_its_keys() {
        let folder = tempfile::tempdir().unwrap();
        let [(old, old_public), (_, new_public)] = ["old", "new"].map(|name| pair(folder.path(), name));
        let both = format!("{old_public},{new_public}");
        for words in [&["--trusted-key", &old_public, "--trusted-key", &new_public][..], &["--trusted-key", &both]] {
            let keys = parse(words).of_verifier("a coordinator").unwrap();
            assert_eq!((keys.trusted().len(), keys.signs_with()), (2, None));
        }
        let signer = parse(&["--signing-key", &old, "--trusted-key", &new_public]).of_signer().unwrap();
        assert_eq!(signer.signs_with(), Some(signer.trusts()[0]));
        assert_eq!(signer.trusted().len(), 2);
        let verifier = |words: &[&str]| parse(words).of_verifier("an execute worker").unwrap_err().to_string();
        assert!(verifier(&["--signing-key", &old]).contains("an execute worker must not have the private key"));
        for none in [verifier(&[]), verifier(&["--trusted-key", ""]), verifier(&["--signing-key", ""])] {
            assert!(none.contains("--trusted-key FILE") && none.contains("pvf keys new"), "{none}");
        }
        let none = parse(&["--trusted-key", &old_public]).of_signer().unwrap_err().to_string();
        assert!(none.contains("--signing-key FILE (PVF_SIGNING_KEY)") && none.contains("--unsigned"), "{none}");
    }

    #[test]
    fn no_keys_are_used_only_when_asked_for() {
        let unsigned = parse(&["--unsigned"]);
        for keys in [unsigned.of_signer().unwrap(), unsigned.of_verifier("a coordinator").unwrap()] {
            assert_eq!(keys.trusts(), [crate::keys::KeyFingerprint::Unsigned]);
        }
        for option in ["--signing-key", "--trusted-key"] {
            let error = parse(&["--unsigned", option, "/k"]).of_signer().unwrap_err().to_string();
            assert!(error.contains("contradicts"), "{error}");
        }
        assert!(parse(&[]).is_empty() && parse(&["--trusted-key", ""]).is_empty() && !unsigned.is_empty());
    }

    #[test]
    fn options_are_forwarded_as_they_were_given() {
        let words = ["--signing-key", "a", "--trusted-key", "b", "--trusted-key", "c"];
        assert_eq!(parse(&words).forwarded(&|_| true), words);
        assert_eq!(parse(&["--unsigned"]).forwarded(&|_| true), ["--unsigned"]);
        assert!(parse(&words).forwarded(&|_| false).is_empty());
    }
}
