//! `pvf-real-blocks [FOLDER] [--json]`: the blocks of a real parachain, and candidates with one thing wrong each,
//! through the embedded host and through a fleet of processes on NATS. Each must get the verdict that its maker's
//! reference gave it, to the bit of the result. Exit code 1 if one does not.
//!
//! `tests/real-parachain/run` makes the folder and calls this.

use pvf::{Answer, ExecuteRequest, Pvf};
use pvf_shared::{candidate::ValidationResult, params::ExecutorParams, verdict::Outcome};
use pvf_tests::{
    ask::PATIENCE,
    bench::flag,
    host::Host,
    real::{Case, Expect, Folder},
};
use std::{
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

/// What came of a candidate one way.
struct Seen {
    way: &'static str,
    right: bool,
    words: String,
    took: Duration,
}

fn judge(way: &'static str, expected: Option<&ValidationResult>, expect: Expect, answer: &Answer) -> Seen {
    let right = match (&answer.outcome, expect) {
        (Outcome::Valid(result), Expect::Valid) => expected == Some(&**result),
        (Outcome::Invalid(_), Expect::Invalid) => true,
        _ => false,
    };
    let words = match (&answer.outcome, right) {
        (Outcome::Valid(_), true) => "valid".to_owned(),
        (Outcome::Valid(result), false) => format!("valid with {result:?}"),
        (outcome, _) => format!("{}: {}", outcome.name(), outcome.reason().unwrap_or_default()),
    };
    Seen { way, right, words, took: answer.timings.execute }
}

/// The ways of a candidate through a host: its PoV as it is sent, and decompressed by whoever asks.
async fn ways(
    host: &Host,
    pvf: &Pvf,
    folder: &Folder,
    case: &Case,
    names: [&'static str; 2],
) -> Result<Vec<Seen>, String> {
    let expected = folder.result(case)?;
    let requests = [Some(folder.as_sent(case)?), folder.decompressed(case)?];
    let mut seen = Vec::new();
    for (name, request) in names.into_iter().zip(requests) {
        let Some(request) = request else { continue };
        let request = ExecuteRequest { answer_within: Some(PATIENCE), fresh: true, ..request };
        let answer =
            host.handle().execute_pvf(pvf.clone(), request).await.map_err(|e| format!("{}: {e}", case.name))?;
        seen.push(judge(name, expected.as_ref(), case.expect, &answer));
    }
    Ok(seen)
}

async fn prepared(host: &Host, code: &pvf_shared::Bytes, what: &str) -> Result<Pvf, String> {
    let pvf = Pvf::new(code.clone(), ExecutorParams::default());
    let start = Instant::now();
    let answer = host.handle().precheck_pvf(pvf.clone()).await.map_err(|e| format!("{what}: {e}"))?;
    match answer.outcome {
        Outcome::PrecheckOk => {
            let bytes = answer.artifact.map_or(0, |artifact| artifact.bytes);
            eprintln!("{what}: prechecked in {:.1} s, artifact of {bytes} bytes", start.elapsed().as_secs_f64());
            Ok(pvf)
        }
        other => Err(format!("{what}: {other:?}")),
    }
}

async fn run(folder: &Folder) -> Result<Vec<(&Case, Vec<Seen>)>, String> {
    let [compressed, plain] = folder.codes()?;
    let embedded = Host::embedded().await;
    let fleet = Host::fleet().await;
    let on_embedded = prepared(&embedded, &compressed, "embedded host").await?;
    let on_fleet = prepared(&fleet, &compressed, "fleet on NATS").await?;
    let uncompressed = prepared(&embedded, &plain, "embedded host, code not compressed").await?;
    let mut all = Vec::new();
    for case in folder.cases() {
        let mut seen = ways(&embedded, &on_embedded, folder, case, ["embedded", "embedded, decompressed"]).await?;
        seen.extend(ways(&fleet, &on_fleet, folder, case, ["fleet", "fleet, decompressed"]).await?);
        let code = ways(&embedded, &uncompressed, folder, case, ["plain code", "plain code, decompressed"]).await?;
        seen.extend(code);
        eprintln!("{}: {}", case.name, if seen.iter().all(|seen| seen.right) { "as expected" } else { "WRONG" });
        all.push((case, seen));
    }
    Ok(all)
}

fn print(folder: &Folder, all: &[(&Case, Vec<Seen>)]) {
    let runtime = folder.runtime();
    println!("{} {}, {} {}", runtime.package, runtime.version, runtime.spec_name, runtime.spec_version);
    println!(
        "{:34} {:>10} {:>9}  {:8} {:>4} {:>8}  seen",
        "candidate", "extrinsics", "PoV bytes", "expected", "ways", "ms"
    );
    for (case, seen) in all {
        let right = seen.iter().filter(|seen| seen.right).count();
        let ms = seen.first().map_or(0.0, |seen| seen.took.as_secs_f64() * 1e3);
        let expected = format!("{:?}", case.expect).to_lowercase();
        let words = seen.first().map_or("", |seen| &seen.words);
        let words: String = words.chars().take(110).collect();
        println!(
            "{:34} {:>10} {:>9}  {expected:8} {right}/{} {ms:>8.1}  {words}",
            case.name,
            case.extrinsics,
            case.pov_bytes,
            seen.len()
        );
        for seen in seen.iter().filter(|seen| !seen.right) {
            println!("    WRONG, {}: {}", seen.way, seen.words);
        }
    }
}

fn json(folder: &Folder, all: &[(&Case, Vec<Seen>)]) -> serde_json::Value {
    let cases = all.iter().map(|(case, seen)| {
        let seen = seen.iter().map(|seen| {
            serde_json::json!({ "way": seen.way, "right": seen.right, "seen": seen.words,
                "execute_ms": seen.took.as_secs_f64() * 1e3 })
        });
        serde_json::json!({ "name": case.name, "about": case.about, "extrinsics": case.extrinsics,
            "pov_bytes": case.pov_bytes, "expected": format!("{:?}", case.expect).to_lowercase(),
            "seen": seen.collect::<Vec<_>>() })
    });
    serde_json::json!({ "runtime": folder.runtime().package, "version": folder.runtime().version,
        "cases": cases.collect::<Vec<_>>() })
}

fn main() -> ExitCode {
    let path = std::env::args_os().skip(1).map(PathBuf::from).find(|arg| !arg.to_string_lossy().starts_with("--"));
    let path = path.unwrap_or_else(Folder::default_path);
    let runtime = pvf_shared::runtime::runtime().expect("a runtime");
    let done = Folder::open(&path).and_then(|folder| {
        let all = runtime.block_on(run(&folder))?;
        if flag("--json") {
            println!("{}", json(&folder, &all))
        } else {
            print(&folder, &all)
        }
        let wrong = all.iter().flat_map(|(_, seen)| seen).filter(|seen| !seen.right).count();
        eprintln!("{} candidates, {wrong} wrong verdicts", all.len());
        Ok(wrong == 0 && !all.is_empty())
    });
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::from(2)
        }
    }
}
