//! `pvf sweep`: many codes, and two runs side by side.

use super::{
    guest,
    node::{Chain, Node},
    run,
};
use crate::tool::CliFixture;
use pvf_guests::adder::ADDER;
use serde_json::Value;

/// A code that prepares; each number is another one.
fn code(n: u32) -> Vec<u8> {
    guest("", &format!("(drop (i32.const {n}))"))
}

#[test]
fn twenty_codes_are_prepared_and_the_one_that_is_not_is_named() {
    let cli = CliFixture::new();
    std::fs::create_dir(cli.path().join("codes")).unwrap();
    for n in 0..19 {
        cli.file(&format!("codes/{n:02}.wasm"), &code(n));
    }
    cli.file("codes/broken.wasm", b"\0asm\x01\0\0\0garbage");
    let (text, said) = run(&cli, &["sweep", "codes", "--out", "now.json"], 1);
    assert!(text.contains("20 codes, 1 cannot be prepared"), "{text}");
    assert!(said.contains("broken.wasm: preparation_failed: prevalidation"), "{said}");
    // Compared with itself nothing is worse: what failed before is known.
    let (text, _) = run(&cli, &["sweep", "codes", "--baseline", "now.json"], 0);
    assert!(text.contains("over 19 codes that both prepared"), "{text}");
    // A code that the other run prepared and this one does not.
    let mut before: Value = serde_json::from_slice(&std::fs::read(cli.path().join("now.json")).unwrap()).unwrap();
    let broken = before["codes"].as_array_mut().unwrap().iter_mut().find(|of| of["name"] == "broken.wasm").unwrap();
    broken["verdict"] = "ok".into();
    cli.file("before.json", before.to_string().as_bytes());
    let (text, _) = run(&cli, &["sweep", "codes", "--baseline", "before.json"], 1);
    assert!(text.contains("NOT PREPARED, AND NOT KNOWN OF THE BASELINE broken.wasm"), "{text}");
    cli.fails(&["sweep", "codes", "--baseline", "code.wasm"], 2, &["--baseline code.wasm"]);
    cli.fails(&["sweep", "code.wasm", "good"], 2, &["good", "not validation code"]);
    cli.fails(&["sweep", "code.wasm", "--out", "no/such/folder"], 2, &["--out"]);
    cli.fails(&["sweep"], 2, &["no codes"]);
    cli.fails(&["sweep", "codes", "--save", "x", "--network", "polkadot"], 2, &["--save", "URL"]);
}

#[test]
fn the_codes_of_a_network_are_prepared_each_once() {
    let cli = CliFixture::new();
    let codes = [(1000, ADDER.to_vec()), (2000, ADDER.to_vec()), (2001, code(1))];
    let node = Node::start(Chain { codes: codes.into(), next: [(2001, code(2))].into(), ..Chain::default() });
    let objects = cli.json(&["sweep", "--network", &node.url, "--save", "codes"], 0);
    let names: Vec<_> = objects[0]["codes"].as_array().unwrap().iter().map(|of| of["name"].as_str().unwrap()).collect();
    assert_eq!(names.len(), 3, "{names:?}");
    for name in ["parachain 1000, 2000", "parachain 2001", "parachain 2001 (next)"] {
        assert!(names.contains(&name), "{names:?}");
    }
    assert_eq!(std::fs::read_dir(cli.path().join("codes")).unwrap().count(), 3);
    // The saved codes can be swept without the node.
    run(&cli, &["sweep", "codes"], 0);
}
