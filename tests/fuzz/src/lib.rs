//! What nobody thought of: each module takes bytes from a fuzzer, makes something of them that a stranger might send,
//! and panics if the fleet does with it what it must not.
//!
//! The executables (`fuzz_targets/`) are thin; `run` builds and runs them.

pub mod alloc;
pub mod code;
pub mod network;
pub mod scale;
pub mod scheduler;
pub mod seal;
#[path = "../../sim/mod.rs"]
pub mod sim;
pub mod wire;

use std::{path::Path, process::exit, sync::OnceLock};

/// Inputs to begin with, each with its name.
pub type Seeds = Vec<(String, Vec<u8>)>;

/// Whether whatever happens is to be said (`PVF_FUZZ_TRACE`, which `run again` sets).
pub fn traced() -> bool {
    static TRACED: OnceLock<bool> = OnceLock::new();
    *TRACED.get_or_init(|| std::env::var_os("PVF_FUZZ_TRACE").is_some())
}

/// What begins each executable: it writes its seeds (`seeds FOLDER`) or says in words what an input means (`show
/// FILE`), and ends; or it fuzzes.
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
