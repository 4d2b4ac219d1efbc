//! Tests that must pass on both deployments: the embedded host and a fleet of processes.

use crate::on_both::on_both;
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
    verdict::{AmbiguousReason, InternalError, InvalidReason, Outcome, PrepareError},
};
use pvf_tests::{
    host::Host,
    processes::until,
    requests::{adder, backing, bad_block, endless, good_block, pvf_of},
};
use sp_maybe_compressed_blob::compress_weakly;
use std::time::Duration;

on_both! {
    a_chain_of_blocks_and_a_bad_one
    compressed_code_and_pov
    malformed_code_and_pov
    bombs_are_refused_to_the_byte
    extension_of_version_3_descriptors
    parameters_that_change_the_artifact
    requests_with_different_parameters_run_concurrently
    a_deleted_artifact_is_prepared_again
    a_corrupted_artifact_is_prepared_again
    an_artifact_of_other_code_is_prepared_again
    an_execution_times_out
    a_preparation_times_out
    the_memory_of_a_preparation_is_limited
    two_executions_run_concurrently
    jobs_on_one_worker_follow_each_other
    a_heads_up_prepares_the_artifact
    dropping_a_request_cancels_it
    large_inputs_and_results_need_no_store
    a_deterministic_failure_is_not_tried_again
    a_precheck_says_the_same_before_and_after_an_execution
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
    let pvf = pvf_of(code);
    assert_ne!(pvf.code_hash(), adder().code_hash(), "the hash is of the code as submitted");
    let mut request = good_block();
    request.block_data = compress_weakly(&request.block_data, 1000).unwrap().into();
    let compressed = execute(host.handle(), &pvf, request.clone()).await;
    assert_eq!(valid(&compressed), valid(&execute(host.handle(), &adder(), good_block()).await));
    // Declared as decompressed, it reaches the guest unchanged, which cannot decode it.
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
        let pvf = pvf_of(code);
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
    // The refusal first: once the artifact exists, the limit is not checked again.
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

async fn extension_of_version_3_descriptors(host: Host) {
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
        let pvf = pvf_of(wants_length(wanted));
        let answer = execute(host.handle(), &pvf, request).await;
        assert_eq!(matches!(answer.outcome, Outcome::Valid(_)), good, "{wanted}: {:?}", answer.outcome);
    }
}

async fn parameters_that_change_the_artifact(host: Host) {
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

async fn requests_with_different_parameters_run_concurrently(host: Host) {
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

/// Damages the only artifact in the store after its preparation. The execution that follows is by a worker without a
/// copy of its own: the artifact is prepared again, and the verdict is valid.
async fn with_damaged_artifact(host: Host, damage: impl Fn(&std::path::Path)) {
    let pvf = adder();
    assert_eq!(host.handle().precheck_pvf(pvf.clone()).await.unwrap().outcome, Outcome::PrecheckOk);
    let artifacts = host.artifacts();
    assert_eq!(artifacts.len(), 1);
    let before = std::fs::read(&artifacts[0]).unwrap();
    damage(&artifacts[0]);
    let answer = execute(host.handle(), &pvf, good_block()).await;
    valid(&answer);
    assert_eq!(host.status().await.prepared, 2);
    assert_eq!(std::fs::read(&artifacts[0]).unwrap(), before, "prepared again, to the same bytes");
}

async fn a_deleted_artifact_is_prepared_again(host: Host) {
    with_damaged_artifact(host, |file| std::fs::remove_file(file).unwrap()).await;
}

async fn a_corrupted_artifact_is_prepared_again(host: Host) {
    with_damaged_artifact(host, |file| {
        let mut bytes = std::fs::read(file).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(file, bytes).unwrap();
    })
    .await;
}

async fn an_artifact_of_other_code_is_prepared_again(host: Host) {
    // The signature of the other artifact is intact, but covers another artifact id.
    let other = pvf_of(distinct_adder(1));
    host.handle().precheck_pvf(other).await.unwrap();
    let foreign = std::fs::read(&host.artifacts()[0]).unwrap();
    let other_file = host.artifacts()[0].clone();
    host.handle().precheck_pvf(adder()).await.unwrap();
    let ours = host.artifacts().into_iter().find(|f| *f != other_file).unwrap();
    std::fs::write(&ours, foreign).unwrap();
    valid(&execute(host.handle(), &adder(), good_block()).await);
    assert_eq!(host.status().await.prepared, 3);
}

async fn an_execution_times_out(host: Host) {
    let mut request = good_block();
    request.exec_timeout = Some(Duration::from_secs(1));
    // While the machine gives its attempts too little CPU time, the answer is no verdict on the candidate.
    let outcome = until("the machine has time", async || {
        let outcome = execute(host.handle(), &endless(), request.clone()).await.outcome;
        (!matches!(outcome, Outcome::Internal(InternalError::Kernel(_)))).then_some(outcome)
    })
    .await;
    assert_eq!(outcome, Outcome::Invalid(InvalidReason::HardTimeout { limit_ms: 1000 }));
    valid(&execute(host.handle(), &adder(), good_block()).await);
}

async fn a_preparation_times_out(host: Host) {
    let pvf = pvf_of(corpus::large(6000)).with_prepare_timeout(Duration::from_millis(500));
    let outcome = host.handle().precheck_pvf(pvf).await.unwrap().outcome;
    assert_eq!(outcome, Outcome::PreparationFailed(PrepareError::TimedOut { limit_ms: 500 }));
    valid(&execute(host.handle(), &adder(), good_block()).await);
}

async fn a_precheck_says_the_same_before_and_after_an_execution(host: Host) {
    let case = |name| {
        let case = corpus::all().into_iter().find(|case| case.name == name).unwrap();
        pvf_of((case.wasm)())
    };
    let linkable = [adder(), pvf_of(distinct_adder(1))];
    let unlinkable = [case("import_other_module"), case("import_table")];
    for ([first_prechecked, first_executed], links) in [(linkable, true), (unlinkable, false)] {
        let precheck = async |pvf: &Pvf| {
            let outcome = host.handle().precheck_pvf(pvf.clone()).await.unwrap().outcome;
            match &outcome {
                Outcome::PrecheckOk => assert!(links),
                Outcome::PreparationFailed(PrepareError::RuntimeConstruction(_)) => assert!(!links),
                other => panic!("{other:?}"),
            }
            outcome
        };
        let before = precheck(&first_prechecked).await;
        for pvf in [&first_prechecked, &first_executed] {
            match execute(host.handle(), pvf, good_block()).await.outcome {
                Outcome::Valid(_) => assert!(links),
                Outcome::PossiblyInvalid(AmbiguousReason::RuntimeConstruction(_)) => assert!(!links),
                other => panic!("{other:?}"),
            }
            precheck(pvf).await;
        }
        assert_eq!(precheck(&first_prechecked).await, before);
    }
}

async fn the_memory_of_a_preparation_is_limited(host: Host) {
    const MIB: u64 = 1024 * 1024;
    let with = |code: Vec<u8>, limit| Pvf::new(code, ExecutorParams(vec![ExecutorParam::PrecheckingMaxMemory(limit)]));
    let inside = host.handle().precheck_pvf(with(ADDER.to_vec(), 256 * MIB)).await.unwrap();
    assert_eq!(inside.outcome, Outcome::PrecheckOk);
    let plain = corpus::all().into_iter().find(|case| case.name == "plain").unwrap();
    let over = host.handle().precheck_pvf(with(sparse_memory((plain.wasm)()), 256 * MIB)).await.unwrap();
    assert_eq!(over.outcome, Outcome::PreparationFailed(PrepareError::OutOfMemory));
    valid(&execute(host.handle(), &adder(), good_block()).await);
}

/// The module with 6000 pages of memory and a byte of data at each end, of which the compiler makes an image of 375
/// MiB.
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

async fn two_executions_run_concurrently(host: Host) {
    let mut request = good_block();
    request.exec_timeout = Some(Duration::from_secs(100));
    // Otherwise the two would be coalesced.
    request.fresh = true;
    let ask = || host.handle().execute_pvf(endless(), request.clone());
    let both_run = until("two executions run", async || {
        let status = host.status().await;
        (status.workers.iter().map(|w| w.running).sum::<u32>() == 2).then_some(())
    });
    // Dropping the requests, once both have been seen running, cancels them.
    tokio::select! {
        _ = ask() => panic!("an endless guest ended"),
        _ = ask() => panic!("an endless guest ended"),
        () = both_run => {}
    }
}

async fn jobs_on_one_worker_follow_each_other(host: Host) {
    for n in 0..4 {
        let pvf = pvf_of(distinct_adder(n));
        assert_eq!(host.handle().precheck_pvf(pvf.clone()).await.unwrap().outcome, Outcome::PrecheckOk);
        valid(&execute(host.handle(), &pvf, good_block()).await);
    }
}

async fn a_heads_up_prepares_the_artifact(host: Host) {
    let answers = host.handle().heads_up(vec![adder()], true).await.unwrap();
    assert_eq!(answers[0].outcome, Outcome::HeadsUpPrepared);
    until("the artifact is in the store", async || (host.artifacts().len() == 1).then_some(())).await;
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
    let running = until("the execution runs", async || {
        let status = host.status().await;
        (status.executed == 1 && status.workers.iter().any(|w| w.running == 1)).then_some(())
    });
    tokio::select! {
        answer = host.handle().execute_pvf(endless(), request) => panic!("an endless guest ended: {answer:?}"),
        () = running => {}
    }
    until("the slot is free and the request is gone", async || {
        let status = host.status().await;
        (status.requests == 0 && status.workers.iter().all(|w| w.running == 0)).then_some(())
    })
    .await;
}

async fn large_inputs_and_results_need_no_store(host: Host) {
    // Over the limit of the fleet's bus.
    const LARGE: usize = 3 * 1024 * 1024;
    let echo = pvf_of(corpus::echo_like());
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
    let answer = execute(host.handle(), &pvf_of(code), good_block()).await;
    assert_eq!(valid(&answer), &result);
}

async fn a_deterministic_failure_is_not_tried_again(host: Host) {
    let pvf = pvf_of(b"this is not wasm".to_vec());
    for _ in 0..3 {
        let answer = execute(host.handle(), &pvf, good_block()).await;
        assert!(matches!(answer.outcome, Outcome::PreparationFailed(PrepareError::Prevalidation(_))));
    }
    assert_eq!(host.status().await.prepared, 1);
    let bad = execute(host.handle(), &adder(), bad_block()).await;
    assert!(matches!(bad.outcome, Outcome::Invalid(_)), "{bad:?}");
}
