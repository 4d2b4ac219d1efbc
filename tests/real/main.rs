//! `pvf-real-blocks`: the blocks of a real parachain, and candidates with one error each, through the embedded host and
//! through a fleet of processes on NATS.

use clap::Parser;
use pvf::{Answer, ExecuteRequest, Pvf};
use pvf_shared::{candidate::ValidationResult, params::ExecutorParams, verdict::Outcome};
use pvf_testkit::DEADLINE;
use pvf_tests::{
    bench::{FLEET, UNUSABLE, has_all},
    host::Host,
    real::{Case, Expect, Folder},
};
use std::{
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

/// Send the blocks of a real parachain, and candidates with one error each, through the embedded host and through a
/// fleet of processes on NATS, and compare each verdict with that of the maker's reference, to the bit of the result.
///
/// Exit code 1 if one differs. tests/real-parachain/run makes the folder and calls this. Needs a nats-server on the
/// PATH or in PVF_NATS_SERVER.
#[derive(Parser)]
#[command(name = "pvf-real-blocks")]
struct Args {
    /// Folder with the parachain's blocks [default: where tests/real-parachain/run puts it]
    folder: Option<PathBuf>,
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
}

/// The verdict on a candidate that was sent in one way.
struct Seen {
    way: &'static str,
    right: bool,
    verdict: String,
    took: Duration,
}

fn judge(way: &'static str, expected: Option<&ValidationResult>, expect: Expect, answer: &Answer) -> Seen {
    let right = match (&answer.outcome, expect) {
        (Outcome::Valid(result), Expect::Valid) => expected == Some(&**result),
        (Outcome::Invalid(_), Expect::Invalid) => true,
        _ => false,
    };
    let verdict = match (&answer.outcome, right) {
        (Outcome::Valid(_), true) => "valid".to_owned(),
        (Outcome::Valid(result), false) => format!("valid with {result:?}"),
        (outcome, _) => format!("{}: {}", outcome.name(), outcome.reason().unwrap_or_default()),
    };
    Seen { way, right, verdict, took: answer.timings.execute }
}

/// Sends a candidate to a host in two ways: with its PoV as a collator sends it, and with decompressed block data.
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
        let request = ExecuteRequest { answer_within: Some(DEADLINE), fresh: true, ..request };
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
        let verdict = seen.first().map_or("", |seen| &seen.verdict);
        let verdict: String = verdict.chars().take(110).collect();
        println!(
            "{:34} {:>10} {:>9}  {expected:8} {right}/{} {ms:>8.1}  {verdict}",
            case.name,
            case.extrinsics,
            case.pov_bytes,
            seen.len()
        );
        for seen in seen.iter().filter(|seen| !seen.right) {
            println!("    WRONG, {}: {}", seen.way, seen.verdict);
        }
    }
}

fn json(folder: &Folder, all: &[(&Case, Vec<Seen>)]) -> serde_json::Value {
    let cases = all.iter().map(|(case, seen)| {
        let seen = seen.iter().map(|seen| {
            serde_json::json!({ "way": seen.way, "right": seen.right, "seen": seen.verdict,
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
    let args = Args::parse();
    if !has_all(FLEET) {
        return ExitCode::from(UNUSABLE);
    }
    let path = args.folder.unwrap_or_else(Folder::default_path);
    let runtime = pvf_shared::runtime::runtime().expect("a runtime");
    let done = Folder::open(&path).and_then(|folder| {
        let all = runtime.block_on(run(&folder))?;
        if args.json {
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
            ExitCode::from(UNUSABLE)
        }
    }
}
