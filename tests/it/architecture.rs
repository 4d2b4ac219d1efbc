//! The architecture's rules, read off the manifests and sources (DESIGN.md, section 2).

use std::{
    path::{Path, PathBuf},
    process::Command,
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn tree(args: &[&str]) -> Vec<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let common = ["tree", "--offline", "-e", "normal", "--prefix", "none", "--no-dedupe", "--format", "{p}"];
    let output = Command::new(cargo).current_dir(root()).args(common).args(args).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut crates: Vec<_> = String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
    crates.sort_unstable();
    crates.dedup();
    crates
}

fn has(crates: &[String], name: &str) -> bool {
    crates.iter().any(|c| c.split(' ').next() == Some(name))
}

fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(dir) = folders.pop() {
        for entry in std::fs::read_dir(dir).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                files.push((path, text));
            }
        }
    }
    files
}

#[test]
fn a_node_can_depend_on_shared_cheaply() {
    let crates = tree(&["-p", "pvf-shared"]);
    assert!(crates.len() <= 170, "{} crates", crates.len());
    assert!(!has(&crates, "wasmtime") && !has(&crates, "sp-io"));
}

#[test]
fn coordinator_and_worker_do_not_know_each_other() {
    let coordinator = tree(&["-p", "pvf-coordinator"]);
    assert!(!has(&coordinator, "pvf-worker") && !has(&coordinator, "wasmtime"));
    assert!(!has(&tree(&["-p", "pvf-worker"]), "pvf-coordinator"));
}

#[test]
fn no_gpl_crate_is_depended_on() {
    let everything = tree(&["--workspace"]);
    for name in &everything {
        let gpl = name.starts_with("polkadot-") || name.starts_with("sc-executor");
        assert!(!gpl, "{name}");
    }
}

#[test]
fn the_scheduler_is_pure() {
    for (path, text) in sources("coordinator/src/scheduler") {
        for word in ["Instant", "SystemTime", "tokio", "async fn", "std::thread", "std::fs", " rand::", "println!"] {
            assert!(!text.contains(word), "{} uses {word}", path.display());
        }
    }
}

#[test]
fn each_thing_has_one_place() {
    for folder in ["shared/src", "coordinator/src", "worker/src", "cli/src"] {
        for (path, text) in sources(folder) {
            let shown = path.display().to_string();
            assert!(shown.contains("/worker/src/wasm/") || !text.contains("wasmtime::"), "{shown} uses wasmtime");
            let nats = shown.ends_with("bus/nats.rs");
            assert!(nats || !text.contains("async_nats"), "{shown} uses async-nats");
            assert!(shown.contains("/store/") || !text.contains("object_store::"), "{shown} uses object_store");
            let lines = text.lines().count();
            assert!(lines <= 450, "{shown} has {lines} lines");
        }
    }
}
