//! The engine against what it is built from: every host function against its native result, every feature of wasm
//! accepted or refused where the rules say so, limits to the unit, bits of NaNs, the same result on every run. All
//! in real preparations and executions.

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

/// A host function that is linked is tested, and what is tested is linked.
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
    assert_eq!(set(&linked).len(), linked.len(), "two host functions have one name");
    assert_eq!(set(&tested).len(), tested.len(), "a host function is tested twice");
    let without: Vec<_> = set(&linked).difference(&set(&tested)).copied().collect();
    let unknown: Vec<_> = set(&tested).difference(&set(&linked)).copied().collect();
    assert!(without.is_empty() && unknown.is_empty(), "no test: {without:?}; not linked: {unknown:?}");
    let always = pvf_worker::wasm::host_functions(&ExecutorParams::default()).len();
    assert_eq!((always, linked.len() - always), (53, curves::TESTED.len()), "always linked, and by the parameter");
}
