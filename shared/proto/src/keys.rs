//! Fingerprints of the keys that artifacts are signed with, as messages and people see them.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::{fmt, str::FromStr};

/// Length of a fingerprint, bytes.
const LEN: usize = 8;
/// How the key of unsigned fleets is shown.
const UNSIGNED: &str = "unsigned";

/// Names a public key, for people and for comparisons between roles: the first 8 bytes of its BLAKE3 hash, as 16
/// hexadecimal digits. It is no key, and proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum KeyFingerprint {
    /// The built-in key of unsigned fleets, which everybody has. Shown as `unsigned`.
    Unsigned,
    /// Any other key.
    Key([u8; LEN]),
}

impl KeyFingerprint {
    /// The fingerprint of these bytes of a public key.
    pub fn of(public_key: &[u8; 32]) -> Self {
        let mut fingerprint = [0; LEN];
        fingerprint.copy_from_slice(&blake3::hash(public_key).as_bytes()[..LEN]);
        Self::Key(fingerprint)
    }
}

/// Fingerprints for people, separated by commas; `none` if there are none.
pub fn listed(fingerprints: &[KeyFingerprint]) -> String {
    match fingerprints {
        [] => "none".into(),
        some => some.iter().map(KeyFingerprint::to_string).collect::<Vec<_>>().join(", "),
    }
}

impl fmt::Display for KeyFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsigned => f.write_str(UNSIGNED),
            Self::Key(bytes) => f.write_str(&hex::encode(bytes)),
        }
    }
}

impl FromStr for KeyFingerprint {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if text == UNSIGNED {
            return Ok(Self::Unsigned);
        }
        let mut bytes = [0; LEN];
        let is_lower = text.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
        match hex::decode_to_slice(text, &mut bytes) {
            Ok(()) if is_lower => Ok(Self::Key(bytes)),
            _ => Err("a fingerprint of a key is 16 hexadecimal digits, or `unsigned`".into()),
        }
    }
}

impl Serialize for KeyFingerprint {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for KeyFingerprint {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_round_trip_and_have_one_form() {
        let key = KeyFingerprint::of(&[7; 32]);
        for fingerprint in [key, KeyFingerprint::Unsigned] {
            assert_eq!(fingerprint.to_string().parse(), Ok(fingerprint));
        }
        let text = key.to_string();
        assert_eq!(text.len(), 16);
        for wrong in ["", "00", &format!("{text}0"), &text.to_uppercase(), "UNSIGNED", " unsigned"] {
            if *wrong != *text {
                assert!(wrong.parse::<KeyFingerprint>().is_err(), "{wrong:?}");
            }
        }
        assert_eq!(listed(&[]), "none");
        assert_eq!(listed(&[KeyFingerprint::Unsigned, key]), format!("unsigned, {text}"));
    }
}
