//! Executor parameters: whatever decodes is taken and has the verdict of the existing host, unless the operator's
//! ceilings are lower.

use pvf::{Answer, Pvf, ValidationHost};
use pvf_guests::{
    adder::ADDER,
    corpus::{self, busy},
    distinct_adder,
};
use pvf_shared::{
    client::ClientError,
    params::{
        ExecutorParam::{
            self, EnabledHostFunction, MaxMemoryPages, PrecheckingMaxMemory, PvfExecTimeout, PvfPrepTimeout,
            StackLogicalMax, StackNativeMax, WasmExtBulkMemory,
        },
        ExecutorParams, HostFunctionSet, PvfExecKind, PvfPrepKind,
    },
    verdict::Outcome,
};
use pvf_tests::{
    fleet::{Fleet, FleetConfig},
    host::Host,
    requests::good_block,
};

const BACKING: PvfExecKind = PvfExecKind::Backing;
const PREPARE: PvfPrepKind = PvfPrepKind::Prepare;
const PRECHECK: PvfPrepKind = PvfPrepKind::Precheck;
/// A minute, ms: more than anything here takes.
const MINUTE: u64 = 60_000;

fn pvf(code: Vec<u8>, params: &[ExecutorParam]) -> Pvf {
    Pvf::new(code, ExecutorParams(params.to_vec()))
}

/// A guest of the corpus.
fn guest(name: &str) -> Vec<u8> {
    let case = corpus::all().into_iter().find(|case| case.name == name).expect("a case of the corpus");
    (case.wasm)()
}

async fn execute(host: &ValidationHost, pvf: Pvf) -> Answer {
    host.execute_pvf(pvf, good_block()).await.expect("an answer")
}

/// Panics unless the outcome has this name, and these words in its reason.
#[track_caller]
fn assert_outcome(case: &str, outcome: &Outcome, name: &str, words: &str) {
    let reason = outcome.reason().unwrap_or_default();
    assert!(outcome.name() == name && reason.contains(words), "{case}: {name} ({words}) expected, got {outcome:?}");
}

/// Code, parameters, and the verdict that it has with these: its name, and a part of its text.
type Row = (Vec<u8>, &'static [ExecutorParam], (&'static str, &'static str));

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn executions_have_the_verdict_of_the_existing_host_with_any_parameters() {
    let host = Host::embedded().await;
    let at_limit = || guest("memory_at_the_limit");
    let deep = || guest("stack_overflow");
    let adder = || ADDER.to_vec();
    let construction = ("possibly_invalid", "construct");
    let valid = ("valid", "");
    // Code that is prepared under other limits must not have been prepared before.
    let table: Vec<Row> = vec![
        (adder(), &[], valid),
        // 32 pages are left.
        (adder(), &[MaxMemoryPages(0)], valid),
        (guest("memory_over_half_the_limit"), &[MaxMemoryPages(0)], construction),
        (at_limit(), &[MaxMemoryPages(2048)], valid),
        (at_limit(), &[MaxMemoryPages(2047)], construction),
        (at_limit(), &[MaxMemoryPages(0), MaxMemoryPages(2048)], valid),
        (at_limit(), &[MaxMemoryPages(2048), MaxMemoryPages(0)], construction),
        (at_limit(), &[MaxMemoryPages(65_536)], valid),
        (at_limit(), &[MaxMemoryPages(u32::MAX)], valid),
        (adder(), &[StackLogicalMax(0)], ("invalid", "unreachable")),
        (adder(), &[StackLogicalMax(u32::MAX)], valid),
        // It takes over a second to use up the native stack.
        (deep(), &[StackLogicalMax(u32::MAX), PvfExecTimeout(BACKING, MINUTE)], ("invalid", "call stack exhausted")),
        (adder(), &[StackLogicalMax(0), StackLogicalMax(65_536)], valid),
        (adder(), &[StackLogicalMax(65_536), StackLogicalMax(0)], ("invalid", "unreachable")),
        (adder(), &[StackNativeMax(0)], construction),
        // The same without an artifact that other parameters have made.
        (distinct_adder(1), &[StackNativeMax(0)], construction),
        (adder(), &[StackNativeMax(1)], ("invalid", "call stack exhausted")),
        (adder(), &[StackNativeMax(65_536)], valid),
        (deep(), &[StackNativeMax(65_536)], ("invalid", "call stack exhausted")),
        (deep(), &[StackNativeMax(65_536), StackNativeMax(256 << 20)], ("invalid", "unreachable")),
        (adder(), &[StackNativeMax(u32::MAX)], valid),
        (distinct_adder(2), &[PrecheckingMaxMemory(0)], valid),
        (distinct_adder(3), &[PrecheckingMaxMemory(u64::MAX)], valid),
        (distinct_adder(4), &[PrecheckingMaxMemory(65_536)], ("preparation_failed", "out of memory")),
        (
            distinct_adder(5),
            &[PrecheckingMaxMemory(65_536), PrecheckingMaxMemory(0)],
            ("preparation_failed", "out of memory"),
        ),
        (distinct_adder(6), &[PrecheckingMaxMemory(0), PrecheckingMaxMemory(65_536)], valid),
        (distinct_adder(7), &[PvfPrepTimeout(PREPARE, 0)], ("preparation_failed", "more than 0 ms")),
        (distinct_adder(8), &[PvfPrepTimeout(PREPARE, u64::MAX)], valid),
        (distinct_adder(9), &[PvfPrepTimeout(PRECHECK, 0)], valid),
        (distinct_adder(10), &[PvfPrepTimeout(PREPARE, MINUTE), PvfPrepTimeout(PREPARE, 0)], valid),
        (adder(), &[PvfExecTimeout(BACKING, 0)], ("invalid", "hard timeout: more than 0 ms")),
        (adder(), &[PvfExecTimeout(BACKING, u64::MAX)], valid),
        (adder(), &[PvfExecTimeout(BACKING, MINUTE), PvfExecTimeout(BACKING, 0)], valid),
        (adder(), &[PvfExecTimeout(BACKING, 0), PvfExecTimeout(BACKING, MINUTE)], ("invalid", "hard timeout")),
        // Backing for longer than an approval.
        (busy(1000), &[PvfExecTimeout(BACKING, MINUTE), PvfExecTimeout(PvfExecKind::Approval, 1)], valid),
        (adder(), &[WasmExtBulkMemory, WasmExtBulkMemory], valid),
        (adder(), &[EnabledHostFunction(HostFunctionSet::EccRfc163); 2], valid),
    ];
    for (code, params, (name, words)) in table {
        let answer = execute(host.handle(), pvf(code, params)).await;
        assert_outcome(&format!("{params:?}"), &answer.outcome, name, words);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prechecks_have_the_verdict_of_the_existing_host_with_any_parameters() {
    let host = Host::embedded().await;
    let ok = ("ok", "");
    let memory = ("preparation_failed", "out of memory");
    let table: Vec<(&[ExecutorParam], (&str, &str))> = vec![
        (&[MaxMemoryPages(0)], ok),
        (&[StackLogicalMax(0)], ok),
        (&[StackLogicalMax(u32::MAX)], ok),
        (&[StackNativeMax(0)], ("preparation_failed", "construct")),
        (&[StackNativeMax(1)], ok),
        (&[StackNativeMax(u32::MAX)], ok),
        (&[PrecheckingMaxMemory(0)], ok),
        (&[PrecheckingMaxMemory(1)], memory),
        (&[PrecheckingMaxMemory(65_536)], memory),
        (&[PrecheckingMaxMemory(u64::MAX)], ok),
        (&[PvfPrepTimeout(PRECHECK, 0)], ("preparation_failed", "more than 0 ms")),
        (&[PvfPrepTimeout(PRECHECK, MINUTE), PvfPrepTimeout(PREPARE, 0)], ok),
    ];
    for (n, (params, (name, words))) in (0..).zip(table) {
        // Each code is new: an artifact that others have made hides the limits of a preparation.
        let answer = host.handle().precheck_pvf(pvf(distinct_adder(n), params)).await.expect("an answer");
        assert_outcome(&format!("{params:?}"), &answer.outcome, name, words);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_over_the_operators_ceilings_are_refused_and_others_run() {
    let settings = "[ceilings]\nmemory_pages = 4096\nnative_stack = 268435456\nlogical_stack = 65536\n\
        prepare_memory = 17179869184\nprepare_timeout = \"6m\"\nexecute_timeout = \"12s\"\n";
    let fleet = Fleet::with(FleetConfig { settings: settings.into(), ..FleetConfig::default() }).await;
    for (param, words) in [
        (MaxMemoryPages(4097), "MaxMemoryPages: 4097 is outside 0..=4096 pages"),
        (StackNativeMax(u32::MAX), "StackNativeMax: 4294967295 is outside 0..=268435456 bytes"),
        (StackLogicalMax(65_537), "StackLogicalMax: 65537 is outside 0..=65536 values"),
        (PrecheckingMaxMemory(1 << 40), "PrecheckingMaxMemory: 1099511627776 is outside 0..=17179869184 bytes"),
        (PvfPrepTimeout(PREPARE, 360_001), "preparation timeout: 360001 is outside 0..=360000 ms"),
        (PvfExecTimeout(BACKING, u64::MAX), "execution timeout: 18446744073709551615 is outside 0..=12000 ms"),
    ] {
        let refused = fleet.host.execute_pvf(pvf(ADDER.to_vec(), &[param]), good_block()).await.unwrap_err();
        assert!(
            matches!(&refused, ClientError::Refused(refusal) if refusal.is_over_operators_limit()),
            "{param:?}: {refused}"
        );
        let text = refused.to_string();
        assert!(text.contains(words) && text.contains("over the operator's limit"), "{text}");
    }
    assert_eq!((fleet.status().await.requests, fleet.status().await.prepared), (0, 0));
    for params in [&[][..], &[MaxMemoryPages(4096)]] {
        let answer = execute(&fleet.host, pvf(ADDER.to_vec(), params)).await;
        assert_outcome(&format!("{params:?}"), &answer.outcome, "valid", "");
    }
}

/// An embedded host has the same ceilings.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_embedded_host_has_ceilings() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = pvf::Config::new(dir.path().to_str().unwrap());
    config.worker_exe = Some(pvf_tests::processes::binary("pvf-execute-worker"));
    config.coordinator.ceilings.memory_pages = 2048;
    let (host, run) = pvf::start(config, pvf::Metrics::default()).await.unwrap();
    tokio::spawn(run);
    let refused = host.execute_pvf(pvf(ADDER.to_vec(), &[MaxMemoryPages(2049)]), good_block()).await.unwrap_err();
    assert!(refused.to_string().contains("MaxMemoryPages: 2049 is outside 0..=2048 pages"), "{refused}");
    assert_outcome("2048", &execute(&host, pvf(ADDER.to_vec(), &[MaxMemoryPages(2048)])).await.outcome, "valid", "");
}
