//! Checks of what the machine must reach: the store, the bus, the coordinator.

use super::{
    super::{
        args::{Global, Role},
        failure::Failure,
        target::store_url,
    },
    Check,
};
use pvf_shared::{
    bus::{Bus as _, nats::NatsBus},
    client::{ClientConfig, fleet_status},
    store::{ArtifactKeys, BlobStore},
    units::human_bytes,
};
use std::{sync::Arc, time::Duration};

/// Time limit of each check.
const PATIENCE: Duration = Duration::from_secs(5);
/// Accepted clock difference. Stores report times in whole seconds.
const MOST_SKEW: Duration = Duration::from_secs(5);
/// `max_payload` of the bus, bytes: below it some parent heads and parameters do not fit into a message.
const LEAST_PAYLOAD: usize = 64 * 1024;

/// The store and its clock; with `--nats` also the bus and the coordinator.
pub(super) async fn checks(global: &Global, role: Option<Role>) -> Vec<Check> {
    let mut checks = store(global, role).await;
    checks.extend(bus(global).await);
    checks
}

async fn store(global: &Global, role: Option<Role>) -> Vec<Check> {
    if global.bus.is_some() && global.store.is_none() {
        let why = "not checked: --store (PVF_STORE) does not say which store the fleet uses";
        return vec![Check::green("store", why)];
    }
    // An execute worker may be where it may not write.
    let only_reads = role == Some(Role::ExecuteWorker);
    let fix = match only_reads {
        true => "--store (PVF_STORE): the store must exist, and its credentials must permit to read",
        false => "--store (PVF_STORE): the store must exist, and its credentials must permit to read, write and delete",
    };
    let opened = async {
        let url = store_url(global)?;
        let keys = ArtifactKeys::none();
        // A fleet cannot use a store in the memory of one process.
        let store = if global.bus.is_some() { BlobStore::open_shared(&url, keys) } else { BlobStore::open(&url, keys) };
        Ok::<_, Failure>(store?)
    };
    let store = match opened.await {
        Ok(store) => store,
        Err(failure) => return vec![Check::red("store", failure.to_string(), fix)],
    };
    let silent = || format!("{}: no answer within {} s", store.url(), PATIENCE.as_secs());
    if only_reads {
        return vec![match tokio::time::timeout(PATIENCE, store.check_readable()).await {
            Ok(Ok(())) => Check::green("store", format!("{}: readable", store.url())),
            Ok(Err(error)) => Check::red("store", error.to_string(), fix),
            Err(_) => Check::red("store", silent(), fix),
        }];
    }
    let probe = match tokio::time::timeout(PATIENCE, store.probe()).await {
        Ok(Ok(probe)) => probe,
        Ok(Err(error)) => return vec![Check::red("store", error.to_string(), fix)],
        Err(_) => return vec![Check::red("store", silent(), fix)],
    };
    let found = format!("{}: written, read and deleted in {:.1} ms", store.url(), probe.took.as_secs_f64() * 1e3);
    let ahead = if probe.ahead { "ahead of" } else { "behind" };
    let skew = format!("{:.1} s {ahead} the clock of the store", probe.skew.as_secs_f64());
    let clock = "synchronise this machine's clock (chrony, systemd-timesyncd): the age of an artifact is computed from both clocks";
    vec![Check::green("store", found), Check::of("clock", probe.skew <= MOST_SKEW, skew, clock)]
}

async fn bus(global: &Global) -> Vec<Check> {
    let Some(nats) = &global.bus else {
        return vec![Check::green("bus", "not configured (--nats, PVF_NATS); the embedded host needs none")];
    };
    let fix = "--nats (PVF_NATS): start a nats-server there, make it reachable from this machine, and check its credentials and certificates";
    let bus = match NatsBus::connect(nats, "pvf doctor", PATIENCE).await {
        Ok(bus) => Arc::new(bus),
        Err(error) => return vec![Check::red("bus", error.to_string(), fix)],
    };
    let payload = bus.max_payload();
    let shown = nats.shown();
    let found = format!("{shown}: nats-server {}, max_payload {}", bus.server_version(), human_bytes(payload as u64));
    let mut checks =
        vec![Check::of("bus", payload >= LEAST_PAYLOAD, found, "set max_payload of nats-server to 64 KiB or more")];
    let config = ClientConfig { fleet: global.fleet.clone(), patience: PATIENCE, ..ClientConfig::default() };
    let asked = async {
        let started = std::time::Instant::now();
        let status = fleet_status(bus, &config, None).await?;
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
            "start pvf-coordinator with the same --nats and --fleet, and read its log",
        ),
    });
    checks
}
