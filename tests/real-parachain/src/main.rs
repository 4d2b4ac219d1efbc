//! `pvf-real-parachain [--json] [FOLDER]`: writes a real parachain's runtime and blocks of it, valid and corrupted,
//! with every input of a validation host.
//!
//! Default folder: `$PVF_CACHE/real-parachain`, or `~/.cache/pvf-fleet/real-parachain`. The README describes the files,
//! and the licences of the dependencies. Progress is printed on standard error, a table (with `--json`, the manifest)
//! on standard output.

mod author;
mod blocks;
mod cases;
mod chain;
mod corrupt;
mod corrupt_pov;
mod expected;
mod export;
mod extrinsics;
mod genesis;
mod keys;
mod linked;
mod manifest;
mod over_limits;
mod pov;
mod reference;
mod relay;
mod second;
mod version;

use cases::Case;
use chain::{Chain, Code, Valid};
use linked::Linked;
use manifest::{Contents, Entry, Manifest};
use pov::Layout;
use relay::Relay;
use sp_runtime::traits::BlakeTwo256;
use std::{
    error::Error,
    fs::File,
    io::{self, Write},
    path::PathBuf,
    time::Duration,
};

/// The first parachain, as in its preset.
const PARA: cumulus_primitives_core::ParaId = cumulus_primitives_core::ParaId::new(2000);
/// Validations that take as much CPU time natively are reported.
const SLOW: Duration = Duration::from_secs(1);

/// A state of the parachain.
type State = sp_state_machine::InMemoryBackend<BlakeTwo256>;
/// A header of the parachain.
type Header = <penpal_runtime::Block as sp_runtime::traits::Block>::Header;

fn default_folder() -> PathBuf {
    let cache = std::env::var_os("PVF_CACHE").map(PathBuf::from);
    let cache = cache.or_else(|| Some(std::env::home_dir()?.join(".cache/pvf-fleet")));
    cache.unwrap_or_default().join("real-parachain")
}

fn find<'a>(blocks: &'a [Valid], name: &str) -> &'a Valid {
    blocks.iter().find(|block| block.name == name).expect("a block of that name")
}

fn cases(blocks: &[Valid]) -> Vec<Case> {
    let [one, many, two] = ["transfer", "transfers", "two-blocks"].map(|name| find(blocks, name));
    let mut cases: Vec<Case> = blocks.iter().map(Valid::case).collect();
    cases.push(one.in_layout("v0", "the oldest layout of block data", Layout::V0));
    cases.push(one.in_layout("v2", "the newest layout, with a proof of scheduling that nothing asks for", Layout::V2));
    cases.push(many.in_layout("v0", "the oldest layout of block data", Layout::V0));
    cases.extend(corrupt::headers(one));
    cases.extend(corrupt::seals(one));
    cases.extend(corrupt::extrinsics(one));
    cases.extend(corrupt::late(many));
    cases.extend(corrupt::bundles(two));
    cases.extend(corrupt_pov::proofs(one, many));
    cases.extend(corrupt_pov::contexts(one, many));
    cases.extend(corrupt_pov::layouts(one));
    cases.extend(corrupt_pov::compression(one));
    cases
}

/// Validates the cases with the reference.
fn check<R: Linked>(mut cases: Vec<Case>) -> Vec<Case> {
    eprintln!("validating {} candidates with the reference", cases.len());
    for case in &mut cases {
        let took = case.check::<R>();
        if took >= SLOW {
            eprintln!("{}: {:.1} s of CPU time", case.name, took.as_secs_f64());
        }
    }
    cases
}

fn table(to: &mut File, manifest: &Manifest) -> io::Result<()> {
    writeln!(to, "{:<36} {:<8} {:>10} {:>10} {:>10}  reference", "case", "expect", "extrinsics", "PoV", "data")?;
    for case in manifest.cases.iter().chain(&manifest.over_limits).chain(&manifest.second.cases) {
        let data = case.block_data_bytes.map_or_else(|| "-".into(), |bytes| bytes.to_string());
        let reference: String = case.reference.lines().next().unwrap_or_default().chars().take(90).collect();
        let Entry { name, expect, extrinsics, pov_bytes, .. } = case;
        writeln!(to, "{name:<36} {expect:<8} {extrinsics:>10} {pov_bytes:>10} {data:>10}  {reference}")?;
    }
    Ok(())
}

/// Standard output for this program only. Its original descriptor is redirected to /dev/null, because the native
/// runtime prints when it rejects a header.
fn own_stdout() -> io::Result<File> {
    let own = rustix::io::dup(io::stdout())?;
    rustix::stdio::dup2_stdout(File::options().write(true).open("/dev/null")?)?;
    Ok(own.into())
}

fn main() -> Result<(), Box<dyn Error>> {
    let (flags, folders): (Vec<String>, Vec<String>) = std::env::args().skip(1).partition(|a| a.starts_with('-'));
    let json = match (&flags[..], folders.len()) {
        ([], 0 | 1) => false,
        ([flag], 0 | 1) if flag == "--json" => true,
        _ => return Err("usage: pvf-real-parachain [--json] [FOLDER]".into()),
    };
    let folder = folders.into_iter().next().map_or_else(default_folder, PathBuf::from);
    std::fs::create_dir_all(&folder)?;
    let mut stdout = own_stdout()?;

    let without = "built without the wasm: SKIP_WASM_BUILD was set";
    let code = penpal_runtime::WASM_BINARY.ok_or(without)?;
    let second_code = asset_hub_westend_runtime::WASM_BINARY.ok_or(without)?;

    let genesis = genesis::genesis::<penpal_runtime::Runtime>(code, serde_json::json!({}));
    eprintln!("genesis: {:?}", genesis.1.state_root);
    let blocks = blocks::blocks(code, Chain::new(genesis, Relay::new(PARA, 0), Code::Current));
    let cases = check::<penpal_runtime::Runtime>(cases(&blocks.valid));
    let over_limits = check::<penpal_runtime::Runtime>(blocks.over_limits.iter().map(Valid::case).collect());
    let second = second::blocks(second_code).iter().map(Valid::case).collect();
    let second = check::<asset_hub_westend_runtime::Runtime>(second);

    let contents = Contents { code, next_code: &blocks.next_code, cases, over_limits, second_code, second };
    let manifest = manifest::write_all(&folder, contents)?;
    eprintln!("written to {}", folder.display());
    if json {
        writeln!(stdout, "{}", serde_json::to_string_pretty(&manifest)?)?;
    } else {
        table(&mut stdout, &manifest)?;
    }
    Ok(())
}
