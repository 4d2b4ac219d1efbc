//! `pvf execute --explain`.

use super::{adder_pov, exported, guest, run};
use crate::tool::CliFixture;

const LOG: &str = r#"(import "env" "ext_logging_log_version_1" (func $log (param i32 i64 i64)))"#;
/// Logs as the runtime's panic handler does, and traps.
const PANIC: &str = "(call $log (i32.const 0) (i64.const 0x00000007_00000064) (i64.const 0x00000020_000000C8))
    (unreachable)";

#[test]
fn a_runtime_s_own_words_and_its_backtrace_are_shown() {
    let cli = CliFixture::new();
    cli.file("panics.wasm", &guest(LOG, PANIC));
    cli.file("a.pov", &exported(b"head", b"block"));
    let (text, _) = run(&cli, &["execute", "panics.wasm", "--pov", "a.pov", "--explain"], 1);
    for part in [
        "a.pov: invalid",
        "diagnostic run on this machine (not the verdict):",
        "| error runtime: Invalid parachain block data\\u{1b}[2J",
        "validate (function 1 +0x",
        "host calls: 1 of 1 functions",
        "ext_logging_log_version_1",
        "guest memory: 17 of 2080 pages",
        "of 65536 values",
    ] {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
    assert!(!text.contains('\u{1b}'), "the guest's control characters are escaped");
    let answer = cli.json(&["execute", "panics.wasm", "--pov", "a.pov", "--explain"], 1).remove(0);
    let explanation = &answer["explanation"];
    assert_eq!((&explanation["ended"], &explanation["log"][0]["level"]), (&"failed".into(), &"error".into()));
    assert_eq!(explanation["backtrace"][0]["function"], 1);
    // Without the option nothing of the guest's words is shown.
    let (text, _) = run(&cli, &["execute", "panics.wasm", "--pov", "a.pov"], 1);
    assert!(!text.contains("parachain block data"), "{text}");
}

#[test]
fn messages_are_shown_up_to_the_level_that_is_asked_for() {
    let cli = CliFixture::new();
    // Level 3 is debug.
    cli.file("talks.wasm", &guest(LOG, &PANIC.replace("i32.const 0", "i32.const 3").replace("(unreachable)", "")));
    cli.file("a.pov", &exported(b"head", b"block"));
    let args = ["execute", "talks.wasm", "--pov", "a.pov", "--explain"];
    let (text, _) = run(&cli, &args, 0);
    assert!(text.contains("logged nothing at level info"), "{text}");
    let (text, _) = run(&cli, &[&args[..], &["--guest-log", "debug"]].concat(), 0);
    assert!(text.contains("debug runtime: Invalid parachain block data"), "{text}");
    cli.fails(&[&args[..], &["--guest-log", "loud"]].concat(), 2, &["--guest-log", "loud"]);
}

#[test]
fn a_run_that_does_not_end_or_cannot_begin_says_why() {
    let cli = CliFixture::new();
    cli.file("a.pov", &exported(b"head", b"block"));
    cli.file("no-result.wasm", &wat::parse_str("(module (memory (export \"memory\") 1))").unwrap());
    let (text, _) = run(&cli, &["execute", "no-result.wasm", "--pov", "a.pov", "--explain"], 1);
    assert!(text.contains("the guest failed: the global __heap_base is not exported"), "{text}");
    cli.file("broken.wasm", b"\0asm\x01\0\0\0garbage");
    let (text, _) = run(&cli, &["execute", "broken.wasm", "--pov", "a.pov", "--explain"], 1);
    assert!(text.contains("the code cannot be prepared"), "{text}");
}

#[test]
fn a_valid_candidate_is_explained_and_its_verdict_stays() {
    let cli = CliFixture::new();
    cli.file("a.pov", &adder_pov(0));
    let (text, _) = run(&cli, &["execute", "code.wasm", "--pov", "a.pov", "--explain"], 0);
    assert!(text.contains("a.pov: valid") && text.contains("the guest returned a result"), "{text}");
    assert!(text.contains("ext_hashing_blake2_256_version_1"), "{text}");
}
