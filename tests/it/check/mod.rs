//! `pvf check`, `watch`, `sweep`, `follow`, `network` and `execute --explain`, run as a parachain team runs them.

mod explain;
mod follow;
mod inputs;
mod network;
mod node;
mod report;
mod sweep;
mod upgrade;
mod watch;

use crate::tool::CliFixture;
use parity_scale_codec::Encode as _;
use pvf_guests::adder::{Block, Head};
use serde_json::{Value, json};
use std::process::Output;

/// Storage root of the relay parent.
const ROOT: [u8; 32] = [1; 32];
/// Limit of PoVs in the files.
const MAX_POV: u32 = 1 << 20;

/// A PoV of the adder as a collator exports it: the first block on genesis that claims this state.
fn adder_pov(state: u64) -> Vec<u8> {
    exported(&Head::genesis().encode(), &Block { state, increment: 1 }.encode())
}

/// A PoV and its context in the layout of exported PoVs.
fn exported(parent_head: &[u8], block_data: &[u8]) -> Vec<u8> {
    (block_data, parent_head, 7_u32, ROOT, MAX_POV).encode()
}

/// A snapshot with these limits and executor parameters.
fn snapshot(limits: &Value, params: &Value) -> String {
    json!({"format": "pvf-network/1", "chain": "test", "time": "2999-01-01T00:00:00Z", "limits": limits,
        "executor_params": params})
    .to_string()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs `pvf`, expects this exit code, and gives stdout and stderr.
#[track_caller]
fn run(cli: &CliFixture, args: &[&str], code: i32) -> (String, String) {
    let output = cli.pvf(args);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {}{}", stdout(&output), stderr(&output));
    (stdout(&output), stderr(&output))
}

/// A guest with a fixed result: empty head data, no messages. `body` runs before. Its memory has 17 pages.
fn guest(imports: &str, body: &str) -> Vec<u8> {
    let text = format!(
        r#"(module {imports}
            (memory (export "memory") 17)
            (global (export "__heap_base") i32 (i32.const 65536))
            (data (i32.const 100) "runtime")
            (data (i32.const 200) "Invalid parachain block data\1b[2J")
            (func $validate (export "validate_block") (param i32 i32) (result i64)
                {body}
                (i64.const 0x0000000C_00000800)))"#
    );
    wat::parse_str(text).unwrap()
}
