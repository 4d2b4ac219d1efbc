//! The keys that artifacts are signed with (Ed25519).
//!
//! Prepare workers hold the private key: whoever has it can create artifacts that execute workers map and run. All
//! other roles hold public keys, several while a key is replaced by another. A fleet without keys uses a built-in key
//! that everybody has, and says so: it detects damage, and no forgery.

#[cfg(feature = "executable")]
mod args;
mod files;

#[cfg(feature = "executable")]
pub use args::KeyArgs;
pub use files::{KeyPairFiles, own_keys, read_private, read_public, read_public_of};

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
pub use pvf_proto::keys::{KeyFingerprint, listed};
use pvf_proto::wire::MAX_TRUSTED_KEYS;
use std::{fmt, path::PathBuf, sync::Arc};

/// Why a key cannot be used. No message contains a part of a private key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A file cannot be read or written.
    #[error("{what} {}: {source}", .file.display())]
    File {
        /// What the file is.
        what: &'static str,
        /// The file.
        file: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// A file has no key of the expected kind.
    #[error("{what} {}: {why}", .file.display())]
    Content {
        /// What the file should be.
        what: &'static str,
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Others than the owner can access the file of a private key.
    #[error(
        "private key {}: others can access it (mode {mode:04o}); make it the owner's alone: chmod 600 {}",
        .file.display(), .file.display()
    )]
    Permissions {
        /// The file.
        file: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The operating system gives no random bytes.
    #[error("no random bytes for a new key: {0}")]
    Random(String),
    /// Options of a role are missing or contradict each other.
    #[error("{0}")]
    Options(String),
}

/// A private key. Erased from memory when dropped.
pub struct PrivateKey(SigningKey);

impl PrivateKey {
    /// A new key.
    ///
    /// # Errors
    /// [`KeyError::Random`].
    pub fn generate() -> Result<Self, KeyError> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|error| KeyError::Random(error.to_string()))?;
        Ok(Self::from_seed(seed))
    }

    /// The key of this seed, which is the private key in the terms of Ed25519.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(SigningKey::from_bytes(&seed))
    }

    /// The built-in key of fleets without keys. Everybody has it.
    pub fn unsigned() -> Self {
        Self::from_seed(blake3::derive_key("pvf-fleet 2026 artifacts of a fleet without keys", b""))
    }

    /// Its public key.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    /// Signs a message.
    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({}, …)", self.public().fingerprint())
    }
}

/// A public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// The key with these bytes; `None` if they are no key.
    pub fn from_bytes(bytes: &[u8; 32]) -> Option<Self> {
        VerifyingKey::from_bytes(bytes).ok().filter(|key| !key.is_weak()).map(Self)
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// Its name for people.
    pub fn fingerprint(&self) -> KeyFingerprint {
        fingerprint_of(KeyFingerprint::of(self.as_bytes()))
    }

    /// Whether this is the signature of a message by this key.
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        self.0.verify_strict(message, &Signature::from_bytes(signature)).is_ok()
    }
}

/// The same fingerprint; that of the built-in key by its name.
pub(crate) fn fingerprint_of(fingerprint: KeyFingerprint) -> KeyFingerprint {
    static UNSIGNED: std::sync::OnceLock<KeyFingerprint> = std::sync::OnceLock::new();
    let unsigned = UNSIGNED.get_or_init(|| KeyFingerprint::of(PrivateKey::unsigned().public().as_bytes()));
    if fingerprint == *unsigned { KeyFingerprint::Unsigned } else { fingerprint }
}

/// What one role holds: the private key if it prepares, and the public keys that it trusts. Clones share them.
#[derive(Debug, Clone)]
pub struct ArtifactKeys {
    signing: Option<Arc<PrivateKey>>,
    trusted: Arc<[PublicKey]>,
}

impl ArtifactKeys {
    /// No keys: nothing can be signed, and no artifact is valid. For clients, which use no artifacts.
    pub fn none() -> Self {
        Self { signing: None, trusted: Arc::new([]) }
    }

    /// The built-in key of fleets without keys. It detects damage, but not forgery.
    pub fn unsigned() -> Self {
        Self::of_pair(PrivateKey::unsigned())
    }

    /// A new key, which only this process has.
    ///
    /// # Errors
    /// [`KeyError::Random`].
    pub fn generate() -> Result<Self, KeyError> {
        PrivateKey::generate().map(Self::of_pair)
    }

    /// Signs with this key and trusts it.
    pub fn of_pair(key: PrivateKey) -> Self {
        let trusted = Arc::new([key.public()]);
        Self { signing: Some(Arc::new(key)), trusted }
    }

    /// Signs with this key, and trusts it and the others.
    ///
    /// # Errors
    /// [`KeyError::Options`]: too many keys.
    pub fn signing(key: PrivateKey, others: &[PublicKey]) -> Result<Self, KeyError> {
        let all = [&[key.public()], others].concat();
        Ok(Self { signing: Some(Arc::new(key)), ..Self::trusting(&all)? })
    }

    /// Trusts these keys, and signs nothing.
    ///
    /// # Errors
    /// [`KeyError::Options`]: too many keys.
    pub fn trusting(keys: &[PublicKey]) -> Result<Self, KeyError> {
        let mut trusted = Vec::<PublicKey>::new();
        for key in keys {
            if !trusted.contains(key) {
                trusted.push(*key);
            }
        }
        if trusted.len() > MAX_TRUSTED_KEYS {
            let why = format!("{} trusted keys, but at most {MAX_TRUSTED_KEYS} are allowed", trusted.len());
            return Err(KeyError::Options(why));
        }
        Ok(Self { signing: None, trusted: trusted.into() })
    }

    /// The private key, if this role has one.
    pub fn private(&self) -> Option<&PrivateKey> {
        self.signing.as_deref()
    }

    /// The public keys whose artifacts are valid.
    pub fn trusted(&self) -> &[PublicKey] {
        &self.trusted
    }

    /// The key that artifacts are signed with, by name.
    pub fn signs_with(&self) -> Option<KeyFingerprint> {
        self.signing.as_ref().map(|key| key.public().fingerprint())
    }

    /// The trusted keys, by name.
    pub fn trusts(&self) -> Vec<KeyFingerprint> {
        self.trusted.iter().map(PublicKey::fingerprint).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_shows_a_private_key() {
        let key = PrivateKey::from_seed([0xab; 32]);
        let keys = ArtifactKeys::of_pair(PrivateKey::from_seed([0xab; 32]));
        for text in [format!("{key:?}"), format!("{keys:?}"), format!("{keys:#?}")] {
            assert!(!text.contains("abab") && !text.contains("171, 171"), "{text}");
            assert!(text.contains(&key.public().fingerprint().to_string()) || text.contains("PublicKey"), "{text}");
        }
    }

    #[test]
    fn the_built_in_key_is_named_and_new_keys_differ() {
        assert_eq!(ArtifactKeys::unsigned().signs_with(), Some(KeyFingerprint::Unsigned));
        let [one, other] = [(); 2].map(|()| ArtifactKeys::generate().unwrap());
        assert_ne!(one.trusts(), other.trusts());
        assert!(matches!(one.signs_with(), Some(KeyFingerprint::Key(_))));
        assert_eq!(ArtifactKeys::none().trusts(), []);
    }

    #[test]
    fn trusted_keys_are_counted_once_and_have_a_limit() {
        let keys: Vec<_> = (0..=MAX_TRUSTED_KEYS as u8).map(|n| PrivateKey::from_seed([n; 32]).public()).collect();
        let twice = [&keys[..2], &keys[..2]].concat();
        assert_eq!(ArtifactKeys::trusting(&twice).unwrap().trusted(), &keys[..2]);
        assert!(ArtifactKeys::trusting(&keys).unwrap_err().to_string().contains("at most 8"));
        let both = ArtifactKeys::signing(PrivateKey::from_seed([0; 32]), &keys[1..2]).unwrap();
        assert_eq!((both.trusted(), both.signs_with()), (&keys[..2], Some(keys[0].fingerprint())));
    }

    #[test]
    fn bytes_that_are_no_key_or_a_weak_one_are_refused() {
        // About half of all values of a coordinate are on the curve.
        assert!((2..32).any(|n| PublicKey::from_bytes(&[n; 32]).is_none()));
        // The neutral element of the curve: with it a signature of one message is one of every message.
        let mut neutral = [0; 32];
        neutral[0] = 1;
        assert!(PublicKey::from_bytes(&neutral).is_none());
        let key = PrivateKey::from_seed([1; 32]).public();
        assert_eq!(PublicKey::from_bytes(key.as_bytes()), Some(key));
    }
}
