//! Fuzz targets: each module makes of a fuzzer's bytes what an untrusted party may send, and panics if the code under
//! test breaks one of its invariants.
//!
//! The executables are in `fuzz_targets/`; the script `run` builds and runs them.

pub mod alloc;
pub mod bundle;
pub mod code;
pub mod network;
pub mod scale;
pub mod scheduler;
pub mod seal;
#[path = "../../sim/mod.rs"]
pub mod sim;
pub mod wire;

use std::{path::Path, process::exit, sync::OnceLock};

/// Initial inputs, each with its name.
pub type Seeds = Vec<(String, Vec<u8>)>;

/// Whether to print each event (`PVF_FUZZ_TRACE`, which `run again` sets).
pub fn traced() -> bool {
    static TRACED: OnceLock<bool> = OnceLock::new();
    *TRACED.get_or_init(|| std::env::var_os("PVF_FUZZ_TRACE").is_some())
}

/// Start of each executable: with the arguments `seeds FOLDER` it writes its seeds there, with `show FILE` it prints
/// what an input means, and ends; with others it fuzzes.
#[expect(clippy::disallowed_methods, reason = "the fuzzer owns `main`")]
pub fn begin(seeds: fn() -> Seeds, show: fn(&[u8]) -> String) {
    let args: Vec<String> = std::env::args().collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [_, "seeds", folder] => {
            for (name, bytes) in seeds() {
                std::fs::write(Path::new(folder).join(name.replace([' ', '/'], "-")), bytes).expect("a seed");
            }
            exit(0)
        }
        [_, "show", file] => {
            println!("{}", show(&std::fs::read(file).expect("an input")));
            exit(0)
        }
        _ => {}
    }
}
