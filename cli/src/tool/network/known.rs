//! The snapshots that come with the tool.

use super::snapshot::Snapshot;

/// Names of the networks that have one.
pub(super) const NAMES: [&str; 4] = ["polkadot", "kusama", "westend", "paseo"];

/// The snapshot of this network, if it comes with the tool.
pub(super) fn find(name: &str) -> Option<Result<Snapshot, String>> {
    let text = match name {
        "polkadot" => include_str!("../../../networks/polkadot.json"),
        "kusama" => include_str!("../../../networks/kusama.json"),
        "westend" => include_str!("../../../networks/westend.json"),
        "paseo" => include_str!("../../../networks/paseo.json"),
        _ => return None,
    };
    Some(Snapshot::parse(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_snapshot_is_complete_and_says_where_its_fields_come_from() {
        for name in NAMES {
            let snapshot = find(name).unwrap().unwrap();
            assert_eq!(snapshot.chain, name);
            assert_eq!(snapshot.limits.named().len(), 9, "{name}");
            for field in snapshot.limits.named().into_iter().map(|(field, _)| field).chain(["executor_params"]) {
                let of = snapshot.provenance.get(field).unwrap_or_else(|| panic!("{name}: {field}"));
                assert!(!of.source.is_empty());
            }
            let bomb = snapshot.limits.max_code_size.unwrap() * 10;
            assert_eq!(snapshot.limits.validation_code_bomb_limit, Some(bomb), "{name}");
            assert_eq!(snapshot.executor_params.check_consistency(), Ok(()), "{name}");
        }
        assert!(find("moonbeam").is_none());
    }
}
