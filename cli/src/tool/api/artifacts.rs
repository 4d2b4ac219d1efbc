//! `pvf artifacts`: the compiled artifacts that a fleet's coordinator knows.

use super::{Api, args::ArtifactsLs, model::Artifact, part, prefix::Among};
use crate::tool::{
    ago::{self, short_hash},
    args::Global,
    failure::{Exit, Failure},
    table::Table,
    text::escaped,
};
use pvf_shared::{ids::CodeHash, units::human_bytes};
use serde_json::{Value, json};

/// Artifacts among which the beginning of an id is looked for: those that were used last. More may not fit into one
/// message.
const MOST: u32 = 2000;

pub(crate) async fn ls(global: &Global, args: &ArtifactsLs) -> Result<Exit, Failure> {
    let ArtifactsLs { state, engine, code, sort, limit } = args;
    let (code, sort) = (code.map(|code| format!("0x{code}")), sort.map(|sort| sort.name()));
    let parameters = json!({"state": state, "engine": engine, "code": code, "sort": sort, "limit": limit});
    let answer = Api::connect(global, "artifacts").await?.ask("artifacts", parameters).await?;
    if global.json {
        outln!("{answer}");
        return Ok(Exit::Success);
    }
    let artifacts: Vec<Artifact> = part(&answer["artifacts"])?;
    lines(&artifacts, now(&answer)).iter().for_each(|line| outln!("{line}"));
    let count = |name: &str| answer[name].as_u64().unwrap_or_default();
    outln!("{} of {} artifacts; all have {}", artifacts.len(), count("total"), human_bytes(count("bytes")));
    Ok(Exit::Success)
}

fn now(answer: &Value) -> f64 {
    answer["at_ms"].as_f64().unwrap_or_default()
}

fn lines(artifacts: &[Artifact], now: f64) -> Vec<String> {
    let columns = ["CODE", "PARAMETERS", "STATE", ">SIZE", ">USERS", ">HOLDERS", ">USED", "PINNED", "ENGINE", "ERROR"];
    let mut table = Table::new(&columns);
    for artifact in artifacts {
        table.row([
            short_hash(&artifact.code),
            short_hash(&artifact.prep),
            artifact.state.clone(),
            human_bytes(artifact.bytes),
            artifact.users.to_string(),
            artifact.holders.to_string(),
            ago::between(artifact.last_used_ms, now),
            if artifact.pinned { "pinned".into() } else { String::new() },
            artifact.engine.clone(),
            artifact.error.clone().unwrap_or_default(),
        ]);
    }
    table.lines()
}

pub(crate) async fn inspect(global: &Global, named: &str) -> Result<Exit, Failure> {
    let api = Api::connect(global, "artifacts").await?;
    let (found, now) = one(&api, named).await?;
    match global.json {
        true => outln!("{found}"),
        false => described(&part(&found)?, now).iter().for_each(|line| outln!("{line}")),
    }
    Ok(Exit::Success)
}

/// The artifact that is meant, and the time of the answer, milliseconds since 1970.
pub(crate) async fn one(api: &Api, named: &str) -> Result<(Value, f64), Failure> {
    // All of one code are few.
    let code = named.parse::<CodeHash>().ok().map(|code| format!("0x{code}"));
    let answer = api.ask("artifacts", json!({ "limit": MOST, "code": code })).await?;
    let found = meant(answer["artifacts"].as_array().map_or(&[], Vec::as_slice), named)?;
    Ok((found, now(&answer)))
}

/// The artifact that is meant: by its id, by its code hash, or by the beginning of either.
fn meant(all: &[Value], named: &str) -> Result<Value, Failure> {
    let artifacts = Among { what: "artifact", command: "pvf artifacts", is_cut: all.len() >= MOST as usize, all };
    let ids = |value: &'_ Value| ["id", "code"].map(|name| value[name].as_str().unwrap_or_default().to_owned());
    artifacts.meant(named, |value| ids(value).to_vec()).cloned()
}

fn described(artifact: &Artifact, now: f64) -> Vec<String> {
    let facts = [
        ("artifact", artifact.id.clone()),
        ("code", artifact.code.clone()),
        ("parameters", artifact.prep.clone()),
        ("engine", artifact.engine.clone()),
        ("state", artifact.state.clone()),
        ("error", artifact.error.clone().unwrap_or_default()),
        ("size", human_bytes(artifact.bytes)),
        ("executions", format!("{} that use it", artifact.users)),
        ("copies", format!("at {} workers", artifact.holders)),
        ("last used", format!("{} ago", ago::between(artifact.last_used_ms, now))),
        ("pinned", if artifact.pinned { "yes: it stays however long it is not needed".into() } else { "no".into() }),
    ];
    let known = facts.iter().filter(|(_, value)| !value.is_empty());
    known.map(|(name, value)| format!("{name:<14}{}", escaped(value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn artifact(id: &str, code: &str) -> Value {
        json!({"id": id, "code": code, "prep": "0xcd", "engine": "e", "state": "prepared", "bytes": 1_048_576, "last_used_ms": 0})
    }

    #[test]
    fn an_artifact_is_meant_by_its_id_or_its_code() {
        let all = [artifact("ab12/cd/e", "0xab12"), artifact("ab12/cd/f", "0xab12"), artifact("ff/cd/e", "0xff")];
        for (named, id) in [("ff", "ff/cd/e"), ("0xff", "ff/cd/e"), ("ab12/cd/f", "ab12/cd/f"), ("ff…", "ff/cd/e")] {
            assert_eq!(meant(&all, named).unwrap()["id"], id, "{named}");
        }
        let several = meant(&all, "ab").unwrap_err().to_string();
        assert!(several.contains("\n  ab12/cd/e\n  ab12/cd/f"), "{several}");
        assert!(meant(&all, "00").unwrap_err().to_string().starts_with("00: no artifact has"));
    }

    #[test]
    fn artifacts_are_listed_and_described() {
        let artifact: Artifact = part(&artifact("ab/cd/e", "0xab")).unwrap();
        let failed =
            Artifact { state: "failed".into(), error: Some("no\nmemory".into()), pinned: true, ..artifact.clone() };
        let lines = lines(&[artifact.clone(), failed], 2000.0);
        assert_eq!(lines[1], "ab    cd          prepared  1.0 MiB      0        0   2 s          e");
        assert!(lines[2].ends_with("2 s  pinned  e       no\\nmemory"), "{lines:?}");
        let described = described(&artifact, 2000.0);
        assert_eq!(described[0], "artifact      ab/cd/e");
        assert!(described.contains(&"last used     2 s ago".to_owned()), "{described:?}");
    }
}
