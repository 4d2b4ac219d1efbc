//! Warnings of the command-line tool `pvf`: what is run all the same, and what other hosts may judge differently.

use crate::tool::CliFixture;
use serde_json::Value;
use sp_maybe_compressed_blob::compress_weakly;

/// Runs `pvf` and expects this exit code and this verdict; returns the warnings.
#[track_caller]
fn warnings_of(cli: &CliFixture, args: &[&str], (code, verdict): (i32, &str)) -> Vec<String> {
    let output = cli.pvf(&[args, &["--json"]].concat());
    let (stdout, stderr) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(code), "{args:?}: {stdout}{stderr}");
    let answer: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(answer["verdict"], verdict, "{args:?}: {answer}");
    stderr.lines().filter(|line| line.starts_with("warning: ")).map(str::to_owned).collect()
}

#[test]
fn executor_params_that_break_a_rule_are_used_with_a_warning_and_refused_with_strict() {
    let cli = CliFixture::new();
    for (params, broken, code, verdict) in [
        (
            &br#"[{"MaxMemoryPages":0},{"MaxMemoryPages":2048}]"#[..],
            "MaxMemoryPages = 0 is outside 1..=65536",
            0,
            "valid",
        ),
        (br#"[{"MaxMemoryPages":1},{"MaxMemoryPages":2048}]"#, "MaxMemoryPages given more than once", 0, "valid"),
        (br#"[{"StackLogicalMax":7}]"#, "StackLogicalMax = 7 is outside 1024..=131072", 1, "invalid"),
    ] {
        cli.file("params.json", params);
        let args = ["execute", "code.wasm", "--params", "good", "--executor-params", "params.json"];
        let warnings = warnings_of(&cli, &args, (code, verdict));
        assert!(warnings.len() == 1 && warnings[0].contains(broken), "{warnings:?}");
        for command in [&args[..], &["precheck", "code.wasm", "--executor-params", "params.json"]] {
            cli.fails(&[command, &["--strict"]].concat(), 2, &["--executor-params params.json", broken]);
        }
    }
}

/// A module whose `validate_block` has a `br_table` of so many targets.
fn with_br_table(targets: u32) -> Vec<u8> {
    let leb = |mut n: u32| {
        let mut bytes = vec![];
        while n >= 0x80 {
            bytes.push(n as u8 | 0x80);
            n >>= 7;
        }
        bytes.push(n as u8);
        bytes
    };
    // block; local.get 0; br_table with targets and default 0; end; i64.const 0; end
    let table = [leb(targets), vec![0; targets as usize + 1]].concat();
    let body = [&[0, 0x02, 0x40, 0x20, 0, 0x0e][..], &table, &[0x0b, 0x42, 0, 0x0b]].concat();
    let code = [vec![1], leb(body.len() as u32), body].concat();
    [
        &b"\0asm\x01\0\0\0"[..],
        // The type (i32, i32) -> i64, one function, and its export.
        &[1, 7, 1, 0x60, 2, 0x7f, 0x7f, 1, 0x7e, 3, 2, 1, 0],
        b"\x07\x12\x01\x0evalidate_block\0\0",
        &[10],
        &leb(code.len() as u32),
        &code,
    ]
    .concat()
}

#[test]
fn a_precheck_warns_of_code_that_versions_of_the_compiler_judge_differently() {
    let cli = CliFixture::new();
    for (targets, code, verdict) in [(65_520, 0, "ok"), (65_521, 1, "preparation_failed")] {
        let wasm = with_br_table(targets);
        for bytes in [compress_weakly(&wasm, wasm.len()).unwrap(), wasm] {
            cli.file("table.wasm", &bytes);
            let warnings = warnings_of(&cli, &["precheck", "table.wasm"], (code, verdict));
            let warning = format!("warning: table.wasm: function 0 has a br_table with {targets} targets");
            assert_eq!(warnings.len(), usize::from(code == 1), "{warnings:?}");
            assert!(warnings.iter().all(|text| text.starts_with(&warning)), "{warnings:?}");
        }
    }
}
