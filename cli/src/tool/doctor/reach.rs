//! What can be reached from here: the store, the bus, the coordinator.

use super::{
    super::{
        args::Global,
        target::{seal_key, store_url},
    },
    Check, Failure,
};
use pvf_shared::{
    ValidationHost,
    bus::{Bus as _, nats::NatsBus},
    client::ClientConfig,
    store::BlobStore,
    units::human_bytes,
};
use std::{sync::Arc, time::Duration};

/// How long each is waited for.
const PATIENCE: Duration = Duration::from_secs(5);
/// A clock may be off by this much. Stores tell the time to a second.
const MOST_SKEW: Duration = Duration::from_secs(5);
/// Smaller messages than these have most inputs travel through the store.
const LEAST_PAYLOAD: usize = 64 * 1024;

/// The store, its clock, and if a fleet is named its bus and its coordinator.
pub(super) async fn checks(global: &Global) -> Vec<Check> {
    let mut checks = store(global).await;
    checks.extend(bus(global).await);
    checks
}

fn words(failure: Failure) -> String {
    let (Failure::Input(why) | Failure::NotAnswered(why)) = failure;
    why
}

async fn store(global: &Global) -> Vec<Check> {
    let fix = "--store (PVF_STORE): a store that exists, credentials for it, and permission to read, write and delete";
    let opened = async {
        let url = store_url(global)?;
        let key = seal_key(global)?;
        // As a fleet would, which a store in memory is of no use to.
        let store = if global.nats.is_some() { BlobStore::open_shared(&url, key) } else { BlobStore::open(&url, key) };
        Ok::<_, Failure>(store?)
    };
    let store = match opened.await {
        Ok(store) => store,
        Err(failure) => return vec![Check::red("store", words(failure), fix)],
    };
    let probe = match tokio::time::timeout(PATIENCE, store.probe()).await {
        Ok(Ok(probe)) => probe,
        Ok(Err(error)) => return vec![Check::red("store", error.to_string(), fix)],
        Err(_) => {
            let why = format!("{}: no answer within {} s", store.url(), PATIENCE.as_secs());
            return vec![Check::red("store", why, fix)];
        }
    };
    let found = format!("{}: written, read and deleted in {:.1} ms", store.url(), probe.took.as_secs_f64() * 1e3);
    let ahead = if probe.ahead { "ahead of" } else { "behind" };
    let skew = format!("{:.1} s {ahead} the store's", probe.skew.as_secs_f64());
    let clock = "set this machine's clock (chrony or systemd-timesyncd): how old artifacts are is told by both clocks";
    vec![Check::green("store", found), Check::of("clock", probe.skew <= MOST_SKEW, skew, clock)]
}

async fn bus(global: &Global) -> Vec<Check> {
    let Some(url) = &global.nats else {
        return vec![Check::green("bus", "none is named (--nats, PVF_NATS): the embedded host needs none")];
    };
    let fix = "--nats (PVF_NATS): a nats-server that runs and that this machine can reach, and a user that it knows";
    let bus = match NatsBus::connect(url, "pvf doctor", PATIENCE).await {
        Ok(bus) => Arc::new(bus),
        Err(error) => return vec![Check::red("bus", error.to_string(), fix)],
    };
    let payload = bus.max_payload();
    let shown = pvf_shared::bus::nats::without_secrets(url);
    let found = format!("{shown}: nats-server {}, max_payload {}", bus.server_version(), human_bytes(payload as u64));
    let mut checks =
        vec![Check::of("bus", payload >= LEAST_PAYLOAD, found, "max_payload of 64 KiB or more, better 8 MiB")];
    let config = ClientConfig { fleet: global.fleet.clone(), patience: PATIENCE, ..ClientConfig::default() };
    let asked = async {
        let host = ValidationHost::connect(bus, None, config).await?;
        let started = std::time::Instant::now();
        let status = host.status().await?;
        Ok::<_, pvf_shared::client::ClientError>((status, started.elapsed()))
    };
    checks.push(match asked.await {
        Ok((status, took)) => Check::green(
            "coordinator",
            format!(
                "{} of fleet {}, answered in {:.1} ms: {} prepare and {} execute workers",
                status.version,
                global.fleet,
                took.as_secs_f64() * 1e3,
                status.prepare.workers,
                status.execute.workers
            ),
        ),
        Err(error) => Check::red(
            "coordinator",
            error.to_string(),
            "start pvf-coordinator with the same --fleet on the same bus, and look at its log",
        ),
    });
    checks
}
