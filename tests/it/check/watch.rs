//! `pvf watch`: PoVs are validated as they appear.

use super::{adder_pov, run};
use crate::tool::CliFixture;
use pvf_testkit::until_blocking;
use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Stdio},
};

#[test]
fn the_povs_of_a_folder_are_validated_once_and_those_that_fail_are_kept() {
    let cli = CliFixture::new();
    std::fs::create_dir(cli.path().join("povs")).unwrap();
    cli.file("povs/good.pov", &adder_pov(0));
    cli.file("povs/bad.pov", &adder_pov(9));
    let args = ["watch", "povs", "--code", "code.wasm", "--once", "--keep-failed", "kept"];
    let (text, _) = run(&cli, &args, 1);
    assert!(text.contains("good.pov: valid") && text.contains("bad.pov: invalid"), "{text}");
    let kept: Vec<_> = std::fs::read_dir(cli.path().join("kept")).unwrap().map(|of| of.unwrap().file_name()).collect();
    assert!(kept.contains(&"bad.pov".into()) && kept.len() == 2, "the PoV and its bundle: {kept:?}");
    let bundle = kept.iter().find(|name| *name != "bad.pov").unwrap().to_str().unwrap();
    run(&cli, &["replay", &format!("kept/{bundle}")], 0);
    cli.fails(&["watch", "povs", "--code", "code.wasm", "--once", "--keep-failed", "./povs"], 2, &["--keep-failed"]);
    cli.fails(&["watch", "no-povs", "--code", "code.wasm", "--once"], 2, &["no-povs"]);
    cli.file("povs/cut.pov", &adder_pov(0)[..40]);
    cli.fails(&["watch", "povs", "--code", "code.wasm", "--once"], 2, &["cut.pov", "not a PoV"]);
}

/// A process that is killed when the test ends.
struct Watching(Child);

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_pov_that_is_still_written_is_validated_when_it_is_whole() {
    let cli = CliFixture::new();
    let mut command = cli.command(&["watch", "povs", "--code", "code.wasm"]);
    let mut watching = Watching(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(watching.0.stdout.take().unwrap()).lines();
    let mut said = BufReader::new(watching.0.stderr.take().unwrap()).lines();
    assert!(said.any(|line| line.unwrap().starts_with("watching povs")));
    std::fs::create_dir(cli.path().join("povs")).unwrap();
    let whole = adder_pov(0);
    // A collator writes field by field.
    cli.file("povs/a.pov", &whole[..12]);
    assert!(said.any(|line| line.unwrap().starts_with("a.pov: not a whole PoV yet")));
    cli.file("povs/a.pov", &whole);
    let line = lines.next().unwrap().unwrap();
    assert!(line.starts_with("a.pov: valid"), "{line}");
    // An interrupt ends it, with the exit code of what it saw.
    pvf_worker::terminate(watching.0.id() as i32);
    let status = until_blocking("the process ends", || watching.0.try_wait().unwrap());
    assert_eq!(status.code(), Some(0));
}
