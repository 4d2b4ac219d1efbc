//! What must be so on both ways to run.

use parity_scale_codec::Encode as _;
use pvf::{Answer, ExecuteRequest, Pvf, ValidationHost};
use pvf_guests::{
    adder::{ADDER, Block, Head},
    corpus::{self, wants_length},
    distinct_adder,
};
use pvf_shared::{
    candidate::{BlockDataForm, ValidationParamsExtension, ValidationResult},
    params::{ExecutorParam, ExecutorParams, PvfPrepKind},
    verdict::{InvalidReason, Outcome, PrepareError},
};
use pvf_tests::{
    ask::{adder, backing, bad_block, endless, good_block},
    host::Host,
    processes::until,
};
use sp_maybe_compressed_blob::compress_weakly;
use std::time::Duration;

/// Makes of one test two.
macro_rules! on_both {
    ($($name:ident)*) => {
        mod embedded {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::$name(super::Host::embedded().await).await })*
        }
        mod fleet {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::$name(super::Host::fleet().await).await })*
        }
    };
}

on_both! {
    a_chain_of_blocks_and_a_bad_one
    compressed_code_and_pov
    malformed_code_and_pov
    bombs_are_refused_to_the_byte
    what_version_3_descriptors_append
    parameters_and_their_effect_on_the_artifact
    the_queue_does_not_stall_over_parameters
    a_deleted_artifact
    a_corrupted_artifact
    an_artifact_of_something_else
    executions_time_out
    preparations_time_out
    memory_of_a_preparation
    two_executions_at_once
    one_worker_does_one_thing_after_another
    heads_up_prepares
    dropping_a_request_cancels_it
    large_inputs_and_results
    broken_code_is_not_tried_again
}

async fn execute(host: &ValidationHost, pvf: &Pvf, request: ExecuteRequest) -> Answer {
    host.execute_pvf(pvf.clone(), request).await.expect("an answer")
}

fn valid(answer: &Answer) -> &ValidationResult {
    let Outcome::Valid(result) = &answer.outcome else { panic!("not valid: {answer:?}") };
    result
}

async fn a_chain_of_blocks_and_a_bad_one(host: Host) {
    let mut head = Head::genesis();
    let mut state = 0;
    for n in 1..=10 {
        let block = Block { state, increment: n };
        let answer = execute(host.handle(), &adder(), backing(head.encode(), block.encode())).await;
        head = head.next(&block);
        state = block.next_state();
        assert_eq!(valid(&answer).head_data, head.encode());
        assert_eq!(valid(&answer).hrmp_watermark, 7);
    }
    let bad = Block { state: state + 1, increment: 1 };
    let answer = execute(host.handle(), &adder(), backing(head.encode(), bad.encode())).await;
    assert!(matches!(answer.outcome, Outcome::Invalid(InvalidReason::WorkerReported(_))), "{answer:?}");
    assert_eq!(host.status().await.prepared, 1);
}

async fn compressed_code_and_pov(host: Host) {
    let code = compress_weakly(ADDER, 1 << 20).unwrap();
    let pvf = Pvf::new(code, ExecutorParams::default());
    assert_ne!(pvf.code_hash(), adder().code_hash(), "the hash is of the code as submitted");
    let mut request = good_block();
    request.block_data = compress_weakly(&request.block_data, 1000).unwrap().into();
    let compressed = execute(host.handle(), &pvf, request.clone()).await;
    assert_eq!(valid(&compressed), valid(&execute(host.handle(), &adder(), good_block()).await));
    // Said to be decompressed already, it is handed on as it is, and the guest does not know what to do with it.
    request.context.block_data_form = BlockDataForm::Decompressed;
    let answer = execute(host.handle(), &pvf, request).await;
    assert!(matches!(answer.outcome, Outcome::Invalid(InvalidReason::WorkerReported(_))), "{answer:?}");
}

async fn malformed_code_and_pov(host: Host) {
    let mut code = compress_weakly(ADDER, 1 << 20).unwrap();
    code.truncate(code.len() / 2);
    let mut request = good_block();
    request.block_data = compress_weakly(&[7; 1000], 1000).unwrap()[..20].to_vec().into();
    for (code, expected) in [
        (code, "could not decompress"),
        (b"this is not wasm".to_vec(), "prevalidation"),
        (ADDER[..ADDER.len() / 2].to_vec(), "prevalidation"),
        (vec![], "prevalidation"),
    ] {
        let pvf = Pvf::new(code, ExecutorParams::default());
        let checked = host.handle().precheck_pvf(pvf.clone()).await.unwrap();
        let executed = execute(host.handle(), &pvf, good_block()).await;
        for answer in [checked, executed] {
            let Outcome::PreparationFailed(error) = &answer.outcome else { panic!("{answer:?}") };
            assert!(error.to_string().contains(expected) && error.is_deterministic(), "{error}");
        }
    }
    let answer = execute(host.handle(), &adder(), request).await;
    assert_eq!(answer.outcome, Outcome::Invalid(InvalidReason::PovDecompression));
}

async fn bombs_are_refused_to_the_byte(host: Host) {
    let code = compress_weakly(ADDER, 1 << 20).unwrap();
    let limited = |limit: usize| Pvf::new(code.clone(), ExecutorParams::default()).with_code_bomb_limit(limit as u32);
    // The refusal first: an artifact, once it is there, hides the limit.
    let answer = host.handle().precheck_pvf(limited(ADDER.len() - 1)).await.unwrap();
    assert!(matches!(answer.outcome, Outcome::PreparationFailed(PrepareError::CouldNotDecompress(_))), "{answer:?}");
    let other = compress_weakly(&distinct_adder(1), 1 << 20).unwrap();
    let exact = Pvf::new(other, ExecutorParams::default()).with_code_bomb_limit(distinct_adder(1).len() as u32);
    assert_eq!(host.handle().precheck_pvf(exact).await.unwrap().outcome, Outcome::PrecheckOk);

    let mut request = good_block();
    let plain = request.block_data.len();
    request.block_data = compress_weakly(&request.block_data, 1000).unwrap().into();
    request.pov_bomb_limit = plain as u32;
    valid(&execute(host.handle(), &adder(), request.clone()).await);
    request.pov_bomb_limit -= 1;
    let answer = execute(host.handle(), &adder(), request).await;
    assert_eq!(answer.outcome, Outcome::Invalid(InvalidReason::PovDecompression));
}

async fn what_version_3_descriptors_append(host: Host) {
    let extension = ValidationParamsExtension::V3 { relay_parent: [1; 32], scheduling_parent: [2; 32] };
    let plain = 1 + 4 + 1 + 5 + 4 + 32;
    // A guest that accepts only parameters of one length.
    for (wanted, sent, good) in [
        (plain + 65, Some(extension.clone()), true),
        (plain + 65, None, false),
        (plain, Some(extension.clone()), false),
        (plain, None, true),
    ] {
        let mut request = backing(&b"head"[..], &b"block"[..]);
        request.context.extension = sent;
        let pvf = Pvf::new(wants_length(wanted), ExecutorParams::default());
        let answer = execute(host.handle(), &pvf, request).await;
        assert_eq!(matches!(answer.outcome, Outcome::Valid(_)), good, "{wanted}: {:?}", answer.outcome);
    }
}

async fn parameters_and_their_effect_on_the_artifact(host: Host) {
    let with = |params: &[ExecutorParam]| Pvf::new(ADDER, ExecutorParams(params.to_vec()));
    let first = execute(host.handle(), &with(&[]), good_block()).await;
    assert!(!first.artifact.unwrap().cached);
    let without_effect =
        [ExecutorParam::MaxMemoryPages(4096), ExecutorParam::PvfPrepTimeout(PvfPrepKind::Precheck, 50_000)];
    let second = execute(host.handle(), &with(&without_effect), good_block()).await;
    assert!(second.artifact.unwrap().cached);
    assert_eq!(host.status().await.prepared, 1);
    let third = execute(host.handle(), &with(&[ExecutorParam::StackLogicalMax(2048)]), good_block()).await;
    valid(&third);
    assert!(!third.artifact.unwrap().cached);
    assert_eq!(host.status().await.prepared, 2);
}

async fn the_queue_does_not_stall_over_parameters(host: Host) {
    let requests = (0..12).map(|n| {
        let params = ExecutorParams(vec![ExecutorParam::StackLogicalMax(1024 + n)]);
        let handle = host.handle();
        async move { execute(handle, &Pvf::new(ADDER, params), good_block()).await }
    });
    for answer in futures::future::join_all(requests).await {
        valid(&answer);
    }
    assert_eq!(host.status().await.prepared, 12);
}

/// Does something to the one artifact in the store, between two executions that are both valid. The second is by a
/// worker that has no copy: its own was not damaged.
async fn with_artifact_harmed(host: Host, harm: impl Fn(&std::path::Path)) {
    let pvf = adder();
    assert_eq!(host.handle().precheck_pvf(pvf.clone()).await.unwrap().outcome, Outcome::PrecheckOk);
    let artifacts = host.artifacts();
    assert_eq!(artifacts.len(), 1);
    let before = std::fs::read(&artifacts[0]).unwrap();
    harm(&artifacts[0]);
    let answer = execute(host.handle(), &pvf, good_block()).await;
    valid(&answer);
    assert_eq!(host.status().await.prepared, 2);
    assert_eq!(std::fs::read(&artifacts[0]).unwrap(), before, "prepared again, to the same bytes");
}

async fn a_deleted_artifact(host: Host) {
    with_artifact_harmed(host, |file| std::fs::remove_file(file).unwrap()).await;
}

async fn a_corrupted_artifact(host: Host) {
    with_artifact_harmed(host, |file| {
        let mut bytes = std::fs::read(file).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(file, bytes).unwrap();
    })
    .await;
}

async fn an_artifact_of_something_else(host: Host) {
    // A sealed artifact, but of another code: its MAC does not fit this one's id.
    let other = Pvf::new(distinct_adder(1), ExecutorParams::default());
    host.handle().precheck_pvf(other).await.unwrap();
    let foreign = std::fs::read(&host.artifacts()[0]).unwrap();
    let other_file = host.artifacts()[0].clone();
    host.handle().precheck_pvf(adder()).await.unwrap();
    let ours = host.artifacts().into_iter().find(|f| *f != other_file).unwrap();
    std::fs::write(&ours, foreign).unwrap();
    valid(&execute(host.handle(), &adder(), good_block()).await);
    assert_eq!(host.status().await.prepared, 3);
}

async fn executions_time_out(host: Host) {
    let mut request = good_block();
    request.exec_timeout = Some(Duration::from_millis(200));
    let answer = execute(host.handle(), &endless(), request).await;
    assert_eq!(answer.outcome, Outcome::Invalid(InvalidReason::HardTimeout { limit_ms: 200 }));
    assert_eq!(answer.attempts, 1, "nobody retries a time-out");
    valid(&execute(host.handle(), &adder(), good_block()).await);
}

async fn preparations_time_out(host: Host) {
    // Long enough that starting the process, on a machine with other things to do, is nothing beside the wall clock's
    // limit, which is four times as much.
    let pvf = Pvf::new(corpus::large(6000), ExecutorParams::default()).with_prepare_timeout(Duration::from_millis(500));
    let answer = host.handle().precheck_pvf(pvf).await.unwrap();
    assert_eq!(answer.outcome, Outcome::PreparationFailed(PrepareError::TimedOut { limit_ms: 500 }));
    valid(&execute(host.handle(), &adder(), good_block()).await);
}

async fn memory_of_a_preparation(host: Host) {
    const MIB: u64 = 1024 * 1024;
    let with = |code: Vec<u8>, limit| Pvf::new(code, ExecutorParams(vec![ExecutorParam::PrecheckingMaxMemory(limit)]));
    let inside = host.handle().precheck_pvf(with(ADDER.to_vec(), 256 * MIB)).await.unwrap();
    assert_eq!(inside.outcome, Outcome::PrecheckOk);
    // 40 MiB of data at both ends of a memory: its image alone is over the limit.
    let greedy = corpus::all().into_iter().find(|c| c.name == "plain").unwrap();
    let greedy = sparse_memory((greedy.wasm)());
    let over = host.handle().precheck_pvf(with(greedy, 256 * MIB)).await.unwrap();
    assert_eq!(over.outcome, Outcome::PreparationFailed(PrepareError::OutOfMemory));
    valid(&execute(host.handle(), &adder(), good_block()).await);
}

/// The module with 6000 pages of memory and a byte of data at their end, so that the compiler makes an image of
/// 375 MiB.
fn sparse_memory(wasm: Vec<u8>) -> Vec<u8> {
    use wasm_instrument::parity_wasm::elements::{
        self, DataSegment, InitExpr, Instruction, MemoryType, Module, Section,
    };
    let mut module: Module = elements::deserialize_buffer::<Module>(&wasm).unwrap();
    *module.memory_section_mut().unwrap().entries_mut() = vec![MemoryType::new(6000, None)];
    let at = |address: i32| {
        let offset = InitExpr::new(vec![Instruction::I32Const(address), Instruction::End]);
        DataSegment::new(0, Some(offset), vec![1])
    };
    let ends = [at(0), at(6000 * 65_536 - 1)];
    if module.data_section().is_none() {
        module.insert_section(Section::Data(elements::DataSection::with_entries(vec![]))).unwrap();
    }
    module.data_section_mut().unwrap().entries_mut().extend(ends);
    elements::serialize(module).unwrap()
}

async fn two_executions_at_once(host: Host) {
    let mut request = good_block();
    request.exec_timeout = Some(Duration::from_secs(100));
    // The same twice would be one execution.
    request.fresh = true;
    let ask = || host.handle().execute_pvf(endless(), request.clone());
    let both_run = until("two executions run", async || {
        let status = host.status().await;
        (status.workers.iter().map(|w| w.running).sum::<u32>() == 2).then_some(())
    });
    // The requests never end by themselves: they are dropped, and so cancelled, once both were seen running.
    tokio::select! {
        _ = ask() => panic!("an endless guest ended"),
        _ = ask() => panic!("an endless guest ended"),
        () = both_run => {}
    }
}

async fn one_worker_does_one_thing_after_another(host: Host) {
    for n in 0..4 {
        let pvf = Pvf::new(distinct_adder(n), ExecutorParams::default());
        assert_eq!(host.handle().precheck_pvf(pvf.clone()).await.unwrap().outcome, Outcome::PrecheckOk);
        valid(&execute(host.handle(), &pvf, good_block()).await);
    }
}

async fn heads_up_prepares(host: Host) {
    let answers = host.handle().heads_up(vec![adder()]).await.unwrap();
    assert_eq!(answers[0].outcome, Outcome::HeadsUpTaken);
    until("the artifact is there", async || (host.artifacts().len() == 1).then_some(())).await;
    until("its preparation is reported", async || {
        host.status().await.workers.iter().all(|w| w.running == 0).then_some(())
    })
    .await;
    let answer = execute(host.handle(), &adder(), good_block()).await;
    assert!(answer.artifact.unwrap().cached);
}

async fn dropping_a_request_cancels_it(host: Host) {
    let mut request = good_block();
    request.exec_timeout = Some(Duration::from_secs(100));
    let running = until("it runs", async || {
        let status = host.status().await;
        (status.executed == 1 && status.workers.iter().any(|w| w.running == 1)).then_some(())
    });
    tokio::select! {
        answer = host.handle().execute_pvf(endless(), request) => panic!("an endless guest ended: {answer:?}"),
        () = running => {}
    }
    until("its slot is free and nothing is left of it", async || {
        let status = host.status().await;
        (status.requests == 0 && status.workers.iter().all(|w| w.running == 0)).then_some(())
    })
    .await;
}

async fn large_inputs_and_results(host: Host) {
    // 3 MiB each: over the limit of the fleet's bus, so they travel through the store.
    const LARGE: usize = 3 * 1024 * 1024;
    let echo = Pvf::new(corpus::echo_like(), ExecutorParams::default());
    let answer = execute(host.handle(), &echo, backing(b"small".to_vec(), vec![7; LARGE])).await;
    assert_eq!(valid(&answer).head_data, b"small");

    let result = ValidationResult {
        head_data: vec![1],
        new_validation_code: Some(vec![9; LARGE].into()),
        upward_messages: vec![],
        horizontal_messages: vec![],
        processed_downward_messages: 0,
        hrmp_watermark: 0,
    };
    let code = corpus::returns(&result.encode());
    assert!(code.len() > LARGE);
    let answer = execute(host.handle(), &Pvf::new(code, ExecutorParams::default()), good_block()).await;
    assert_eq!(valid(&answer), &result);
}

async fn broken_code_is_not_tried_again(host: Host) {
    let pvf = Pvf::new(b"this is not wasm".to_vec(), ExecutorParams::default());
    for _ in 0..3 {
        let answer = execute(host.handle(), &pvf, good_block()).await;
        assert!(matches!(answer.outcome, Outcome::PreparationFailed(PrepareError::Prevalidation(_))));
    }
    assert_eq!(host.status().await.prepared, 1);
    let bad = execute(host.handle(), &adder(), bad_block()).await;
    assert!(matches!(bad.outcome, Outcome::Invalid(_)), "and the queue goes on after a failure");
}
