//! Reproducible signatures.
//!
//! `sp-core` uses randomness in sr25519 signatures. The blocks here must be the same bytes on every machine, so the
//! witness is derived from the secret key and the message alone, as in ed25519. The keys are public test keys.

use rand_core::{CryptoRng, Error, RngCore, impls};
use schnorrkel::{Keypair, context::attach_rng, signing_context};
use sp_core::{Pair, ecdsa, ed25519, sr25519};
use sp_runtime::{AccountId32, MultiSignature, MultiSigner, traits::IdentifyAccount};

/// A generator of zeros: the witness then depends on the secret nonce and the transcript only.
struct NoRandomness;

impl RngCore for NoRandomness {
    fn next_u32(&mut self) -> u32 {
        impls::next_u32_via_fill(self)
    }
    fn next_u64(&mut self) -> u64 {
        impls::next_u64_via_fill(self)
    }
    fn fill_bytes(&mut self, to: &mut [u8]) {
        to.fill(0);
    }
    fn try_fill_bytes(&mut self, to: &mut [u8]) -> Result<(), Error> {
        self.fill_bytes(to);
        Ok(())
    }
}

impl CryptoRng for NoRandomness {}

/// Signs like `sp_core::sr25519::Pair::sign`, without randomness.
pub fn sign_sr25519(pair: &sr25519::Pair, message: &[u8]) -> sr25519::Signature {
    let keys: &Keypair = pair.as_ref();
    let signature = keys.sign(attach_rng(signing_context(b"substrate").bytes(message), NoRandomness));
    sr25519::Signature::from_raw(signature.to_bytes())
}

/// A key that signs extrinsics, of any of the three kinds.
pub enum Key {
    /// Schnorr over Ristretto.
    Sr25519(sr25519::Pair),
    /// Ed25519.
    Ed25519(ed25519::Pair),
    /// ECDSA over secp256k1.
    Ecdsa(ecdsa::Pair),
}

impl Key {
    /// The account of the key.
    pub fn account(&self) -> AccountId32 {
        match self {
            Self::Sr25519(pair) => MultiSigner::Sr25519(pair.public()),
            Self::Ed25519(pair) => MultiSigner::Ed25519(pair.public()),
            Self::Ecdsa(pair) => MultiSigner::Ecdsa(pair.public()),
        }
        .into_account()
    }

    /// The signature of `message`, the same on every run.
    pub fn sign(&self, message: &[u8]) -> MultiSignature {
        match self {
            Self::Sr25519(pair) => MultiSignature::Sr25519(sign_sr25519(pair, message)),
            Self::Ed25519(pair) => MultiSignature::Ed25519(pair.sign(message)),
            Self::Ecdsa(pair) => MultiSignature::Ecdsa(pair.sign(message)),
        }
    }
}
