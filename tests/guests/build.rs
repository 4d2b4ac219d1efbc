//! Compiles the adder (`cli/demo/guest`) to wasm with a plain `rustc`; needs the target `wasm32v1-none`.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Output},
};

/// Wasm MVP only: validation code may not use newer features.
const TARGET: &str = "wasm32v1-none";

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            println!("cargo::error={}", error.replace('\n', " ").trim());
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), String> {
    let source = Path::new(&variable("CARGO_MANIFEST_DIR")?).join("../../cli/demo/guest");
    // Only these two, so that a change of a test or of the corpus does not compile the guest again.
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={}", source.display());

    let rustc = PathBuf::from(variable("RUSTC")?);
    if !target_is_installed(&rustc)? {
        return Err(format!(
            "the guests are wasm, and this toolchain has no target {TARGET}; install it with\n\
             \n    rustup target add {TARGET}\n"
        ));
    }
    compile(&rustc, &source, &Path::new(&variable("OUT_DIR")?).join("adder.wasm"))
}

/// Whether the target's standard library is installed. Checked first because rustc's own error is a page of "can't
/// find crate for `core`".
fn target_is_installed(rustc: &Path) -> Result<bool, String> {
    let output = run(Command::new(rustc).args(["--target", TARGET, "--print", "target-libdir"]))?;
    Ok(output.status.success() && Path::new(String::from_utf8_lossy(&output.stdout).trim()).is_dir())
}

fn compile(rustc: &Path, source: &Path, output: &Path) -> Result<(), String> {
    let mut command = Command::new(rustc);
    command
        .args(["--crate-name", "adder", "--crate-type", "cdylib"])
        .args(["--edition", "2024", "--target", TARGET])
        .args(["-C", "opt-level=s", "-C", "panic=abort", "-C", "lto=fat", "-C", "codegen-units=1"])
        // No name section and no producers section.
        .args(["-C", "strip=symbols"])
        .args(["-C", "link-arg=--export=__heap_base", "-C", "link-arg=-zstack-size=65536"])
        // Panic messages contain file names; the bytes must not depend on where the source is.
        .arg(format!("--remap-path-prefix={}=adder", source.display()))
        .arg("-o")
        .arg(output)
        .arg(source.join("lib.rs"));
    let compiled = run(&mut command)?;
    if compiled.status.success() {
        return Ok(());
    }
    Err(format!("the adder does not compile:\n{}", String::from_utf8_lossy(&compiled.stderr)))
}

fn run(command: &mut Command) -> Result<Output, String> {
    command.output().map_err(|error| format!("cannot run {}: {error}", command.get_program().display()))
}

fn variable(name: &str) -> Result<String, String> {
    env::var(name).map_err(|error| format!("{name}: {error}"))
}
