//! Templates: how many are kept, what happens when one exits or hangs, and that its forks share nothing.

mod common;

use common::{
    AMPLE, TestArtifact, artifact, execute_hostile, execute_job, has_ended, hostile, job_error, jobs_of, own_worker,
    processes_named, processes_of, refused, runner, signal, template_bad, unlocked, until, valid, worker,
};
use pvf_guests::corpus::{busy, echo_like};
use pvf_shared::{
    Bytes,
    job::ExecuteOutcome,
    params::{ExecutorParam, ExecutorParams},
    verdict::InvalidReason,
};
use pvf_worker::supervise::JobRunner;
use std::{fs, path::PathBuf, time::Duration};

/// Runs one job on each of so many templates: each set of parameters has its own.
async fn use_templates(runner: &JobRunner, templates: u32) {
    let code = echo_like();
    let artifact = artifact(&code).await;
    for n in 0..templates {
        let params = ExecutorParams(vec![ExecutorParam::StackNativeMax((64 << 20) + n)]);
        let job = execute_job(&code, params.clone());
        valid(runner.execute(&job, artifact.file(), Bytes::from_static(b"block")).await.0);
        assert!(runner.is_warm(artifact.path(), &params));
    }
}

/// A runner with an executable of its own, and an artifact.
struct Fixture {
    exe: PathBuf,
    artifact: TestArtifact,
}

impl Fixture {
    async fn new(name: &str) -> Self {
        Self { exe: own_worker(name), artifact: artifact(&echo_like()).await }
    }

    async fn run(&self, runner: &JobRunner) -> ExecuteOutcome {
        let job = execute_job(&echo_like(), ExecutorParams::default());
        runner.execute(&job, self.artifact.file(), Bytes::from_static(b"block")).await.0
    }

    /// The template, once it is the only process of that name: a fork keeps it for a moment.
    async fn template(&self) -> i32 {
        until(|| if let [one] = processes_named(&self.exe, "pvf-template")[..] { Some(one) } else { None }).await
    }

    async fn spare(&self) -> i32 {
        until(|| processes_named(&self.exe, "pvf-spare").first().copied()).await
    }

    async fn end(self, runner: JobRunner) {
        drop(runner);
        until(|| processes_of(&self.exe).is_empty().then_some(())).await;
        fs::remove_file(self.exe).unwrap();
    }
}

#[tokio::test]
async fn the_number_of_templates_and_spares_is_bounded() {
    let exe = own_worker("bounded");
    let runner = runner(&exe);
    use_templates(&runner, 70).await;
    let count = |name: &str| processes_named(&exe, name).len();
    until(|| (count("pvf-template") == 64 && count("pvf-spare") == 64).then_some(())).await;
    drop(runner);
    until(|| processes_of(&exe).is_empty().then_some(())).await;
    fs::remove_file(exe).unwrap();
}

#[tokio::test]
async fn the_memory_of_templates_and_spares_is_bounded() {
    let exe = own_worker("memory");
    // A template has one or two MiB of private memory, and its spare counts as much. The most recently used one is kept
    // in any case.
    for (bytes, kept) in [(8 << 20, 2..=4), (1, 1..=1)] {
        let runner = runner(&exe).with_template_memory(bytes);
        use_templates(&runner, 5).await;
        until(|| kept.contains(&processes_named(&exe, "pvf-template").len()).then_some(())).await;
    }
    fs::remove_file(exe).unwrap();
}

#[tokio::test]
async fn a_job_that_kills_its_template_affects_only_itself() {
    let fixture = Fixture::new("kills").await;
    let runner = unlocked(&hostile());
    valid(fixture.run(&runner).await);
    for _ in 0..2 {
        // Only the template could have reaped the job.
        let why = job_error(execute_hostile(&runner, "kills_its_parent", AMPLE).await);
        assert!(why.starts_with("exit status unknown"), "{why}");
        valid(fixture.run(&runner).await);
    }
    fs::remove_file(fixture.exe).unwrap();
}

#[tokio::test]
async fn a_template_that_exits_while_idle_is_replaced() {
    let fixture = Fixture::new("idle").await;
    let runner = runner(&fixture.exe);
    valid(fixture.run(&runner).await);
    let (template, spare) = (fixture.template().await, fixture.spare().await);
    signal(template, libc::SIGKILL);
    // The spare dies with it. A job that gets the spare before that dies too, so the test waits for both.
    until(|| (has_ended(template) && has_ended(spare)).then_some(())).await;
    valid(fixture.run(&runner).await);
    assert_ne!(fixture.template().await, template);
    fixture.end(runner).await;
}

#[tokio::test]
async fn a_template_that_exits_while_a_job_runs_takes_the_job_with_it() {
    let fixture = Fixture::new("running").await;
    let runner = runner(&fixture.exe);
    let code = busy(u64::MAX);
    let endless = artifact(&code).await;
    let job = execute_job(&code, ExecutorParams::default());
    let kill = async {
        until(|| jobs_of(&fixture.exe).first().copied()).await;
        signal(fixture.template().await, libc::SIGKILL);
    };
    let ((outcome, _), ()) = tokio::join!(runner.execute(&job, endless.file(), Bytes::new()), kill);
    let why = refused(outcome);
    assert!(why.contains("exit status unknown"), "{why}");
    valid(fixture.run(&runner).await);
    fixture.end(runner).await;
}

#[tokio::test]
async fn no_job_sees_what_another_wrote() {
    let code = wat::parse_str(
        r#"(module
            (memory (export "memory") 1)
            (global (export "__heap_base") i32 (i32.const 1024))
            (global $ran (mut i32) (i32.const 0))
            (func (export "validate_block") (param i32 i32) (result i64)
                (if (i32.or (global.get $ran) (i32.load (i32.const 0))) (then (unreachable)))
                (global.set $ran (i32.const 1))
                (i32.store (i32.const 0) (i32.const 1))
                (i64.const 0)))"#,
    )
    .unwrap();
    let artifact = artifact(&code).await;
    let runner = worker();
    let job = execute_job(&code, ExecutorParams::default());
    for _ in 0..3 {
        let (outcome, _) = runner.execute(&job, artifact.file(), Bytes::new()).await;
        let ExecuteOutcome::Invalid(InvalidReason::WorkerReported(why)) = outcome else { panic!("{outcome:?}") };
        assert!(why.contains("does not decode"), "{why}");
    }
}

#[tokio::test]
async fn a_program_that_is_no_template_is_an_infrastructure_failure() {
    for name in ["silent", "rubbish", "odd_status", "killed", "closes_its_pipes"] {
        let why = refused(template_bad(name).await);
        assert!(why.contains("did not become ready"), "{name}: {why}");
    }
    let why = refused(template_bad("odd_status").await);
    assert!(why.contains("words of the job"), "{why}");
}

/// The spare does the job, but only the template could report its exit status.
#[tokio::test]
async fn a_template_that_hangs_loses_the_job_of_its_spare_and_is_replaced() {
    let fixture = Fixture::new("hangs").await;
    let runner = runner(&fixture.exe).with_template_timeout(Duration::from_millis(300));
    valid(fixture.run(&runner).await);
    fixture.spare().await;
    let template = fixture.template().await;
    signal(template, libc::SIGSTOP);
    let why = refused(fixture.run(&runner).await);
    assert!(why.contains("exit status unknown"), "{why}");
    valid(fixture.run(&runner).await);
    until(|| has_ended(template).then_some(())).await;
    fixture.end(runner).await;
}

#[tokio::test]
async fn a_template_that_hangs_when_a_fork_is_requested_is_replaced_before_the_job_starts() {
    let fixture = Fixture::new("hangs-without-spare").await;
    let runner = runner(&fixture.exe).with_slots(1, 0).with_template_timeout(Duration::from_millis(300));
    valid(fixture.run(&runner).await);
    let template = fixture.template().await;
    signal(template, libc::SIGSTOP);
    valid(fixture.run(&runner).await);
    until(|| has_ended(template).then_some(())).await;
    fixture.end(runner).await;
}
