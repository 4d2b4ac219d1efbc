//! Warnings of the command-line tool `pvf`: what is run all the same.

use crate::tool::CliFixture;
use serde_json::Value;

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
