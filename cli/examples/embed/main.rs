//! A small program that embeds the host, with a separate worker executable (`embed-worker.rs`) and an additional host
//! function (`own.rs`).
//!
//! `cargo build -p pvf --examples && cargo run -p pvf --example embed`

use pvf::{
    BlockDataForm, CandidateContext, Config, ExecuteKind, ExecuteRequest, ExecutorParams, Metrics, Outcome, Pvf,
    StorageRoot,
};
use std::error::Error;

/// Validation code that calls the host function and returns its result as head data.
const CODE: &str = r#"(module
    (import "env" "ext_own_answer_version_1" (func $answer (result i32)))
    (memory (export "memory") 1)
    (global (export "__heap_base") i32 (i32.const 4096))
    ;; A ValidationResult with one byte of head data and nothing else.
    (data (i32.const 1024) "\04\00\00\00\00\00\00\00\00\00\00\00\00")
    (func (export "validate_block") (param i32 i32) (result i64)
        (i32.store8 (i32.const 1025) (call $answer))
        (i64.or (i64.const 1024) (i64.shl (i64.const 13) (i64.const 32)))))"#;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let store = tempfile::tempdir()?;
    let worker = std::env::current_exe()?.with_file_name("embed-worker");
    // The host does not start where the sandbox is incomplete. Where all validation code is trusted, add
    // `secure: false` to start it anyway.
    let config = Config { worker_exe: Some(worker), ..Config::new(store.path().display().to_string()) };
    let metrics = Metrics::default();
    let (host, run) = pvf::start(config, metrics.clone()).await?;
    let running = tokio::spawn(run);

    let pvf = Pvf::new(wat::parse_str(CODE)?, ExecutorParams::default());
    let context = CandidateContext {
        parent_head: Default::default(),
        relay_parent_number: 1,
        relay_parent_storage_root: StorageRoot([0; 32]),
        extension: None,
        block_data_form: BlockDataForm::MaybeCompressed,
    };
    let answer = host.execute_pvf(pvf, ExecuteRequest::new(ExecuteKind::Backing, context, Vec::new())).await?;
    println!("the verdict is: {}", answer.outcome.name());
    if let Outcome::Valid(result) = &answer.outcome {
        println!(
            "the host function returned {}",
            if result.head_data == [42] { "forty-two" } else { "something else" }
        );
    }
    print!("{}", metrics.render());

    // The host ends when the last handle is dropped.
    drop(host);
    running.await?;
    Ok(())
}
