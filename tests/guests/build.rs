//! Compiles the adder guest to wasm with a plain `rustc`, so that this crate builds wherever the
//! toolchain has the target `wasm32v1-none`.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, exit},
};

/// Wasm MVP and nothing else: validation code may not use anything newer.
const TARGET: &str = "wasm32v1-none";

fn main() {
    let source = manifest_dir().join("adder");
    // Only these: a new test or corpus module must not rebuild the guest.
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={}", source.display());

    let rustc = PathBuf::from(variable("RUSTC"));
    if !target_is_installed(&rustc) {
        fail(&format!(
            "the guests are wasm, and this toolchain has no target {TARGET}; install it with\n\
             \n    rustup target add {TARGET}\n"
        ));
    }
    compile(&rustc, &source, &Path::new(&variable("OUT_DIR")).join("adder.wasm"));
}

/// Whether the standard library of the target is there; asked beforehand, because rustc's own
/// error is a page of "can't find crate for `core`".
fn target_is_installed(rustc: &Path) -> bool {
    let output = Command::new(rustc)
        .args(["--target", TARGET, "--print", "target-libdir"])
        .output()
        .unwrap_or_else(|error| fail(&format!("cannot run {}: {error}", rustc.display())));
    output.status.success() && Path::new(String::from_utf8_lossy(&output.stdout).trim()).is_dir()
}

fn compile(rustc: &Path, source: &Path, output: &Path) {
    let status = Command::new(rustc)
        .args(["--crate-name", "adder", "--crate-type", "cdylib"])
        .args(["--edition", "2024", "--target", TARGET])
        .args(["-C", "opt-level=s", "-C", "panic=abort", "-C", "lto=fat", "-C", "codegen-units=1"])
        // No names and no producers: only what runs.
        .args(["-C", "strip=symbols"])
        .args(["-C", "link-arg=--export=__heap_base", "-C", "link-arg=-zstack-size=65536"])
        // The same bytes wherever the source lies: panic messages name files.
        .arg(format!("--remap-path-prefix={}=adder", source.display()))
        .arg("-o")
        .arg(output)
        .arg(source.join("lib.rs"))
        .status()
        .unwrap_or_else(|error| fail(&format!("cannot run {}: {error}", rustc.display())));
    if !status.success() {
        fail("the adder guest does not compile; rustc says why above");
    }
}

fn manifest_dir() -> PathBuf {
    PathBuf::from(variable("CARGO_MANIFEST_DIR"))
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|error| fail(&format!("{name}: {error}")))
}

/// Ends the build with a message that stands alone, without the backtrace of a panic.
fn fail(message: &str) -> ! {
    eprintln!("error: {message}");
    println!("cargo::error={}", message.replace('\n', " ").trim());
    exit(1)
}
