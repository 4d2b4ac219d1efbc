//! Files as people have them, given to the commands that take them.

use super::{adder_pov, exported, guest, run};
use crate::tool::CliFixture;
use parity_scale_codec::Encode as _;
use pvf_guests::adder::ADDER;
use serde_json::json;
use std::{io::Write as _, process::Stdio};

#[test]
fn code_is_read_from_each_kind_of_file() {
    let cli = CliFixture::new();
    let hex = format!("0x{}\n", hex::encode_upper(ADDER));
    cli.file("genesis-wasm", hex.as_bytes());
    let plain = json!({"name": "Mine", "relay_chain": "paseo", "para_id": 2000,
        "genesis": {"runtimeGenesis": {"code": hex.trim(), "patch": {}}}});
    cli.file("plain.json", plain.to_string().as_bytes());
    let raw = json!({"name": "Relay", "genesis": {"raw": {"top": {"0x3a636f6465": hex.trim()}}}});
    cli.file("raw.json", raw.to_string().as_bytes());
    for (file, word) in [
        ("genesis-wasm", "hex text of wasm"),
        ("plain.json", "parachain 2000 of paseo"),
        ("raw.json", "no validator runs"),
    ] {
        let (text, said) = run(&cli, &["precheck", file], 0);
        assert!(text.starts_with(&format!("{file}: ok")) && said.contains(word), "{text}{said}");
    }
    let mut command = cli.command(&["precheck", "-"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(ADDER).unwrap();
    assert!(child.wait_with_output().unwrap().status.success());
}

#[test]
fn povs_are_read_as_hex_and_in_folders() {
    let cli = CliFixture::new();
    std::fs::create_dir(cli.path().join("povs")).unwrap();
    cli.file("povs/1.pov", &adder_pov(0));
    cli.file("povs/2.pov", format!("0x{}\n", hex::encode(adder_pov(9))).as_bytes());
    cli.file("povs/readme.txt", b"no PoV");
    let objects = cli.json(&["execute", "code.wasm", "--pov", "povs"], 1);
    assert_eq!(objects.iter().map(|of| of["verdict"].as_str().unwrap()).collect::<Vec<_>>(), ["valid", "invalid"]);
    assert_eq!(objects[0]["usage"]["executions"][0]["pov_bytes"], 17);
}

#[test]
fn what_a_file_is_not_is_named() {
    let cli = CliFixture::new();
    cli.file("a.pov", &adder_pov(0));
    cli.file("cut.pov", &adder_pov(0)[..adder_pov(0).len() - 7]);
    cli.file("empty", b"");
    cli.file("block", &sp_maybe_compressed_blob::compress_weakly(b"block data", 100).unwrap());
    for (args, words) in [
        (&["precheck", "a.pov"][..], &["CODE", "exported PoV", "expected wasm"][..]),
        (&["precheck", "good"], &["CODE", "--params"]),
        (&["precheck", "empty"], &["CODE", "empty"]),
        (&["execute", "code.wasm", "--pov", "code.wasm"], &["--pov", "validation code"]),
        (&["execute", "code.wasm", "--pov", "good"], &["--pov", "--params"]),
        (&["execute", "code.wasm", "--pov", "cut.pov"], &["--pov", "cut.pov", "damaged"]),
        (&["execute", "code.wasm", "--pov", "block"], &["--pov", "bare block data", "--block-data"]),
        (&["execute", "code.wasm", "--pov", "nothing"], &["--pov", "nothing"]),
        (&["execute", "code.wasm", "--pov", "a.pov", "--relay-parent", "0x11"], &["--scheduling-parent"]),
        (
            &["execute", "code.wasm", "--pov", "a.pov", "--relay-parent", "0x11", "--scheduling-parent", "0x22"],
            &["--relay-parent", "32"],
        ),
    ] {
        cli.fails(args, 2, words);
    }
}

#[test]
fn the_hashes_of_version_3_reach_the_guest() {
    let cli = CliFixture::new();
    // Traps unless the parameters have the extension, which begins with its number, 3, 65 bytes before their end.
    let body = "(if (i32.ne (i32.load8_u (i32.sub (i32.add (local.get 0) (local.get 1)) (i32.const 65))) (i32.const 3))
        (then (unreachable)))";
    cli.file("v3.wasm", &guest("", body));
    cli.file("a.pov", &exported(b"head", b"block"));
    let hash = "0x".to_owned() + &"ab".repeat(32);
    let args = ["execute", "v3.wasm", "--pov", "a.pov"];
    run(&cli, &[&args[..], &["--relay-parent", &hash, "--scheduling-parent", &hash]].concat(), 0);
    run(&cli, &args, 1);
    // Block data with a scheduling proof needs them.
    let header = ([1_u8; 32], 4_u8, [2_u8; 32], [3_u8; 32], 0_u8).encode();
    let context = (b"head".to_vec(), 7_u32, super::ROOT).encode();
    cli.file("a.pov", &exported(b"head", &[b"VERSIONEDPBD\x02\x04", &header[..], &context].concat()));
    let (_, said) = run(&cli, &args, 1);
    assert!(said.contains("warning: a.pov: its block data has a scheduling proof"), "{said}");
}

#[test]
fn a_stdout_that_takes_nothing_is_an_error_and_no_panic() {
    let cli = CliFixture::new();
    let run = |stdout: std::fs::File| {
        let output = cli.command(&["network", "show", "polkadot"]).stdout(stdout).output().unwrap();
        (output.status.code(), super::stderr(&output))
    };
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let (code, said) = run(full);
    assert!(code == Some(3) && said.contains("error: stdout: No space left"), "{code:?}: {said}");
    // The other end of the pipe is closed.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let (code, said) = run(std::fs::File::from(std::os::fd::OwnedFd::from(writer)));
    assert!(code == Some(141) && !said.contains("panicked"), "{code:?}: {said}");
}
