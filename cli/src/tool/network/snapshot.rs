//! A snapshot of a relay chain's limits: the file that `pvf network fetch` writes, and its rules.

use pvf_shared::{ids::CodeHash, params::ExecutorParams};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

/// The format that this version writes and reads.
pub(crate) const FORMAT: &str = "pvf-network/1";
/// A snapshot that is older than this is used with a warning.
const OLD: Duration = Duration::from_secs(90 * 24 * 3600);

/// Limits of a relay chain at one of its blocks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Snapshot {
    /// [`FORMAT`].
    pub(crate) format: String,
    /// Name of the relay chain.
    pub(crate) chain: String,
    /// Hash of its block 0.
    #[serde(default)]
    pub(crate) genesis: Option<String>,
    /// The block.
    #[serde(default)]
    pub(crate) block: Option<Block>,
    /// When the snapshot was made, RFC 3339.
    pub(crate) time: String,
    /// The session of the block's children.
    #[serde(default)]
    pub(crate) session: Option<u32>,
    /// Sizes and counts.
    pub(crate) limits: Limits,
    /// Executor parameters of the session.
    pub(crate) executor_params: ExecutorParams,
    /// What is decided already and holds from a later session on.
    #[serde(default)]
    pub(crate) pending: Vec<Pending>,
    /// The parachains.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) parachains: Vec<Parachain>,
    /// Of a snapshot that no node was asked for: where each field comes from. Every limit must be in it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) provenance: BTreeMap<String, Provenance>,
}

/// A block of the relay chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Block {
    /// Its number.
    pub(crate) number: u64,
    /// Its hash.
    pub(crate) hash: String,
}

/// Sizes (bytes) and counts; `None` is not known.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Limits {
    /// Validation code as submitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) max_code_size: Option<u32>,
    /// Decompressed validation code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) validation_code_bomb_limit: Option<u32>,
    /// SCALE encoding of the PoV as submitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) max_pov_size: Option<u32>,
    /// Head data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) max_head_data_size: Option<u32>,
    /// One message to the relay chain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) max_upward_message_size: Option<u32>,
    /// Messages to the relay chain of one candidate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) max_upward_message_num_per_candidate: Option<u32>,
    /// Messages to other parachains of one candidate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) hrmp_max_message_num_per_candidate: Option<u32>,
    /// One message to another parachain, in a channel that is opened now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) hrmp_channel_max_message_size: Option<u32>,
    /// One message from the relay chain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) max_downward_message_size: Option<u32>,
}

/// A configuration that holds from a later session on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pending {
    /// The first session in which it holds.
    pub(crate) session: u32,
    /// Sizes and counts.
    pub(crate) limits: Limits,
    /// Executor parameters.
    pub(crate) executor_params: ExecutorParams,
}

/// A parachain and its code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Parachain {
    /// Its id.
    pub(crate) id: u32,
    /// Hash of its current code; `None` if it has none.
    #[serde(with = "optional_hash")]
    pub(crate) code_hash: Option<CodeHash>,
    /// Hash of the code to which it is about to upgrade.
    #[serde(default, with = "optional_hash", skip_serializing_if = "Option::is_none")]
    pub(crate) future_code_hash: Option<CodeHash>,
}

/// A hash as text with `0x`, or null.
mod optional_hash {
    use pvf_shared::ids::CodeHash;
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer, de::Error as _};

    #[expect(clippy::ref_option, reason = "serde calls it so")]
    pub(super) fn serialize<S: Serializer>(hash: &Option<CodeHash>, to: S) -> Result<S::Ok, S::Error> {
        hash.map(|hash| format!("0x{hash}")).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<CodeHash>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        text.map(|text| text.parse().map_err(D::Error::custom)).transpose()
    }
}

/// Where a field of a snapshot comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Provenance {
    /// Whether a source says that the network has this value. Otherwise it is what the software's authors use, or what
    /// another network has.
    pub(crate) known: bool,
    /// The source.
    pub(crate) source: String,
}

impl Limits {
    /// The limits that are known, each with its name in the relay chain's configuration.
    pub(crate) fn named(&self) -> Vec<(&'static str, u32)> {
        let all = [
            ("max_code_size", self.max_code_size),
            ("validation_code_bomb_limit", self.validation_code_bomb_limit),
            ("max_pov_size", self.max_pov_size),
            ("max_head_data_size", self.max_head_data_size),
            ("max_upward_message_size", self.max_upward_message_size),
            ("max_upward_message_num_per_candidate", self.max_upward_message_num_per_candidate),
            ("hrmp_max_message_num_per_candidate", self.hrmp_max_message_num_per_candidate),
            ("hrmp_channel_max_message_size", self.hrmp_channel_max_message_size),
            ("max_downward_message_size", self.max_downward_message_size),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

impl Snapshot {
    /// Reads a snapshot.
    ///
    /// # Errors
    /// It is none, is of another version, or breaks a rule.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, String> {
        let snapshot: Self = serde_json::from_slice(text).map_err(|e| format!("not a snapshot: {e}"))?;
        if snapshot.format != FORMAT {
            return Err(format!("format {:?}: this version reads {FORMAT:?}", snapshot.format));
        }
        humantime::parse_rfc3339_weak(&snapshot.time).map_err(|e| format!("time {:?}: {e}", snapshot.time))?;
        if !snapshot.provenance.is_empty() {
            for (name, _) in snapshot.limits.named() {
                if !snapshot.provenance.contains_key(name) {
                    return Err(format!("provenance: {name} is not in it"));
                }
            }
        }
        Ok(snapshot)
    }

    /// The fields that are assumed and not known, by name.
    pub(crate) fn assumed(&self) -> Vec<&str> {
        self.provenance.iter().filter(|(_, of)| !of.known).map(|(name, _)| name.as_str()).collect()
    }

    /// What the user should know before the limits are relied on.
    pub(crate) fn warnings(&self, now: SystemTime) -> Vec<String> {
        let mut warnings = Vec::new();
        let age = humantime::parse_rfc3339_weak(&self.time).ok().and_then(|time| now.duration_since(time).ok());
        if let Some(age) = age.filter(|age| *age > OLD) {
            warnings.push(format!(
                "the limits of {} are {} days old ({}): get new ones with `pvf network fetch`",
                self.chain,
                age.as_secs() / 86_400,
                self.time
            ));
        }
        let assumed = self.assumed();
        if !assumed.is_empty() {
            warnings.push(format!("assumed and not known of {}: {}", self.chain, assumed.join(", ")));
        }
        warnings
    }

    /// One line: which network, when.
    pub(crate) fn title(&self) -> String {
        let block = self.block.as_ref().map(|block| format!(", block {}", block.number)).unwrap_or_default();
        let session = self.session.map(|session| format!(", session {session}")).unwrap_or_default();
        format!("{}{block}{session} ({})", self.chain, self.time.get(..10).unwrap_or(&self.time))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn json() -> Value {
        json!({"format": FORMAT, "chain": "c", "time": "2026-08-01T00:00:00Z", "limits": {"max_code_size": 7},
            "executor_params": [{"MaxMemoryPages": 8192}]})
    }

    fn parse(json: &Value) -> Result<Snapshot, String> {
        Snapshot::parse(json.to_string().as_bytes())
    }

    #[test]
    fn a_snapshot_is_read_and_written() {
        let snapshot = parse(&json()).unwrap();
        assert_eq!(snapshot.executor_params.max_memory_pages(), 8192);
        let written = serde_json::to_vec(&snapshot).unwrap();
        assert_eq!(Snapshot::parse(&written), Ok(snapshot));
    }

    #[test]
    fn parachains_are_read_and_written() {
        let mut with = json();
        let hash = format!("0x{}", "ab".repeat(32));
        with["parachains"] =
            json!([{"id": 1, "code_hash": hash, "future_code_hash": hash}, {"id": 2, "code_hash": null}]);
        let snapshot = parse(&with).unwrap();
        assert_eq!(snapshot.parachains[0].future_code_hash, Some(CodeHash([0xab; 32])));
        assert_eq!(serde_json::to_value(&snapshot).unwrap()["parachains"], with["parachains"]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (field, value, word) in [
            ("parachains", json!([{"id": 1, "code_hash": "0x12"}]), "64 hex digits"),
            ("format", json!("pvf-network/2"), "pvf-network/1"),
            ("time", json!("yesterday"), "yesterday"),
            ("limits", json!({"max_kode_size": 1}), "max_kode_size"),
            ("extra", json!(1), "extra"),
            ("provenance", json!({"x": {"known": true, "source": "s"}}), "max_code_size"),
        ] {
            let mut changed = json();
            changed[field] = value;
            let why = parse(&changed).unwrap_err();
            assert!(why.contains(word), "{why}");
        }
    }

    #[test]
    fn an_old_snapshot_and_assumed_fields_are_warnings() {
        let mut with = json();
        with["provenance"] = json!({"max_code_size": {"known": false, "source": "s"}});
        let snapshot = parse(&with).unwrap();
        let day = |n: u64| humantime::parse_rfc3339(&snapshot.time).unwrap() + Duration::from_secs(n * 86_400);
        assert_eq!(snapshot.warnings(day(90)).len(), 1);
        let warnings = snapshot.warnings(day(91));
        assert!(warnings[0].contains("91 days old") && warnings[1].contains("max_code_size"), "{warnings:?}");
    }
}
