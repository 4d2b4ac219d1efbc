//! Passes versions in the lock file to the compiler: that of wasmtime is part of the engine id, that of sp-io of what
//! names the host functions.

use std::{env, fs, path::Path};

fn main() {
    let manifest = env::var("CARGO_MANIFEST_DIR").expect("set by cargo");
    let lock = Path::new(&manifest)
        .ancestors()
        .map(|dir| dir.join("Cargo.lock"))
        .find(|file| file.is_file())
        .expect("no Cargo.lock in the folder of the manifest or above");
    let text = fs::read_to_string(&lock).expect("Cargo.lock is not readable");
    for (package, variable) in [("wasmtime", "PVF_WASMTIME_VERSION"), ("sp-io", "PVF_SP_IO_VERSION")] {
        let version = text
            .split("[[package]]")
            .find(|entry| entry.contains(&format!("name = \"{package}\"\n")))
            .and_then(|entry| entry.lines().find_map(|l| l.strip_prefix("version = \"")?.strip_suffix('"')))
            .unwrap_or_else(|| panic!("{package} is not in Cargo.lock"));
        println!("cargo::rustc-env={variable}={version}");
    }
    println!("cargo::rerun-if-changed={}", lock.display());
}
