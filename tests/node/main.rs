//! `pvf-real-node`: the real PVF host of a node with the worker executables of a fleet, compared with the same host and
//! its own workers.

mod behaviours;
mod chaos;
mod driver;
mod latency;
mod real;
mod table;

use clap::{Parser, ValueEnum};
use driver::Driver;
use pvf_testkit::processes::Process;
use pvf_tests::{
    bench::{FLEET, Need, UNUSABLE, has_all, positive},
    fleet::{Fleet, FleetConfig},
    node::Workers,
    real::{Folder, cache_folder},
    slow_link::SlowLink,
};
use serde_json::json;
use std::{path::PathBuf, process::ExitCode, sync::Arc};
use table::Table;

/// Runs the real PVF host of a Polkadot node with the worker executables of a fleet, and with its own.
///
/// Exit code 1 if something is not as expected. tests/real-node/run builds the host and calls this. Needs a nats-server
/// on the PATH or in PVF_NATS_SERVER.
#[derive(Parser)]
#[command(name = "pvf-real-node")]
struct Args {
    /// What to run [default: all]
    #[arg(value_enum)]
    parts: Vec<Part>,
    /// Folder with pvf-node-host and the node's own workers [default: where tests/real-node/run puts them]
    #[arg(long, value_name = "DIR")]
    host: Option<PathBuf>,
    /// Folder with a real parachain's blocks [default: where tests/real-parachain/run puts them]
    #[arg(long, value_name = "DIR")]
    blocks: Option<PathBuf>,
    /// Validations while everything dies in turn
    #[arg(long, value_name = "N", default_value = "1000", value_parser = positive)]
    validations: u64,
    /// Validations for each time
    #[arg(long, value_name = "N", default_value = "200", value_parser = positive)]
    calls: u64,
    /// Run without the node service: each worker executable connects to the bus
    #[arg(long)]
    no_service: bool,
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// What a node's host does with good, bad and endless candidates, with codes, artifacts and workers that fail
    Behaviours,
    /// The candidates of a real parachain
    Real,
    /// Validations while coordinator, bus and node service are killed, stopped and cut
    Chaos,
    /// Times of the two kinds of workers, beside each other
    Latency,
}

/// The host with a fleet's workers.
pub const FLEET_HOST: &str = "fleet";
/// The host with its own workers.
pub const OWN_HOST: &str = "own";

/// All that runs.
pub struct Setup {
    driver: Arc<Driver>,
    fleet: Fleet,
    workers: Arc<Workers>,
    /// `None` with `--no-service`.
    service: Option<Process>,
    /// Between the worker executables and the bus, if it is to be cut.
    link: Option<SlowLink>,
    own: PathBuf,
}

impl Setup {
    async fn start(folder: PathBuf, with_service: bool, with_link: bool) -> Result<Self, String> {
        let driver = Arc::new(Driver::start(&folder.join("pvf-node-host"))?);
        let fleet = Fleet::with(FleetConfig { execute: 2, ..FleetConfig::default() }).await;
        let link = if with_link { Some(SlowLink::to(&fleet.nats.url, u32::MAX).await) } else { None };
        let url = link.as_ref().map_or(&fleet.nats.url, |link| &link.url);
        let workers = Arc::new(Workers::new(url, "", ""));
        let service = if with_service { Some(workers.serve().await) } else { None };
        let setup = Self { driver, fleet, workers, service, link, own: folder };
        setup.start_host(FLEET_HOST).await?;
        setup.start_host(OWN_HOST).await?;
        Ok(setup)
    }

    /// Starts a host, or starts it again.
    async fn start_host(&self, host: &str) -> Result<(), String> {
        let folder = if host == OWN_HOST { self.own.clone() } else { self.workers.path("") };
        let answer = self.driver.start_host(host, &folder, true).await;
        if answer.outcome == "ok" { Ok(()) } else { Err(format!("host {host}: {}", answer.reason)) }
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    if !has_all(FLEET.into_iter().chain([Need::Binary("pvf"), Need::Binary("pvf-node-worker")])) {
        return UNUSABLE.into();
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    match runtime.block_on(run(&args)) {
        Ok(tables) => {
            if args.json {
                println!("{}", json!(tables.iter().map(Table::to_json).collect::<Vec<_>>()));
            } else {
                tables.iter().for_each(|table| println!("{table}"));
            }
            if tables.iter().all(Table::is_right) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(why) => {
            eprintln!("error: {why}");
            UNUSABLE.into()
        }
    }
}

async fn run(args: &Args) -> Result<Vec<Table>, String> {
    let host = args.host.clone().or_else(|| Some(cache_folder()?.join("real-node-target/debug")));
    let host = host.ok_or("--host: HOME is not set, so there is no default")?;
    let runs = |part| args.parts.is_empty() || args.parts.contains(&part);
    let blocks = if runs(Part::Real) || runs(Part::Latency) {
        Some(Folder::open(&args.blocks.clone().unwrap_or_else(Folder::default_path))?)
    } else {
        None
    };
    let mut setup = Setup::start(host.clone(), !args.no_service, false).await?;
    let mut tables = Vec::new();
    if runs(Part::Behaviours) {
        tables.push(behaviours::run(&mut setup).await?);
    }
    if let (true, Some(blocks)) = (runs(Part::Real), &blocks) {
        tables.push(real::run(&setup, blocks).await?);
    }
    if let (true, Some(blocks)) = (runs(Part::Latency), &blocks) {
        tables.push(latency::run(&setup, blocks, args.calls).await?);
    }
    drop(setup);
    if runs(Part::Chaos) {
        let mut setup = Setup::start(host, !args.no_service, true).await?;
        tables.push(chaos::run(&mut setup, args.validations).await?);
    }
    Ok(tables)
}
