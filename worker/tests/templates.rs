//! Templates as the worker sees them: how many there are, what becomes of one that dies, and that its forks share nothing.

mod common;

use common::{
    AMPLE, artifact, execute_hostile, execute_job, hostile, job_error, name_of, own_worker, processes_of, runner,
    template_bad, unlocked, until, valid, worker,
};
use pvf_guests::corpus::echo_like;
use pvf_shared::{
    Bytes,
    job::ExecuteOutcome,
    params::{ExecutorParam, ExecutorParams},
    verdict::InvalidReason,
};
use pvf_worker::supervise::JobRunner;
use std::{fs, time::Duration};

/// One job on each of so many templates: parameters that differ have one each.
async fn use_templates(runner: &JobRunner, templates: u32) {
    let code = echo_like();
    let artifact = artifact(&code).await;
    for n in 0..templates {
        let params = ExecutorParams(vec![ExecutorParam::StackNativeMax((64 << 20) + n)]);
        let job = execute_job(&code, params.clone());
        valid(runner.execute(&job, artifact.path(), Bytes::from_static(b"block")).await.0);
        assert!(runner.is_warm(artifact.path(), &params));
    }
}

#[tokio::test]
async fn templates_and_their_spares_are_bounded() {
    let exe = own_worker("bounded");
    let runner = runner(&exe);
    use_templates(&runner, 70).await;
    let count = |name: &str| processes_of(&exe).into_iter().filter(|pid| name_of(*pid) == name).count();
    until(|| (count("pvf-template") == 64 && count("pvf-spare") == 64).then_some(())).await;
    drop(runner);
    until(|| processes_of(&exe).is_empty().then_some(())).await;
    fs::remove_file(exe).unwrap();
}

#[tokio::test]
async fn templates_and_their_spares_have_so_much_memory() {
    let exe = own_worker("memory");
    // A template has one or two MiB of its own, and its spare counts as much; if none fits the last one is kept.
    for (bytes, kept) in [(8 << 20, 2..=4), (1, 1..=1)] {
        let runner = runner(&exe).with_template_memory(bytes);
        use_templates(&runner, 5).await;
        let templates = || processes_of(&exe).into_iter().filter(|pid| name_of(*pid) == "pvf-template").count();
        until(|| kept.contains(&templates()).then_some(())).await;
    }
    fs::remove_file(exe).unwrap();
}

/// A job that ends its template takes only what is of the same artifact with it, and that is not for long.
#[tokio::test]
async fn a_template_that_dies_is_replaced() {
    let exe = hostile();
    let runner = unlocked(&exe);
    let code = echo_like();
    let good = artifact(&code).await;
    let job = execute_job(&code, ExecutorParams::default());
    let works = async || valid(runner.execute(&job, good.path(), Bytes::from_static(b"block")).await.0);
    works().await;
    for _ in 0..2 {
        let outcome = execute_hostile(&runner, "kills_its_parent", AMPLE).await;
        assert!(matches!(outcome, ExecuteOutcome::Ambiguous(_)), "{outcome:?}");
        works().await;
    }
    let own = own_worker("template");
    let runner = self::runner(&own);
    let run = async || runner.execute(&job, good.path(), Bytes::from_static(b"block")).await.0;
    valid(run().await);
    let template = processes_of(&own).into_iter().find(|pid| name_of(*pid) == "pvf-template").unwrap();
    // SAFETY: the process is one of this test's runner.
    assert_eq!(unsafe { libc::kill(template, libc::SIGKILL) }, 0);
    // A spare that has not died yet may take the job with it.
    let next = run().await;
    assert!(matches!(next, ExecuteOutcome::Valid(_) | ExecuteOutcome::Ambiguous(_)), "{next:?}");
    valid(run().await);
    fs::remove_file(own).unwrap();
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
        let (outcome, _) = runner.execute(&job, artifact.path(), Bytes::new()).await;
        let ExecuteOutcome::Invalid(InvalidReason::WorkerReported(why)) = outcome else { panic!("{outcome:?}") };
        assert!(why.contains("does not decode"), "{why}");
    }
}

/// Whatever stands in the place of a template.
#[tokio::test]
async fn odd_ends_of_a_template() {
    for name in ["silent", "rubbish", "odd_status", "killed", "closes_its_pipes"] {
        let why = job_error(template_bad(name).await);
        assert!(why.contains("did not get ready"), "{name}: {why}");
    }
    let why = job_error(template_bad("odd_status").await);
    assert!(why.contains("words of the job"), "{why}");
}

/// One that was stopped answers nobody: it is given up, with the spare whose end only it could tell, and the next job
/// has another one.
#[tokio::test]
async fn a_template_that_hangs_is_replaced() {
    let own = own_worker("hangs");
    let runner = runner(&own).with_template_patience(Duration::from_millis(300));
    let code = echo_like();
    let good = artifact(&code).await;
    let job = execute_job(&code, ExecutorParams::default());
    let run = async || runner.execute(&job, good.path(), Bytes::from_static(b"block")).await.0;
    valid(run().await);
    let templates = || processes_of(&own).into_iter().filter(|pid| name_of(*pid) == "pvf-template").collect::<Vec<_>>();
    // A fork has its name for a moment.
    let stopped = until(|| if let [one] = templates()[..] { Some(one) } else { None }).await;
    // SAFETY: the process is one of this test's runner.
    assert_eq!(unsafe { libc::kill(stopped, libc::SIGSTOP) }, 0);
    let next = run().await;
    assert!(matches!(next, ExecuteOutcome::Valid(_) | ExecuteOutcome::Ambiguous(_)), "{next:?}");
    valid(run().await);
    until(|| (!templates().contains(&stopped)).then_some(())).await;
    drop(runner);
    until(|| processes_of(&own).is_empty().then_some(())).await;
    fs::remove_file(own).unwrap();
}
