//! What the host of a node does with good, bad and endless candidates, and with codes, artifacts and workers that fail:
//! with a fleet's workers the same as with its own.

use super::{
    FLEET_HOST, OWN_HOST, Setup,
    driver::{Answer, Candidate, Code},
    table::Table,
};
use pvf_guests::{
    adder::{ADDER, Block, Head},
    corpus, distinct_adder,
};
use pvf_shared::{
    Bytes,
    candidate::COMPRESSED_PREFIX,
    params::{ExecutorParam, ExecutorParams, PvfExecKind},
};
use pvf_testkit::processes::{children_of, name_of, signal};
use pvf_tests::processes::until;
use std::{path::PathBuf, time::Duration};

/// The first block of the adder with this claimed state.
pub fn block(setup: &Setup, state: u64) -> Candidate {
    Candidate {
        parent_head: Head::genesis().encode(),
        relay_parent_number: 7,
        root: [1; 32],
        block_data: setup.driver.file(&Block { state, increment: 5 }.encode()),
        timeout: Duration::from_secs(2),
        kind: "backing",
        v3: false,
    }
}

/// Both hosts, one after the other.
const HOSTS: [&str; 2] = [OWN_HOST, FLEET_HOST];

struct Run<'a> {
    setup: &'a Setup,
    table: Table,
}

impl Run<'_> {
    /// Notes what both hosts answered: the same, with this outcome. Results of valid candidates are equal to the byte.
    fn note(&mut self, what: &str, expected: &str, seen: &[Answer; 2]) {
        let [own, fleet] = seen;
        let right = own.outcome == expected && fleet.outcome == expected && own.result == fleet.result;
        self.table.add(what, expected, &[own.short(), fleet.short()], right);
    }

    async fn execute(&mut self, what: &str, expected: &str, code: &Code, candidate: &Candidate) -> Answer {
        let mut seen = Vec::new();
        for host in HOSTS {
            seen.push(self.setup.driver.execute(host, code, candidate).await);
        }
        let seen: [Answer; 2] = seen.try_into().expect("two hosts");
        self.note(what, expected, &seen);
        let [_, fleet] = seen;
        fleet
    }

    async fn precheck(&mut self, what: &str, expected: &str, code: &Code) {
        let mut seen = Vec::new();
        for host in HOSTS {
            seen.push(self.setup.driver.precheck(host, code).await);
        }
        let seen: [Answer; 2] = seen.try_into().expect("two hosts");
        self.note(what, expected, &seen);
    }
}

pub async fn run(setup: &mut Setup) -> Result<Table, String> {
    let table = Table::new("Behaviours of the real host", &["its own workers", "the fleet's workers"]);
    let mut run = Run { setup, table };
    codes(&mut run).await;
    candidates(&mut run).await;
    parameters(&mut run).await;
    many(&mut run).await;
    artifacts(&mut run).await?;
    workers(&mut run).await?;
    Ok(run.table)
}

async fn codes(run: &mut Run<'_>) {
    let driver = run.setup.driver.clone();
    let good = driver.code(&Bytes::from_static(ADDER));
    run.precheck("precheck of a good code", "ok", &good).await;
    run.precheck("the same again", "ok", &good).await;
    run.precheck("precheck of no wasm", "preparation", &driver.code(&Bytes::from_static(b"no wasm"))).await;
    let bomb = [&COMPRESSED_PREFIX[..], b"no zstd"].concat();
    run.precheck("precheck of a code that does not decompress", "preparation", &driver.code(&bomb.into())).await;
    let slow = Code { prepare_timeout: Duration::from_millis(300), ..driver.code(&corpus::large(3000).into()) };
    run.precheck("precheck over its time limit", "preparation", &slow).await;
    let broken = driver.code(&Bytes::from_static(b"\0asm\x01\0\0\0 broken"));
    run.execute("validation with a code that cannot be prepared", "preparation", &broken, &block(run.setup, 0)).await;
}

async fn candidates(run: &mut Run<'_>) {
    let driver = run.setup.driver.clone();
    let adder = driver.code(&Bytes::from_static(ADDER));
    let good = block(run.setup, 0);
    run.execute("a valid candidate", "valid", &adder, &good).await;
    run.execute("the same again", "valid", &adder, &good).await;
    run.execute("an invalid candidate", "invalid", &adder, &block(run.setup, 1)).await;
    let approval = Candidate { kind: "approval", timeout: Duration::from_secs(12), ..good.clone() };
    run.execute("an approval", "valid", &adder, &approval).await;
    run.execute("a dispute", "valid", &adder, &Candidate { kind: "dispute", ..approval }).await;
    let pov = |bytes: &[u8]| Candidate { block_data: driver.file(bytes), ..good.clone() };
    let bomb = [&COMPRESSED_PREFIX[..], b"no zstd"].concat();
    run.execute("a PoV that does not decompress", "invalid", &adder, &pov(&bomb)).await;
    let compressed = sp_maybe_compressed_blob::compress_weakly(&Block { state: 0, increment: 5 }.encode(), 1 << 20);
    run.execute("a compressed PoV", "valid", &adder, &pov(&compressed.expect("it is short"))).await;
    let huge = sp_maybe_compressed_blob::compress_weakly(&vec![0; (40 << 20) + 1], 50 << 20);
    run.execute("a PoV over the bomb limit", "invalid", &adder, &pov(&huge.expect("it compresses"))).await;
    run.execute("a PoV of 5 MiB, over the bus's limit of a message", "invalid", &adder, &pov(&vec![7; 5 << 20])).await;
    run.execute("an empty PoV", "invalid", &adder, &pov(&[])).await;
    let echo = driver.code(&corpus::returns_end().into());
    let second = run.execute("a descriptor of version 2", "valid", &echo, &pov(b"block")).await;
    let v3 = Candidate { v3: true, ..pov(b"block") };
    let third = run.execute("a descriptor of version 3", "valid", &echo, &v3).await;
    let differ = second.result != third.result;
    let seen = if differ { "differ" } else { "are the same" }.to_owned();
    run.table.add(
        "results of the two, of a guest that returns the end of its parameters",
        "differ",
        &[seen.clone(), seen],
        differ,
    );
    let endless = driver.code(&corpus::busy(u64::MAX).into());
    run.execute("a guest that never ends", "invalid", &endless, &good).await;
    run.execute("a valid candidate after it", "valid", &adder, &good).await;
    let traps = driver.code(&corpus::logs_and_traps().into());
    run.execute("a guest that traps", "invalid", &traps, &good).await;
    let unlinkable = driver.code(&unlinkable().into());
    run.execute("a code that cannot be instantiated", "possibly-invalid", &unlinkable, &good).await;
}

/// Imports a global, which no host has.
fn unlinkable() -> Vec<u8> {
    // The import section: `env.g`, a global of type i32.
    let import = [0x02, 0x0a, 0x01, 0x03, b'e', b'n', b'v', 0x01, b'g', 0x03, 0x7f, 0x00];
    [b"\0asm\x01\0\0\0".as_slice(), &import].concat()
}

async fn parameters(run: &mut Run<'_>) {
    let driver = run.setup.driver.clone();
    let good = block(run.setup, 0);
    for (name, params) in [
        ("another logical stack", vec![ExecutorParam::StackLogicalMax(32_768)]),
        ("more memory", vec![ExecutorParam::MaxMemoryPages(8192)]),
        ("bulk memory", vec![ExecutorParam::WasmExtBulkMemory]),
        (
            "the live time limits",
            vec![
                ExecutorParam::PvfExecTimeout(PvfExecKind::Backing, 2500),
                ExecutorParam::PvfExecTimeout(PvfExecKind::Approval, 15_000),
            ],
        ),
        ("the default parameters", vec![]),
    ] {
        let code = Code { params: ExecutorParams(params), ..driver.code(&Bytes::from_static(ADDER)) };
        run.execute(&format!("parameters: {name}"), "valid", &code, &good).await;
    }
    let tiny = Code {
        params: ExecutorParams(vec![ExecutorParam::StackLogicalMax(1)]),
        ..driver.code(&Bytes::from_static(ADDER))
    };
    run.execute("parameters: a logical stack of 1", "invalid", &tiny, &good).await;
}

async fn many(run: &mut Run<'_>) {
    let driver = run.setup.driver.clone();
    let (adder, good) = (driver.code(&Bytes::from_static(ADDER)), block(run.setup, 0));
    let codes: Vec<_> = (0..8).map(|n| driver.code(&distinct_adder(n).into())).collect();
    for (what, parallel) in [("in parallel", true), ("one after another", false)] {
        let mut seen = Vec::new();
        for host in HOSTS {
            let mut valid = 0;
            if parallel {
                let all = (0..32).map(|n| driver.execute(host, &codes[n % codes.len()], &good));
                valid = futures::future::join_all(all).await.iter().filter(|answer| answer.outcome == "valid").count();
            } else {
                for _ in 0..32 {
                    valid += usize::from(driver.execute(host, &adder, &good).await.outcome == "valid");
                }
            }
            seen.push(format!("{valid} valid"));
        }
        let right = seen == ["32 valid", "32 valid"];
        run.table.add(format!("32 validations {what}"), "32 valid", &seen, right);
    }
}

/// The files that a host keeps as artifacts.
fn artifact_files(setup: &Setup, host: &str) -> Result<Vec<PathBuf>, String> {
    let folder = setup.driver.cache(host);
    let entries = std::fs::read_dir(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    Ok(entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()).collect())
}

async fn artifacts(run: &mut Run<'_>) -> Result<(), String> {
    let driver = run.setup.driver.clone();
    let good = block(run.setup, 0);
    for (what, first, damage) in [
        ("corrupted", "possibly-invalid", corrupt as fn(&PathBuf) -> std::io::Result<()>),
        ("deleted", "valid", delete),
    ] {
        let code = driver.code(&distinct_adder(if what == "deleted" { 100 } else { 101 }).into());
        let mut seen = Vec::new();
        for host in HOSTS {
            let before = artifact_files(run.setup, host)?;
            let prepared = driver.execute(host, &code, &good).await;
            let new = artifact_files(run.setup, host)?.into_iter().filter(|file| !before.contains(file));
            for file in new {
                damage(&file).map_err(|e| format!("{}: {e}", file.display()))?;
            }
            let after = driver.execute(host, &code, &good).await;
            let again = driver.execute(host, &code, &good).await;
            seen.push([prepared.outcome, after.outcome, again.outcome].join(", "));
        }
        // What follows a deleted one is the host's own matter: the same with both.
        let right = seen[0] == seen[1] && seen[0].starts_with(&format!("valid, {first}"));
        run.table.add(format!("an artifact that is {what}"), format!("valid, {first}, as its own"), &seen, right);
    }
    Ok(())
}

fn corrupt(file: &PathBuf) -> std::io::Result<()> {
    let mut content = std::fs::read(file)?;
    let middle = content.len() / 2;
    content[middle] ^= 1;
    std::fs::write(file, content)
}

fn delete(file: &PathBuf) -> std::io::Result<()> {
    std::fs::remove_file(file)
}

/// Execute workers of a host that live.
fn workers_of(setup: &Setup, host: &str) -> Vec<i32> {
    let folder = if host == OWN_HOST { setup.own.clone() } else { setup.workers.path("") };
    let is_of_host = |pid: &i32| {
        std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe.parent() == Some(folder.as_path()))
    };
    let mut found = children_of(setup.driver.pid());
    found.retain(|pid| name_of(*pid).starts_with("polkadot-execut") && is_of_host(pid));
    found
}

async fn workers(run: &mut Run<'_>) -> Result<(), String> {
    let driver = run.setup.driver.clone();
    // Long enough to find the worker, and to know which one works.
    let endless = driver.code(&corpus::busy(u64::MAX).into());
    let adder = driver.code(&Bytes::from_static(ADDER));
    for (what, number, expected) in
        [("killed", libc::SIGKILL, "possibly-invalid"), ("stopped", libc::SIGSTOP, "invalid")]
    {
        let mut seen = Vec::new();
        for host in HOSTS {
            run.setup.start_host(host).await?;
            let candidate = Candidate { timeout: Duration::from_secs(3), ..block(run.setup, 0) };
            assert_eq!(driver.execute(host, &adder, &candidate).await.outcome, "valid");
            let validation = {
                let (driver, endless, candidate) = (driver.clone(), endless.clone(), candidate.clone());
                tokio::spawn(async move { driver.execute(host, &endless, &candidate).await })
            };
            // The one worker of the host, which has the job as soon as the code is prepared.
            until("the job is under way", async || jobs_run(run.setup, host).await.then_some(())).await;
            for pid in workers_of(run.setup, host) {
                signal(pid, number);
            }
            seen.push(validation.await.map_err(|e| e.to_string())?.short());
            let after = driver.execute(host, &adder, &candidate).await;
            assert_eq!(after.outcome, "valid", "the host starts another worker");
        }
        let right = seen.iter().all(|seen| seen.split(':').next() == Some(expected));
        run.table.add(format!("an execute worker that is {what}"), expected, &seen, right);
    }
    Ok(())
}

/// Whether a job of the host runs.
async fn jobs_run(setup: &Setup, host: &str) -> bool {
    if host == FLEET_HOST {
        return setup.fleet.execute.iter().any(|worker| !pvf_tests::processes::jobs_of(worker.pid()).is_empty());
    }
    workers_of(setup, host).into_iter().any(|worker| !children_of(worker).is_empty())
}
