//! Conformance of the engine, in real preparations and executions: every host function against its native result, every
//! wasm proposal accepted or rejected at the right stage, exact limits, the bits of NaNs, the same result on every run.

#[path = "../common/mod.rs"]
mod common;

mod call;
mod guest;

mod allocator;
mod crypto;
mod curves;
mod determinism;
mod features;
mod hashing;
mod heap;
mod keystore;
mod logging;
mod memory;
mod misc;
mod nan;
mod stack;
mod trie;

use pvf_shared::params::ExecutorParams;
use std::collections::BTreeSet;

/// Every linked host function has exactly one test, and every tested function is linked.
#[test]
fn every_host_function_has_its_test() {
    let linked = pvf_worker::wasm::host_functions(&ExecutorParams(vec![curves::ENABLED]));
    let linked: Vec<&str> = linked.iter().map(|function| function.name()).collect();
    let tested = [
        allocator::TESTED,
        crypto::TESTED,
        curves::TESTED,
        hashing::TESTED,
        keystore::TESTED,
        logging::TESTED,
        misc::TESTED,
        trie::TESTED,
    ]
    .concat();
    let set = |names: &[&'static str]| names.iter().copied().collect::<BTreeSet<_>>();
    assert_eq!(set(&linked).len(), linked.len(), "two host functions have the same name");
    assert_eq!(set(&tested).len(), tested.len(), "a host function is tested twice");
    let without: Vec<_> = set(&linked).difference(&set(&tested)).copied().collect();
    let unknown: Vec<_> = set(&tested).difference(&set(&linked)).copied().collect();
    assert!(without.is_empty() && unknown.is_empty(), "not tested: {without:?}; not linked: {unknown:?}");
    let always = pvf_worker::wasm::host_functions(&ExecutorParams::default()).len();
    assert_eq!(
        (always, linked.len() - always),
        (53, curves::TESTED.len()),
        "linked by default, and added by the parameter"
    );
}
