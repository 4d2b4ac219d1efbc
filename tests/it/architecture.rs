//! Rules of the architecture, read from manifests and sources: who may depend on whom, which crates are pure, and where
//! each outside library may be used.

use crate::repository::{self, code_of, files, sources};
use serde_json::Value;
use std::{collections::BTreeSet, path::Path, process::Command};

/// Crates without I/O, clock, threads and randomness. The last one need not exist.
const PURE: [&str; 3] = ["pvf-proto", "pvf-scheduler", "pvf-worker-core"];

/// All that a pure crate may depend on, at any depth: hashes, encodings and collections, none of which does I/O. Who
/// adds a crate here has read what it does.
const ALLOWED_IN_PURE: [&str; 37] = [
    "allocator-api2",
    "arrayvec",
    "blake2b_simd",
    "blake3",
    "byte-slice-cast",
    "bytes",
    "cfg-if",
    "const_format",
    "constant_time_eq",
    "cpufeatures",
    "equivalent",
    "foldhash",
    "hashbrown",
    "hex",
    "humantime",
    "humantime-serde",
    "indexmap",
    "konst",
    "konst_macro_rules",
    "lru",
    "memchr",
    "num-traits",
    "parity-scale-codec",
    "pvf-proto",
    "pvf-scheduler",
    "pvf-worker-core",
    "rmp",
    "rmp-serde",
    "serde",
    "serde_bytes",
    "serde_core",
    "slab",
    "slotmap",
    "smallvec",
    "thiserror",
    "tinyvec",
    "uuid",
];

/// Crates that a node which links the client would notice: a compiler, a host of its own, a web server, cloud SDKs.
const TOO_HEAVY_FOR_A_NODE: [&str; 8] =
    ["wasmtime", "cranelift-codegen", "sp-io", "sp-core", "rayon", "axum", "reqwest", "aws-lc-rs"];

/// Crates in the tree of the client with NATS, without proc macros: today's number and a few more.
const CLIENT_CRATES: usize = 140;

/// Crates in the tree of the executables that a node starts: today's number and a few more.
const WORKER_EXECUTABLE_CRATES: usize = 175;

/// The tree of the client without NATS, for a program that brings a bus of its own.
const CLIENT_CRATES_WITHOUT_NATS: usize = 76;

/// Limit of the size of a source file, lines.
const MAX_LINES: usize = 400;

/// Files over the limit, each with its reason. A file that is short enough again must be removed from the list.
const LONG_FILES: [(&str, &str); 0] = [];

/// The names of all crates that these packages link, themselves included: normal dependencies at any depth, without
/// proc macros.
fn linked_by(packages: &[&str]) -> BTreeSet<String> {
    let output = Command::new(cargo())
        .current_dir(repository::root())
        .args(["tree", "--offline", "--locked", "-e", "normal,no-proc-macro", "--prefix", "none", "--no-dedupe"])
        .args(["--format", "{p}"])
        .args(packages)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).unwrap();
    tree.lines().filter_map(|line| Some(line.split_once(' ')?.0.to_owned())).collect()
}

fn cargo() -> std::ffi::OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// The members of the workspace, from `cargo metadata`.
fn members() -> Vec<Value> {
    let output = Command::new(cargo())
        .current_dir(repository::root())
        .args(["metadata", "--offline", "--locked", "--no-deps", "--format-version", "1"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

fn name_of(package: &Value) -> &str {
    package["name"].as_str().unwrap()
}

fn is_for_tests(folder: &str) -> bool {
    Path::new(folder).starts_with(repository::root().join("tests"))
}

/// Members that are not part of the tests.
fn shipped() -> Vec<Value> {
    members().into_iter().filter(|package| !is_for_tests(package["manifest_path"].as_str().unwrap())).collect()
}

#[test]
fn pure_crates_depend_on_pure_crates_only() {
    let members = members();
    let exists = |name: &str| members.iter().any(|package| name_of(package) == name);
    assert!(exists(PURE[0]) && exists(PURE[1]));
    let allowed: BTreeSet<String> = ALLOWED_IN_PURE.map(str::to_owned).into();
    for package in PURE.into_iter().filter(|package| exists(package)) {
        let linked = linked_by(&["-p", package]);
        let foreign: Vec<_> = linked.difference(&allowed).collect();
        assert!(foreign.is_empty(), "{package} must do no I/O, but links {foreign:?}");
    }
}

/// Files with nothing but tests: they may read golden files, and ask whether a test panics.
fn is_test_module(path: &Path) -> bool {
    path.iter().any(|part| part == "tests" || part == "tests.rs" || part == "golden.rs")
}

/// The standard library has clocks, threads and I/O as well: a dependency list does not show them.
#[test]
fn pure_crates_use_no_clock_thread_or_io() {
    for package in members().iter().filter(|package| PURE.contains(&name_of(package))) {
        let folder = Path::new(package["manifest_path"].as_str().unwrap()).with_file_name("src");
        for (path, text) in sources(&folder).into_iter().filter(|(path, _)| !is_test_module(path)) {
            let code = code_of(&text);
            for word in ["Instant", "SystemTime", "tokio", "async fn", "std::thread", "std::fs", " rand::", "println!"]
            {
                assert!(!code.contains(word), "{} uses {word}", path.display());
            }
        }
    }
}

#[test]
fn a_node_links_the_client_cheaply() {
    for (packages, most) in [
        (&["-p", "pvf-shared"][..], CLIENT_CRATES),
        (&["-p", "pvf-shared", "--no-default-features"], CLIENT_CRATES_WITHOUT_NATS),
    ] {
        let linked = linked_by(packages);
        for heavy in TOO_HEAVY_FOR_A_NODE {
            assert!(!linked.contains(heavy), "{packages:?} links {heavy}");
        }
        assert!(linked.len() <= most, "{packages:?} links {} crates, at most {most} allowed", linked.len());
    }
}

#[test]
fn the_worker_executables_of_a_node_are_clients_only() {
    let linked = linked_by(&["-p", "pvf-node"]);
    for heavy in TOO_HEAVY_FOR_A_NODE.into_iter().chain(["pvf-worker", "pvf-coordinator", "object_store"]) {
        assert!(!linked.contains(heavy), "pvf-node links {heavy}");
    }
    assert!(linked.len() <= WORKER_EXECUTABLE_CRATES, "pvf-node links {} crates", linked.len());
}

#[test]
fn coordinator_and_worker_do_not_know_each_other() {
    let coordinator = linked_by(&["-p", "pvf-coordinator"]);
    assert!(!coordinator.contains("pvf-worker") && !coordinator.contains("wasmtime"));
    let worker = linked_by(&["-p", "pvf-worker"]);
    assert!(!worker.contains("pvf-coordinator") && !worker.contains("pvf-scheduler"));
}

#[test]
fn nothing_that_ships_depends_on_the_tests() {
    let shipped = shipped();
    assert!(shipped.len() >= 5, "{shipped:?}");
    for package in shipped {
        for dependency in package["dependencies"].as_array().unwrap() {
            let Some(folder) = dependency["path"].as_str().filter(|folder| is_for_tests(folder)) else { continue };
            assert_eq!(dependency["kind"], "dev", "{} needs {folder} to be built", name_of(&package));
        }
    }
}

#[test]
fn no_gpl_crate_is_linked() {
    for name in linked_by(&["--workspace", "--all-features"]) {
        assert!(!name.starts_with("polkadot-") && !name.starts_with("sc-executor"), "{name} is under the GPL");
    }
}

#[test]
fn each_outside_library_has_one_place() {
    for package in shipped() {
        let folder = Path::new(package["manifest_path"].as_str().unwrap()).with_file_name("src");
        for (path, text) in sources(&folder) {
            let (shown, code) = (path.display().to_string(), code_of(&text));
            assert!(shown.contains("worker/src/wasm/") || !code.contains("wasmtime::"), "{shown} uses wasmtime");
            assert!(shown.contains("bus/nats/") || !code.contains("async_nats"), "{shown} uses async-nats");
            assert!(shown.contains("/store/") || !code.contains("object_store::"), "{shown} uses object_store");
        }
    }
}

#[test]
fn source_files_are_short() {
    let mut long = BTreeSet::new();
    for (path, text) in sources(&repository::root()) {
        let lines = text.lines().count();
        let path = path.strip_prefix(repository::root()).unwrap().display().to_string();
        if lines > MAX_LINES {
            assert!(LONG_FILES.iter().any(|(file, _)| *file == path), "{path} has {lines} lines, at most {MAX_LINES}");
            long.insert(path);
        }
    }
    for (file, reason) in LONG_FILES {
        assert!(long.contains(file), "{file} ({reason}) is within the limit: remove it from LONG_FILES");
    }
}

#[test]
fn text_files_contain_no_nul() {
    let is_text = |path: &Path| {
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or("sh");
        ["rs", "toml", "md", "txt", "sh", "yaml", "yml", "json", "conf", "lock"].contains(&extension)
    };
    let (mut checked, mut broken) = (0, vec![]);
    for path in files(&repository::root()).into_iter().filter(|path| is_text(path)) {
        checked += 1;
        if std::fs::read(&path).unwrap().contains(&0) {
            broken.push(path);
        }
    }
    assert!(checked > 200, "only {checked} files found");
    // Tools such as grep take such a file for binary and skip it.
    assert!(broken.is_empty(), "a NUL byte in {broken:?}");
}

#[test]
fn lints_are_configured_and_apply_to_every_member() {
    let parse = |path: &Path| -> toml::Table { std::fs::read_to_string(path).unwrap().parse().unwrap() };
    let root = repository::root();
    let disallowed = &parse(&root.join(".clippy.toml"))["disallowed-methods"];
    assert!(disallowed.as_array().is_some_and(|methods| !methods.is_empty()), "disallowed-methods is empty");
    let lints = &parse(&root.join("Cargo.toml"))["workspace"]["lints"]["clippy"];
    assert_eq!(lints["disallowed_methods"].as_str(), Some("deny"));
    for package in members() {
        if PURE.contains(&name_of(&package)) {
            let file = Path::new(package["manifest_path"].as_str().unwrap()).with_file_name(".clippy.toml");
            let settings = parse(&file);
            let types = settings["disallowed-types"].as_array().unwrap();
            for clock in ["std::time::Instant", "std::time::SystemTime"] {
                let is_banned = types.iter().any(|banned| banned["path"].as_str() == Some(clock));
                assert!(is_banned, "{} may use {clock}", name_of(&package));
            }
        }
        let manifest = parse(Path::new(package["manifest_path"].as_str().unwrap()));
        assert_eq!(manifest["lints"]["workspace"].as_bool(), Some(true), "{}", name_of(&package));
    }
}
