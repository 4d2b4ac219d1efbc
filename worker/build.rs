//! Passes the version of wasmtime in the lock file to the compiler: it is part of the engine id.

use std::{env, fs, path::Path};

fn main() {
    let manifest = env::var("CARGO_MANIFEST_DIR").expect("set by cargo");
    let lock = Path::new(&manifest)
        .ancestors()
        .map(|dir| dir.join("Cargo.lock"))
        .find(|file| file.is_file())
        .expect("no Cargo.lock in the folder of the manifest or above");
    let text = fs::read_to_string(&lock).expect("Cargo.lock is not readable");
    let version = text
        .split("[[package]]")
        .find(|package| package.contains("name = \"wasmtime\"\n"))
        .and_then(|package| package.lines().find_map(|l| l.strip_prefix("version = \"")?.strip_suffix('"')))
        .expect("wasmtime is not in Cargo.lock");
    println!("cargo::rustc-env=PVF_WASMTIME_VERSION={version}");
    println!("cargo::rerun-if-changed={}", lock.display());
}
