//! Replay bundles on the command line, with the embedded host and a fleet.

use crate::tool::CliFixture;
use pvf_shared::{
    bundle::{Bundle, read_file, write_file},
    verdict::{InvalidReason, Outcome},
};
use pvf_tests::{fleet::Fleet, processes::binary};
use serde_json::Value;
use std::{
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// The bundle that a request of a command has.
fn bundle_of(answer: &Value) -> PathBuf {
    answer["bundle"].as_str().unwrap_or_else(|| panic!("no bundle: {answer}")).into()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Writes a changed copy of a file.
fn changed(path: &Path, change: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut bytes = std::fs::read(path).unwrap();
    change(&mut bytes);
    let to = path.with_file_name(format!("changed-{}", fastrand::u64(..)));
    std::fs::write(&to, bytes).unwrap();
    to.display().to_string()
}

/// Bundles of an invalid candidate, of a valid one and of prechecks, made and replayed with these options.
fn is_replayed(cli: &CliFixture, options: &[&str]) {
    let json = |args: &[&str], code| cli.json(&[args, options].concat(), code);
    let execute = |params, more: &[&str], code| {
        json(&[&["execute", "code.wasm", "--params", params, "--bundles", "kept"], more].concat(), code).remove(0)
    };
    let replay = |bundle: &Path, code| {
        let replayed = json(&["replay", bundle.to_str().unwrap()], code).remove(0);
        assert_eq!(replayed["same"], code == 0, "{replayed}");
        replayed
    };
    // A valid candidate has a bundle only on request.
    assert_eq!(execute("good", &[], 0)["bundle"], Value::Null);
    let invalid = execute("bad", &[], 1);
    let bundle = cli.path().join(bundle_of(&invalid));
    assert_eq!(std::fs::metadata(&bundle).unwrap().permissions().mode() & 0o777, 0o600);
    let replayed = replay(&bundle, 0);
    assert_eq!(replayed["differences"], serde_json::json!([]));
    for of in ["recorded", "now"] {
        assert_eq!(replayed[of]["verdict"], "invalid");
        assert_eq!(replayed[of]["reason"], invalid["reason"]);
        let job = replayed[of]["jobs"].as_array().unwrap().last().unwrap();
        assert!(job["host"].is_string() && job["engine"].is_string() && job["version"].is_string(), "{job}");
    }
    assert_eq!(replayed["recorded"]["usage"], invalid["usage"]);
    let shown = cli.pvf(&[&["replay", bundle.to_str().unwrap()], options].concat());
    assert!(shown.status.success() && text(&shown).contains("same outcome"), "{}", text(&shown));

    let valid = cli.path().join(bundle_of(&execute("good", &["--bundle-all"], 0)));
    assert_eq!(replay(&valid, 0)["now"]["verdict"], "valid");
    execute("good", &["--bundle", "one.pvfbundle"], 0);
    assert_eq!(read_file(&cli.path().join("one.pvfbundle")).unwrap().id(), read_file(&valid).unwrap().id());

    // Another recorded outcome.
    let other = cli.path().join("other.pvfbundle");
    let recorded = read_file(&bundle).unwrap();
    let outcome = Outcome::Invalid(InvalidReason::PovDecompression);
    write_file(&other, &Bundle { outcome, ..recorded.clone() }).unwrap();
    assert_eq!(replay(&other, 1)["differences"], serde_json::json!(["reason"]));
    write_file(&other, &Bundle { outcome: read_file(&valid).unwrap().outcome, ..recorded }).unwrap();
    assert_eq!(replay(&other, 1)["differences"], serde_json::json!(["verdict", "reason", "result"]));

    // Prechecks.
    cli.file("bad.wasm", b"\0asm no module");
    let failed = json(&["precheck", "bad.wasm", "--bundles", "kept"], 1).remove(0);
    assert_eq!(replay(&cli.path().join(bundle_of(&failed)), 0)["now"]["verdict"], "preparation_failed");
    let passed = json(&["precheck", "code.wasm", "--bundles", "kept", "--bundle-all"], 0).remove(0);
    assert_eq!(replay(&cli.path().join(bundle_of(&passed)), 0)["now"]["verdict"], "ok");
}

#[test]
fn bundles_are_replayed_embedded() {
    is_replayed(&CliFixture::new(), &[]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bundles_are_replayed_on_a_fleet_and_elsewhere() {
    let fleet = Fleet::start(1, 1).await;
    let cli = CliFixture::new();
    is_replayed(&cli, &["--nats", &fleet.nats.url]);
    // What a fleet has recorded runs on the embedded host as well, without a store.
    for bundle in std::fs::read_dir(cli.path().join("kept")).unwrap() {
        let path = bundle.unwrap().path();
        let replayed = cli.command(&["replay", path.to_str().unwrap()]).env_remove("PVF_STORE").output().unwrap();
        assert!(replayed.status.success(), "{}", text(&replayed));
    }
}

#[test]
fn a_bundle_that_cannot_be_used_exits_with_2() {
    let cli = CliFixture::new();
    let bundle =
        cli.path().join(bundle_of(&cli.json(&["execute", "code.wasm", "--params", "bad", "--bundles", "kept"], 1)[0]));
    let pov = read_file(&bundle).unwrap().candidate.unwrap().block_data;
    let other_pov = |bytes: &mut Vec<u8>| {
        let at = bytes.windows(pov.len()).position(|part| part == pov).unwrap();
        bytes[at] ^= 1;
    };
    for (path, why) in [
        (changed(&bundle, other_pov), "block data: the bytes do not have the hash"),
        (changed(&bundle, |bytes| bytes.truncate(bytes.len() / 2)), "it was cut off or changed"),
        (changed(&bundle, |bytes| bytes.truncate(20)), "it was cut off or changed"),
        (changed(&bundle, |bytes| bytes[8] = 9), "version 9 of the format"),
        (changed(&bundle, |bytes| bytes[12..16].fill(0xff)), "case: 4294967295 bytes are over the limit"),
        (changed(&bundle, Vec::clear), "not a replay bundle"),
        ("code.wasm".into(), "not a replay bundle"),
        (".".into(), "not a replay bundle"),
        ("nowhere".into(), "nowhere: No such file"),
    ] {
        for command in [&["replay", &path][..], &["bundle", "show", &path], &["bundle", "extract", &path]] {
            cli.fails(command, 2, &[why]);
        }
    }
}

#[test]
fn a_folder_keeps_what_the_limits_allow() {
    let cli = CliFixture::new();
    let kept = || cli.json(&["bundle", "list", "kept"], 0);
    let bad = |n: usize, more: &[&str]| {
        let code = format!("bad-{n}.wasm");
        cli.file(&code, format!("\0asm no module {n}").as_bytes());
        bundle_of(&cli.json(&[&["precheck", &code, "--bundles", "kept"], more].concat(), 1)[0])
    };
    (0..3).for_each(|n| drop(bad(n, &[])));
    assert_eq!(kept().len(), 3);
    let newest = bad(3, &["--keep-count", "2"]);
    let listed = kept();
    assert_eq!(listed.len(), 2);
    assert_eq!(bundle_of(&listed[0]), newest);
    assert_eq!(
        (&listed[0]["verdict"], &listed[1]["verdict"]),
        (&"preparation_failed".into(), &"preparation_failed".into())
    );
    // The one that is written stays.
    let newest = bad(4, &["--keep-bytes", "1B"]);
    assert_eq!(kept().iter().map(bundle_of).collect::<Vec<_>>(), [newest]);
    bad(5, &[]);
    assert_eq!(cli.json(&["bundle", "prune", "kept", "--keep-count", "1"], 0).len(), 1);
    assert_eq!(kept().len(), 1);
    assert_eq!(cli.json(&["bundle", "prune", "kept", "--keep-bytes", "1B"], 0).len(), 1);
    assert_eq!(kept().len(), 0);
    cli.fails(&["bundle", "list", "nowhere"], 2, &["nowhere: not a folder"]);
    for (option, value, why) in [("--keep-count", "0", "--keep-count"), ("--keep-age", "1ms", "--keep-age")] {
        cli.fails(&["bundle", "prune", "kept", option, value], 2, &[why]);
    }
}

/// Executes the bad candidate, with bundles in a folder of a file system that was mounted so.
fn on_file_system(cli: &CliFixture, mount: &str) -> Output {
    let pvf = binary("pvf").display().to_string();
    let script = format!("mount -t tmpfs {mount} && exec {pvf} execute code.wasm --params bad --json --bundles /mnt/b");
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", &script]);
    let of_tool = cli.command(&[]);
    for (name, value) in of_tool.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.current_dir(cli.path()).output().unwrap()
}

#[test]
fn a_full_or_read_only_folder_is_a_warning_and_the_verdict_stays() {
    let cli = CliFixture::new();
    let invalid = &cli.json(&["execute", "code.wasm", "--params", "bad"], 1)[0];
    for (mount, why) in [
        ("-o size=8k tmpfs /mnt && head -c 8k /dev/zero > /mnt/f; true", "No space left on device"),
        ("-o ro tmpfs /mnt", "Read-only file system"),
    ] {
        let output = on_file_system(&cli, mount);
        assert_eq!(output.status.code(), Some(1), "{}", text(&output));
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        for field in ["verdict", "reason", "result"] {
            assert_eq!(answer[field], invalid[field], "{mount}");
        }
        assert_eq!(answer["bundle"], Value::Null);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.contains("warning: bad: replay bundle not written") && stderr.contains(why), "{stderr}");
    }
}

#[test]
fn a_bundle_is_shown_and_unpacked() {
    let cli = CliFixture::new();
    let head = ["--parent-head", "0x00", "--relay-parent-number", "7", "--relay-parent-storage-root"];
    let root = "01".repeat(32);
    cli.file("pov", b"no block");
    let submitted =
        [&["execute", "code.wasm", "--block-data", "@pov"], &head[..], &[root.as_str(), "--kind", "approval"]].concat();
    for (n, ask) in [&["execute", "code.wasm", "--params", "bad", "--timeout", "1500ms"][..], &submitted[..]]
        .into_iter()
        .enumerate()
    {
        let answer = &cli.json(&[ask, &["--bundles", "kept"][..]].concat(), 1)[0];
        let bundle = bundle_of(answer).display().to_string();
        let shown = &cli.json(&["bundle", "show", &bundle], 0)[0];
        assert_eq!((&shown["answer"]["verdict"], &shown["answer"]["reason"]), (&answer["verdict"], &answer["reason"]));
        assert_eq!(shown["asked"]["code_hash"], answer["code_hash"]);
        assert!(bundle.contains(shown["id"].as_str().unwrap()), "{shown}");
        let plain = text(&cli.pvf(&["bundle", "show", &bundle]));
        assert!(plain.contains("invalid") && plain.contains("attempt 1 by"), "{plain}");
        // The command that it prints has the same outcome.
        let out = format!("unpacked-{n}");
        let unpacked = &cli.json(&["bundle", "extract", &bundle, "--out", &out], 0)[0];
        let command = unpacked["command"].as_str().unwrap();
        let mut again = cli.command(&command.split(' ').skip(1).chain(["--json"]).collect::<Vec<_>>());
        let again = again.current_dir(cli.path().join(&out)).output().unwrap();
        let again: Value = serde_json::from_slice(&again.stdout).unwrap();
        assert_eq!((&again["verdict"], &again["reason"]), (&answer["verdict"], &answer["reason"]));
        cli.fails(&["bundle", "extract", &bundle, "--out", &out], 2, &["--out", "File exists"]);
    }
}

#[test]
fn options_about_bundles_are_checked() {
    let cli = CliFixture::new();
    cli.fails(&["execute", "code.wasm", "--params", "bad", "--bundle-all"], 2, &["--bundles"]);
    let two = ["execute", "code.wasm", "--params", "bad", "good", "--bundle", "one.pvfbundle"];
    cli.fails(&two, 2, &["--bundle", "for one request"]);
    // By the variable.
    let mut execute = cli.command(&["execute", "code.wasm", "--params", "bad"]);
    let output = execute.env("PVF_BUNDLES", "kept").output().unwrap();
    assert!(text(&output).contains("replay bundle kept/"), "{}", text(&output));
}
