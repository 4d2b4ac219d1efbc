//! `pvf artifacts rm` and `prune`: artifacts that are removed from the store.

use super::{Operating, not_now};
use crate::tool::{
    ago,
    api::{
        args::{ArtifactsPrune, ArtifactsRm},
        artifacts::one,
    },
    args::Global,
    failure::{Exit, Failure},
    table::Table,
    text::escaped,
};
use pvf_shared::{
    ids::{ArtifactId, EngineId},
    units::human_bytes,
    wire::{ArtifactChoice, Fate, FromOperator, Removal, Removed, RemovedArtifact},
};
use serde_json::{Value, json};

/// Exit code 2 if there is no such artifact or it is pinned, 3 if the store did not remove one.
pub(crate) async fn rm(global: &Global, args: &ArtifactsRm) -> Result<Exit, Failure> {
    let operating = Operating::connect(global, "artifacts").await?;
    let (named, artifacts) = match (&args.artifact, args.code) {
        (Some(named), _) => (escaped(named), ArtifactChoice::One(id_of(&one(&operating.api(), named).await?.0)?)),
        (None, Some(code)) => (code.to_string(), ArtifactChoice::Code(code)),
        (None, None) => return Err(Failure::Input("CODE_HASH or --artifact is required".into())),
    };
    let removed = all(&operating, FromOperator::Remove { artifacts }).await?;
    let removed = removed.ok_or_else(|| {
        Failure::Input(format!("{named}: it is pinned (`pvf artifacts unpin CODE_HASH`), and nothing is removed"))
    })?;
    if removed.artifacts.is_empty() {
        return Err(Failure::Input(format!("{named}: there is no artifact of this code (`pvf artifacts` lists them)")));
    }
    Ok(shown(global, &removed, false))
}

/// Exit code 3 if the store did not remove one.
pub(crate) async fn prune(global: &Global, args: &ArtifactsPrune) -> Result<Exit, Failure> {
    let operating = Operating::connect(global, "artifacts").await?;
    let ArtifactsPrune { older_than, dry_run } = *args;
    let removed = all(&operating, FromOperator::Prune { older_than, dry_run }).await?.unwrap_or_default();
    Ok(shown(global, &removed, dry_run))
}

/// Repeats a request for as long as it removes something and there is more. `None`: the code is pinned.
async fn all(operating: &Operating, message: FromOperator) -> Result<Option<Removed>, Failure> {
    let mut all = Removed::default();
    loop {
        match operating.act(operating.operator.remove(&message)).await? {
            Removal::Done(some) => {
                let goes_on = some.more && some.artifacts.iter().any(|entry| entry.fate == Fate::Removed);
                all.artifacts.extend(some.artifacts);
                (all.more, all.older_than) = (some.more, some.older_than);
                if !goes_on {
                    return Ok(Some(all));
                }
            }
            Removal::Pinned => return Ok(None),
            Removal::NotNow(why) => return Err(not_now(&why)),
        }
    }
}

/// The id of an artifact of the read API.
fn id_of(artifact: &Value) -> Result<ArtifactId, Failure> {
    let text = |name: &str| artifact[name].as_str().unwrap_or_default();
    let wrong = |error| Failure::no_result("answer of the coordinator", error);
    Ok(ArtifactId {
        code_hash: text("code").parse().map_err(wrong)?,
        prep_hash: text("prep").parse().map_err(wrong)?,
        engine: EngineId::parse(text("engine")).map_err(wrong)?,
    })
}

/// Its name in JSON, and why.
fn described(fate: &Fate) -> (&'static str, Option<&str>) {
    match fate {
        Fate::Removed => ("removed", None),
        Fate::Kept => ("would-be-removed", None),
        Fate::Preparing => ("preparing", None),
        Fate::Failed(why) => ("failed", Some(why)),
    }
}

/// Shows what was removed, or would be.
fn shown(global: &Global, removed: &Removed, dry_run: bool) -> Exit {
    if global.json {
        outln!("{}", object(removed, dry_run));
    } else {
        lines(removed, dry_run).iter().for_each(|line| outln!("{line}"));
    }
    let has_failed = removed.artifacts.iter().any(|entry| matches!(entry.fate, Fate::Failed(_)));
    if has_failed { Exit::NoResult } else { Exit::Success }
}

/// How many were removed, or would be, and their size.
fn totals(removed: &Removed) -> (usize, u64) {
    let gone = removed.artifacts.iter().filter(|entry| matches!(entry.fate, Fate::Removed | Fate::Kept));
    gone.fold((0, 0), |(n, bytes), entry| (n + 1, bytes + entry.bytes))
}

fn object(removed: &Removed, dry_run: bool) -> Value {
    let (count, bytes) = totals(removed);
    let artifact = |entry: &RemovedArtifact| {
        let (state, error) = described(&entry.fate);
        json!({
            "artifact": entry.artifact.to_string(), "code": entry.artifact.code_hash.to_string(),
            "bytes": entry.bytes, "idle_s": entry.idle.as_secs(), "state": state, "error": error,
        })
    };
    json!({
        "dry_run": dry_run, "older_than_s": removed.older_than.map(|age| age.as_secs()), "removed": count,
        "bytes": bytes, "more": removed.more, "artifacts": removed.artifacts.iter().map(artifact).collect::<Vec<_>>(),
    })
}

fn lines(removed: &Removed, dry_run: bool) -> Vec<String> {
    let mut table = Table::new(&["ARTIFACT", ">SIZE", ">UNUSED", "STATE"]);
    for entry in &removed.artifacts {
        let (state, error) = described(&entry.fate);
        let state = error.map_or_else(|| state.to_owned(), |error| format!("{state}: {error}"));
        let idle = ago::millis(Some(entry.idle.as_secs_f64() * 1e3));
        table.row([entry.artifact.to_string(), human_bytes(entry.bytes), idle, state]);
    }
    let mut lines = if removed.artifacts.is_empty() { Vec::new() } else { table.lines() };
    let (count, bytes) = totals(removed);
    let more = if removed.more { ", and there are more" } else { "" };
    let what = if dry_run { "would be removed" } else { "removed" };
    lines.push(format!("{count} artifacts {what}, {}{more}", human_bytes(bytes)));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use pvf_shared::ids::{CodeHash, PrepHash};
    use std::time::Duration;

    fn removed(fates: &[Fate]) -> Removed {
        let artifact = ArtifactId {
            code_hash: CodeHash([0xab; 32]),
            prep_hash: PrepHash([0xcd; 32]),
            engine: EngineId::parse("e").unwrap(),
        };
        let idle = Duration::from_secs(90);
        let entry =
            |fate: &Fate| RemovedArtifact { artifact: artifact.clone(), bytes: 1 << 20, idle, fate: fate.clone() };
        Removed { artifacts: fates.iter().map(entry).collect(), more: false, older_than: Some(idle) }
    }

    #[test]
    fn what_was_removed_is_counted_and_what_was_not_says_why() {
        let some = removed(&[Fate::Removed, Fate::Preparing, Fate::Failed("read\nonly".into())]);
        let lines = lines(&some, false);
        assert!(lines[1].ends_with("  1.0 MiB   1m30s  removed"), "{lines:?}");
        assert!(lines[3].ends_with("failed: read\\nonly"), "{lines:?}");
        assert_eq!(lines[4], "1 artifacts removed, 1.0 MiB");
        let object = object(&some, false);
        assert_eq!(
            (&object["removed"], &object["bytes"], &object["older_than_s"]),
            (&1.into(), &(1 << 20).into(), &90.into())
        );
        assert_eq!(object["artifacts"][2]["error"], "read\nonly");
        let none = super::lines(&removed(&[]), true);
        assert_eq!(none, ["0 artifacts would be removed, 0 B"]);
    }

    #[test]
    fn an_artifact_of_the_api_has_its_whole_id() {
        let id = removed(&[Fate::Kept]).artifacts[0].artifact.clone();
        let api = json!({"code": id.code_hash.to_string(), "prep": id.prep_hash.to_string(), "engine": "e"});
        assert_eq!(id_of(&api).unwrap(), id);
        assert!(id_of(&json!({})).is_err());
    }
}
