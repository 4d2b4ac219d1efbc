//! The commands that show a fleet: `pvf workers`, `requests`, `why`, `artifacts`, `top` and `bench`, as users run them.

use crate::tool::CliFixture;
use pvf_guests::corpus::large;
use pvf_testkit::DEADLINE;
use pvf_tests::{
    fleet::{Fleet, Role},
    processes::{signal, until},
    requests::pvf_of,
};
use serde_json::Value;
use std::time::Duration;

/// These arguments, for the fleet behind this bus.
fn of<'a>(nats: &'a str, args: &[&'a str]) -> Vec<&'a str> {
    [args, &["--nats", nats]].concat()
}

/// What a command prints, which must end well.
fn text(cli: &CliFixture, args: &[&str]) -> String {
    let output = cli.pvf(args);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_is_shown_after_its_requests() {
    let fleet = Fleet::start(1, 1).await;
    let cli = CliFixture::new();
    let nats = fleet.nats.url.as_str();
    let mut ids = Vec::new();
    for (params, code) in [("good", 0), ("bad", 1)] {
        let answer = &cli.json(&of(nats, &["execute", "code.wasm", "--params", params]), code)[0];
        ids.push(answer["request"].as_str().unwrap().to_owned());
    }
    let [good, bad] = &ids[..] else { unreachable!() };

    let workers = text(&cli, &of(nats, &["workers"]));
    assert!(workers.contains("prepare") && workers.contains("execute"), "{workers}");
    let worker = &cli.json(&of(nats, &["workers", "ls", "--kind", "execute"]), 0)[0]["workers"][0];
    assert_eq!((worker["kind"].as_str(), worker["slots"].as_u64()), (Some("execute"), Some(1)), "{worker}");

    let requests = text(&cli, &of(nats, &["requests"]));
    assert!(requests.contains(good.as_str()) && requests.contains(bad.as_str()), "{requests}");
    assert!(requests.ends_with("2 listed; 0 open requests match\n"), "{requests}");
    let failed = &cli.json(&of(nats, &["requests", "ls", "--state", "failed"]), 0)[0]["requests"];
    assert_eq!((failed.as_array().unwrap().len(), &failed[0]["request"]), (1, &Value::from(bad.as_str())));

    // Without hyphens, in capitals, and shortened as tables show it.
    for id in [bad.clone(), bad.replace('-', "").to_uppercase(), format!("{}…", &bad[..bad.len() - 4])] {
        for command in [&["requests", "show"][..], &["why"]] {
            let shown = text(&cli, &of(nats, &[command, &[id.as_str()]].concat()));
            assert!(shown.contains("invalid"), "{command:?} {id}: {shown}");
        }
    }
    cli.fails(&of(nats, &["requests", "show", "ffff"]), 2, &["ffff", "pvf requests"]);
    let unknown = "00000000000040008000000000000001";
    cli.fails(&of(nats, &["why", unknown]), 2, &[unknown, "it is not open", "has been active for"]);
    cli.fails(&of(nats, &["requests", "show", "…"]), 2, &["is not the beginning of an id"]);

    let artifact = &cli.json(&of(nats, &["artifacts"]), 0)[0]["artifacts"][0];
    let code = artifact["code"].as_str().unwrap();
    assert_eq!((artifact["state"].as_str(), artifact["users"].as_u64()), (Some("prepared"), Some(0)), "{artifact}");
    let inspected = text(&cli, &of(nats, &["artifacts", "inspect", &code[..12]]));
    assert!(inspected.contains(code) && inspected.contains("prepared"), "{inspected}");

    for page in ["overview", "workers", "requests"] {
        let page = text(&cli, &of(nats, &["top", "--once", "--page", page]));
        assert_eq!(page.lines().count(), 24, "{page}");
        assert!(page.lines().all(|line| line.chars().count() <= 80), "{page}");
    }
    let top = &cli.json(&of(nats, &["top", "--once"]), 0)[0];
    assert_eq!(top["status"]["executed"].as_u64(), Some(2), "{}", top["status"]);

    let bench = ["bench", "--code", "code.wasm", "--params", "good", "--concurrency", "2", "--requests", "20"];
    let bench = &cli.json(&of(nats, &bench), 0)[0];
    assert_eq!(bench["verdicts"]["valid"].as_u64(), Some(20), "{bench}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_waits_says_for_what() {
    let fleet = Fleet::start(1, 0).await;
    let cli = CliFixture::new();
    let nats = fleet.nats.url.as_str();
    let mut waiting = cli.command(&of(nats, &["execute", "code.wasm", "--params", "good"])).spawn().unwrap();
    let id = until("the request waits", async || {
        let open = &cli.json(&of(nats, &["requests", "ls", "--state", "open"]), 0)[0]["requests"][0];
        Some(open["request"].as_str()?.to_owned())
    })
    .await;
    let sentence = until("the reason is that there is no worker", async || {
        let why = text(&cli, &of(nats, &["why", &id]));
        why.contains("No execute worker").then_some(why)
    })
    .await;
    assert!(sentence.contains("No execute worker"), "{sentence}");
    waiting.kill().unwrap();
    waiting.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_preparation_shows_how_many_functions_are_compiled() {
    let fleet = Fleet::start(1, 1).await;
    let cli = CliFixture::new();
    let nats = fleet.nats.url.as_str();
    let code = large(30_000);
    let announced = {
        let (host, pvf) = (fleet.host.clone(), pvf_of(code));
        tokio::spawn(async move { host.heads_up(vec![pvf], true).await })
    };
    // It runs for a few milliseconds at a time, so that it does not end before it is seen, on any machine.
    let job = fleet.job(Role::Prepare, 0).await;
    let open = async || cli.json(&of(nats, &["requests", "ls", "--state", "open"]), 0)[0]["requests"][0].clone();
    let request = until("some functions are compiled", async || {
        signal(job, libc::SIGCONT);
        tokio::time::sleep(Duration::from_millis(5)).await;
        signal(job, libc::SIGSTOP);
        let request = open().await;
        (request["compiling"]["compiled"].as_u64()? > 0).then_some(request)
    })
    .await;
    let (compiled, all) = (&request["compiling"]["compiled"], &request["compiling"]["functions"]);
    assert!(all.as_u64() > Some(30_000) && compiled.as_u64() < all.as_u64(), "{request}");
    assert_eq!(request["state"], "preparing");
    let sentence = format!("of {all} functions compiled");
    for command in [&["why"][..], &["requests", "show"]] {
        let id = request["request"].as_str().unwrap();
        let shown = text(&cli, &of(nats, &[command, &[id]].concat()));
        assert!(shown.contains(&sentence), "{command:?}: {shown}");
    }
    let listed = text(&cli, &of(nats, &["requests", "ls", "--state", "open"]));
    assert!(listed.contains("preparing ") && listed.contains(" %"), "{listed}");
    // A client learns it when it asks for its verdict.
    let mut compiling = fleet.host.compiling();
    let shown = tokio::time::timeout(DEADLINE, compiling.wait_for(Option::is_some)).await;
    let shown = shown.expect("the client asks").unwrap().expect("the client is told");
    assert_eq!(Some(u64::from(shown.functions)), all.as_u64());
    announced.abort();
    // The preparation is given up, and the process with it.
    until("nothing is open", async || open().await.is_null().then_some(())).await;
}
