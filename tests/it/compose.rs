//! The files in `compose/`, each read by the tool that it is for, or by a parser of its format. (`coordinator.toml` is
//! parsed by a unit test of the coordinator's settings.)

use pvf_testkit::nats::server_path;
use pvf_tests::processes::{Process, binary, until};
use serde::Deserialize;
use serde_yaml_ng::Value;
use std::{
    collections::{BTreeMap, HashSet},
    path::{Path, PathBuf},
    process::{Command, Output},
};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("compose")
}

fn read(name: &str) -> String {
    std::fs::read_to_string(folder().join(name)).unwrap()
}

/// The part of a service that is checked. Other keys are Docker's own business.
#[derive(Debug, Deserialize)]
struct Service {
    image: String,
    #[serde(default)]
    command: Vec<String>,
    #[serde(default)]
    environment: BTreeMap<String, String>,
    #[serde(default)]
    env_file: Vec<String>,
    #[serde(default)]
    volumes: Vec<String>,
    #[serde(default)]
    ports: Vec<String>,
    #[serde(default)]
    depends_on: BTreeMap<String, BTreeMap<String, String>>,
    #[serde(default)]
    security_opt: Vec<String>,
    #[serde(default)]
    cap_drop: Vec<String>,
    healthcheck: HealthCheck,
}

#[derive(Debug, Deserialize)]
struct HealthCheck {
    test: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Compose {
    services: BTreeMap<String, Service>,
}

fn compose() -> Compose {
    let mut document: Value = serde_yaml_ng::from_str(&read("compose.yaml")).unwrap();
    // A merged mapping may itself contain a merge key.
    for _ in 0..3 {
        document.apply_merge().unwrap();
    }
    serde_yaml_ng::from_value(document).unwrap()
}

fn output(program: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("PVF_")) {
        command.env_remove(name);
    }
    command.args(args).output().unwrap()
}

/// The help of a command line, after its arguments were accepted: `--help` stands last.
fn accepted(command: &[String]) -> Result<String, String> {
    let args: Vec<_> = command[1..].iter().map(String::as_str).chain(["--help"]).collect();
    let output = output(&binary(&command[0]), &args);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

#[test]
fn commands_and_environment_of_the_roles_are_accepted() {
    let compose = compose();
    let roles: Vec<_> = compose.services.iter().filter(|(_, service)| service.image.starts_with("pvf-fleet")).collect();
    let names: Vec<_> = roles.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["coordinator", "execute-worker", "prepare-worker"]);
    for (name, service) in roles {
        assert_eq!(service.image, "pvf-fleet:latest");
        let help = accepted(&service.command).unwrap();
        // Wherever its lines are broken.
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(!service.environment.is_empty());
        for variable in service.environment.keys() {
            assert!(help.contains(&format!("[env: {variable}")), "{name} does not read {variable}:\n{help}");
        }
        // The user of its role, and nobody else's secret.
        assert_eq!(service.env_file, [format!("./secrets/{name}.env")]);
        let secrets = service.volumes.iter().filter_map(|volume| volume.strip_prefix("./secrets/"));
        let secrets: Vec<_> = secrets.filter_map(|volume| volume.split(':').next()).collect();
        let expected: &[&str] = match name.as_str() {
            "prepare-worker" => &["signing.pub", "signing.key", "tls/ca.pem"],
            _ => &["signing.pub", "tls/ca.pem"],
        };
        assert_eq!(secrets, expected, "{name}");
        let (kind, health) = service.healthcheck.test.split_first().unwrap();
        assert_eq!(kind, "CMD");
        let mut health = health.to_vec();
        assert_eq!(health.last().unwrap(), name);
        accepted(&health).unwrap();
        // The check above does refuse what is wrong.
        *health.last_mut().unwrap() = "no-such-role".into();
        assert!(accepted(&health).unwrap_err().contains("no-such-role"));
    }
}

/// The folder as it is after `pvf nats init secrets`.
fn with_secrets() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for name in ["nats.conf", "seccomp.json"] {
        std::fs::copy(folder().join(name), dir.path().join(name)).unwrap();
    }
    let secrets = dir.path().join("secrets");
    let made = output(&binary("pvf"), &["nats", "init", secrets.to_str().unwrap()]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    dir
}

#[test]
fn files_dependencies_and_ports_of_the_services_are_right() {
    let (compose, made) = (compose(), with_secrets());
    let ignored = |file: &str| std::fs::read_to_string(crate::repository::root().join(file)).unwrap();
    assert!(ignored(".gitignore").contains("\n/compose/secrets\n"), "secrets are not committed");
    assert!(ignored(".dockerignore").contains("\ncompose/secrets\n"), "secrets are in no image");
    for (name, service) in &compose.services {
        let mounted = service.volumes.iter().filter_map(|volume| volume.strip_prefix("./")?.split(':').next());
        let profiles = service.security_opt.iter().filter_map(|option| option.strip_prefix("seccomp=./"));
        let environment = service.env_file.iter().filter_map(|file| file.strip_prefix("./"));
        // The operator makes the keys, certificates and passwords; tests/deploy/check tries the scripts for these.
        let made_here = |file: &&str| {
            !["secrets/signing", "secrets/tls/", "secrets/grafana.env"].iter().any(|start| file.starts_with(start))
        };
        for file in mounted.chain(profiles).chain(environment).filter(made_here) {
            let place = if file.starts_with("secrets/") { made.path().to_owned() } else { folder() };
            assert!(place.join(file).exists(), "{name}: no compose/{file}");
        }
        let has_private_key = service.environment.contains_key("PVF_SIGNING_KEY")
            || service.volumes.iter().any(|volume| volume.starts_with("./secrets:"));
        assert_eq!(has_private_key, name == "prepare-worker", "{name}");
        for (other, condition) in &service.depends_on {
            assert!(compose.services.contains_key(other), "{name} depends on {other}");
            assert_eq!(condition["condition"], "service_healthy");
        }
        for port in &service.ports {
            assert!(port.starts_with("127.0.0.1:"), "{name} publishes {port} to the network");
        }
        if name.ends_with("-worker") {
            assert_eq!(service.cap_drop, ["ALL"]);
            for option in ["seccomp=./seccomp.json", "no-new-privileges"] {
                assert!(service.security_opt.iter().any(|o| o == option), "{name}: {option}");
            }
        }
    }
}

/// The addresses that a server bound, from its `--ports_file_dir`.
#[derive(Debug, Deserialize)]
struct Bound {
    nats: Vec<String>,
    monitoring: Vec<String>,
}

/// Starts a server with `compose/nats.conf`, on free ports instead of those in the file.
async fn bound(more: &[&str]) -> Bound {
    let dir = with_secrets();
    let text = read("nats.conf");
    let config = text.replace(":4222\"", ":-1\"").replace(":8222\"", ":-1\"");
    assert_eq!(text.len() - config.len(), 4, "both ports are replaced");
    let file = dir.path().join("nats.conf");
    std::fs::write(&file, config).unwrap();
    let mut command = Command::new(server_path().unwrap());
    command.arg("-c").arg(&file).arg("--ports_file_dir").arg(dir.path()).arg("--log").arg(dir.path().join("log"));
    command.arg("--store_dir").arg(dir.path());
    let process = Process::start(command.args(more));
    let ports = dir.path().join(format!("nats-server_{}.ports", process.pid()));
    until("nats-server writes its ports", async || serde_json::from_slice(&std::fs::read(&ports).ok()?).ok()).await
}

#[test]
fn nats_accepts_its_configuration_and_does_not_start_without_users() {
    let folder = with_secrets();
    let config = folder.path().join("nats.conf");
    let check = || output(&server_path().unwrap(), &["-t", "-c", config.to_str().unwrap()]);
    let checked = check();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    std::fs::remove_file(folder.path().join("secrets/nats/users.conf")).unwrap();
    let checked = check();
    let text = String::from_utf8_lossy(&checked.stderr);
    assert!(!checked.status.success() && text.contains("users.conf"), "{text}");
}

#[tokio::test]
async fn nats_listens_on_this_machine_only_unless_told_otherwise() {
    let by_hand = bound(&[]).await;
    for address in by_hand.nats.iter().chain(&by_hand.monitoring) {
        assert!(address.contains("://127.0.0.1:"), "{by_hand:?}");
    }
    let command = &compose().services["nats"].command;
    // It includes nats.conf, and adds TLS.
    assert_eq!(command[..2], ["-c", "/etc/nats/nats-tls.conf"]);
    assert!(read("nats-tls.conf").contains("\ninclude \"nats.conf\"\n"));
    let more: Vec<_> = command[2..].iter().map(String::as_str).collect();
    assert_eq!(more, ["--addr", "0.0.0.0", "--store_dir", "/data"]);
    let more = &more[..2];
    let in_compose = bound(more).await;
    // The monitoring port has no other reader than the health check inside the container.
    assert!(in_compose.monitoring.iter().all(|address| address.contains("://127.0.0.1:")), "{in_compose:?}");
    assert!(!in_compose.nats.is_empty());
}

/// Docker's format of a seccomp profile, as far as this one uses it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Profile {
    #[serde(rename = "_comment")]
    _comment: String,
    default_action: String,
    default_errno_ret: i32,
    arch_map: Vec<Architecture>,
    syscalls: Vec<Rule>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Architecture {
    architecture: String,
    sub_architectures: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    #[serde(rename = "comment")]
    _comment: String,
    names: Vec<String>,
    action: String,
}

#[test]
fn the_seccomp_profile_has_dockers_format_and_refuses_dangerous_calls() {
    let profile: Profile = serde_json::from_str(&read("seccomp.json")).unwrap();
    assert_eq!((profile.default_action.as_str(), profile.default_errno_ret), ("SCMP_ACT_ERRNO", libc::ENOSYS));
    let architectures: Vec<_> = profile.arch_map.iter().map(|map| map.architecture.as_str()).collect();
    assert_eq!(architectures, ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"]);
    assert!(profile.arch_map.iter().all(|map| map.sub_architectures.is_empty()));
    assert!(profile.syscalls.iter().all(|rule| rule.action == "SCMP_ACT_ALLOW"));
    let names: Vec<_> = profile.syscalls.iter().flat_map(|rule| &rule.names).map(String::as_str).collect();
    let allowed: HashSet<_> = names.iter().copied().collect();
    assert_eq!(allowed.len(), names.len(), "a call is listed twice");
    for refused in [
        "ptrace",
        "process_vm_readv",
        "process_vm_writev",
        "bpf",
        "io_uring_setup",
        "keyctl",
        "add_key",
        "init_module",
        "finit_module",
        "kexec_load",
        "open_by_handle_at",
        "clock_settime",
        "perf_event_open",
        "userfaultfd",
        "reboot",
    ] {
        assert!(!allowed.contains(refused), "{refused}");
    }
    // The sandbox of the jobs needs these.
    for needed in ["unshare", "mount", "pivot_root", "seccomp", "landlock_restrict_self", "clone3", "truncate"] {
        assert!(allowed.contains(needed), "{needed}");
    }
}
