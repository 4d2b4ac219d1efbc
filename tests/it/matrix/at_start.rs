//! The cells in which a resource is denied from the start of a process.

use super::{
    cells::{Cell, Doctor, Execution, Worker, folders, kernel, limits},
    observe::{self, Ended, Seen},
};
use crate::tool::CliFixture;
use pvf_tests::fleet::Fleet;

fn says(ended: &Ended, words: &str) -> bool {
    ended.code != Some(0) && (ended.stderr.contains(words) || ended.stdout.contains(words))
}

/// What is not as expected in this cell.
async fn differences(fleet: &Fleet, (name, denial, doctor, execution, worker): Cell) -> Vec<String> {
    let cli = CliFixture::new();
    let mut differences = Vec::new();
    let mut expect = |is: bool, what: String| {
        if !is {
            differences.push(format!("{name}: {what}"));
        }
    };
    let report = observe::doctor(denial, cli.path()).await;
    let red: Option<Vec<_>> = report.as_ref().ok().map(|checks| {
        checks
            .iter()
            .filter(|(_, check)| check["ok"] == false)
            .map(|(name, check)| format!("{name}: {}", check["found"]))
            .collect()
    });
    let is = match (&report, doctor) {
        (Ok(_), Doctor::Green) => red.as_ref().is_some_and(Vec::is_empty),
        (Ok(checks), Doctor::Red(names)) => names.iter().all(|name| checks[*name]["ok"] == false),
        (Err(ended), Doctor::NoReport(words)) => says(ended, words),
        (Ok(_), Doctor::NoReport(_)) | (Err(_), Doctor::Green | Doctor::Red(_)) => false,
    };
    let ended = report.err().map(|ended| (ended.code, ended.stderr));
    expect(is, format!("the doctor: red {red:?}, or ended: {ended:?}"));
    let executed = observe::execution(denial, cli.path()).await;
    let is = match (&executed, execution) {
        (Ok((verdict, _)), Execution::Valid) => verdict == "valid",
        (Ok((verdict, why)), Execution::Internal(words)) => verdict == "internal" && why.contains(words),
        (Err(ended), Execution::NoVerdict(words)) => says(ended, words),
        (Ok(_), Execution::NoVerdict(_)) | (Err(_), _) => false,
    };
    let executed = executed.map_err(|ended| (ended.code, ended.stdout, ended.stderr));
    // Whatever is expected: never the candidate's fault.
    if let Ok((verdict, why)) = &executed {
        assert!(["valid", "internal", "deadline"].contains(&&verdict[..]), "{name}: {verdict}: {why}");
    }
    expect(is, format!("the execution: {executed:?}"));
    let seen = observe::worker(fleet, denial, cli.path()).await;
    let is = match (&seen, worker) {
        (Seen::Works, Worker::Works) => true,
        (Seen::Waits(log), Worker::Waits(words)) => log.contains(words),
        (Seen::Ends(code, log), Worker::Ends(words)) => *code != Some(0) && log.contains(words),
        (Seen::Works | Seen::Waits(_) | Seen::Ends(..), _) => false,
    };
    expect(is, format!("the worker: {seen:?}"));
    differences
}

async fn all(cells: Vec<Cell>) {
    let fleet = Fleet::start(1, 0).await;
    let mut wrong = Vec::new();
    for cell in cells {
        wrong.extend(differences(&fleet, cell).await);
    }
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_at_the_start() {
    all(limits()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn folders_at_the_start() {
    all(folders()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_of_the_kernel_and_of_the_parent_at_the_start() {
    all(kernel()).await;
}
