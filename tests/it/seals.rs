//! Signed artifacts, on a fleet of processes.

use pvf_guests::distinct_adder;
use pvf_shared::{
    Bytes,
    ids::ArtifactId,
    keys::{PrivateKey, PublicKey, read_private, read_public},
    store::{
        keys,
        seal::{self, Compiled, Sealed},
    },
    verdict::Outcome,
    wire::WorkerKind,
};
use pvf_tests::{
    fleet::{Fleet, FleetConfig, Role, new_keys},
    host::artifacts_in,
    processes::until,
    requests::{adder, good_block, pvf_of},
};
use std::path::PathBuf;

async fn signed_fleet(execute: usize) -> Fleet {
    Fleet::with(FleetConfig { execute, signed: true, ..FleetConfig::default() }).await
}

fn public_key(fleet: &Fleet) -> PublicKey {
    read_public(&fleet.keys().public).unwrap()
}

/// The artifacts in the store: files, ids and objects.
fn artifacts(fleet: &Fleet) -> Vec<(PathBuf, ArtifactId, Bytes)> {
    let parsed = |file: PathBuf| {
        let key = file.strip_prefix(fleet.store()).unwrap().to_str().unwrap().into();
        let object = std::fs::read(&file).unwrap().into();
        (file, keys::parse_artifact(&key).expect("an artifact's key"), object)
    };
    artifacts_in(fleet.store()).into_iter().map(parsed).collect()
}

fn content(sealed: Sealed) -> Compiled {
    let Sealed::Artifact { compiled, .. } = sealed else { panic!("{sealed:?}") };
    compiled
}

async fn valid(fleet: &Fleet) {
    let answer = fleet.host.execute_pvf(adder(), good_block()).await.unwrap();
    assert!(matches!(answer.outcome, Outcome::Valid(_)), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_with_keys_signs_and_shows_them() {
    let fleet = signed_fleet(1).await;
    valid(&fleet).await;
    let [(_, id, object)] = &artifacts(&fleet)[..] else { panic!("one artifact") };
    let key = public_key(&fleet);
    assert!(seal::open(&[key], id, object).is_ok());
    for other in [PrivateKey::unsigned(), PrivateKey::from_seed([1; 32])] {
        assert!(seal::open(&[other.public()], id, object).is_err());
    }
    let (status, name) = (fleet.status().await, key.fingerprint());
    assert_eq!(status.trusted_keys, [name]);
    for worker in &status.workers {
        let expected = match worker.kind {
            WorkerKind::Prepare => (Some(name), vec![]),
            WorkerKind::Execute => (None, vec![name]),
        };
        assert_eq!((worker.signs_with, worker.trusts.clone()), expected);
    }
}

/// What somebody wrote who can write to the store and does not have the key: each is refused, the code is prepared once
/// more, and the verdict is right.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forged_artifacts_are_refused_and_prepared_again_once() {
    let mut fleet = signed_fleet(1).await;
    fleet.host.precheck_pvf(pvf_of(distinct_adder(1))).await.unwrap();
    let [(_, _, foreign)] = &artifacts(&fleet)[..] else { panic!("one artifact") };
    let foreign = foreign.clone();
    valid(&fleet).await;
    let others = artifacts(&fleet);
    let (file, id, good) = others.into_iter().find(|(_, _, object)| *object != foreign).unwrap();
    let compiled = content(seal::open(&[public_key(&fleet)], &id, &good).unwrap());
    // As the forging script does: says that the guest has no start function, and signs that with a key that it has.
    let lies = Compiled { has_start: !compiled.has_start, ..compiled.clone() };
    let by = |key: PrivateKey, compiled: &Compiled| seal::seal_artifact(&key, &id, compiled).0;
    let untrusted = by(PrivateKey::from_seed([1; 32]), &lies);
    // The fleet's key by name, and a signature of another.
    let mut claimed = untrusted.to_vec();
    claimed[50..58].copy_from_slice(&good[50..58]);
    // The fleet's signature, and other content of the same length.
    let mut patched = good.to_vec();
    *patched.last_mut().unwrap() ^= 1;
    let mut flag = good.to_vec();
    flag[9] ^= 1;
    let forged = [
        ("untrusted key", untrusted),
        ("built-in key", by(PrivateKey::unsigned(), &compiled)),
        ("wrong signature", claimed.into()),
        ("moved", foreign),
        ("patched", patched.into()),
        ("start function", flag.into()),
    ];
    for (n, (name, object)) in (1..).zip(forged) {
        std::fs::write(&file, &object).unwrap();
        // A worker without its own copy of the artifact; the next time also a coordinator that knows nothing of it.
        fleet.execute.clear();
        if n % 2 == 0 {
            fleet.replace_coordinator();
            fleet.complete(1, 0).await;
        }
        fleet.complete(1, 0).await;
        fleet.add(Role::Execute);
        fleet.complete(1, 1).await;
        let before = fleet.status().await.prepared;
        valid(&fleet).await;
        assert_eq!(fleet.status().await.prepared, before + 1, "{name}");
        assert_eq!(std::fs::read(&file).unwrap(), good, "{name}: prepared again, to the same bytes");
        // The same version is prepared again once in some minutes: the next forgery needs another coordinator.
        fleet.replace_coordinator();
        fleet.complete(1, 1).await;
    }
}

/// Both keys are trusted while one replaces the other: what was signed with the old one stays valid.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_replaced_without_preparing_anything_again() {
    let mut fleet = signed_fleet(1).await;
    valid(&fleet).await;
    let new = new_keys(&fleet.folder().join("new.key"));
    let both = format!("{},{}", fleet.keys().public.display(), new.public.display());
    // First those that verify, then those that sign.
    fleet.execute.clear();
    fleet.complete(1, 0).await;
    fleet.add_with(Role::Execute, &["--trusted-key", &both]);
    fleet.complete(1, 1).await;
    valid(&fleet).await;
    fleet.coordinator.kill();
    let mut coordinator = fleet.coordinator_command();
    coordinator.env("PVF_TRUSTED_KEYS", &both);
    fleet.coordinator = pvf_tests::processes::Process::start(&mut coordinator);
    fleet.prepare.clear();
    fleet.add_with(Role::Prepare, &["--signing-key", new.private.to_str().unwrap()]);
    fleet.complete(1, 1).await;
    valid(&fleet).await;
    assert_eq!(fleet.status().await.prepared, 0, "the old artifact is valid");
    fleet.host.precheck_pvf(pvf_of(distinct_adder(1))).await.unwrap();
    let new_key = read_private(&new.private).unwrap().public();
    let opened =
        |key: PublicKey| artifacts(&fleet).iter().filter(|(_, id, o)| seal::open(&[key], id, o).is_ok()).count();
    assert_eq!((opened(public_key(&fleet)), opened(new_key)), (1, 1));
    // A worker that does not know the new key yet is not let in.
    fleet.add(Role::Execute);
    let worker = fleet.execute.last().unwrap().pid();
    fleet.complete(1, 1).await;
    assert!(pvf_tests::processes::lives(worker), "it keeps asking");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_with_other_keys_is_refused_with_both_fingerprints() {
    let mut fleet = signed_fleet(0).await;
    let other = new_keys(&fleet.folder().join("other.key"));
    let [ours, theirs] = [&fleet.keys().public, &other.public].map(|file| read_public(file).unwrap().fingerprint());
    for (role, option, file, refused) in [
        (Role::Execute, "--trusted-key", &other.public, theirs.to_string()),
        (Role::Prepare, "--signing-key", &other.private, theirs.to_string()),
        (Role::Execute, "--unsigned", &PathBuf::new(), "unsigned".to_owned()),
    ] {
        let log = fleet.folder().join("log");
        let output = std::fs::File::create(&log).unwrap();
        let arguments = [option, file.to_str().unwrap()];
        let arguments = if file.as_os_str().is_empty() { &arguments[..1] } else { &arguments };
        fleet.add_changed(role, arguments, |command| {
            command.stderr(output);
        });
        let expected = format!("wrong-keys: the worker has {refused}, but the fleet trusts {ours}");
        until(&format!("the refusal of {option}"), async || {
            std::fs::read_to_string(&log).unwrap().contains(&expected).then_some(())
        })
        .await;
        let status = fleet.status().await;
        assert_eq!((status.prepare.workers, status.execute.workers), (1, 0));
    }
}

/// No role starts without keys, with keys that it must not have, or with files that it cannot use: exit code 2.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_without_usable_keys_does_not_start() {
    use std::os::unix::fs::PermissionsExt as _;
    let mut fleet = signed_fleet(0).await;
    let open = new_keys(&fleet.folder().join("open.key")).private;
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o644)).unwrap();
    let absent = fleet.folder().join("absent");
    let (private, public) = (fleet.keys().private.clone(), fleet.keys().public.clone());
    let none = PathBuf::new();
    for (role, option, file, words) in [
        (Role::Execute, "--trusted-key", &none, "--unsigned (PVF_UNSIGNED=1)"),
        (Role::Prepare, "--signing-key", &none, "pvf keys new"),
        (Role::Prepare, "--signing-key", &open, "chmod 600"),
        (Role::Prepare, "--signing-key", &public, "others can access it"),
        (Role::Execute, "--trusted-key", &private, "this is a private key"),
        (Role::Execute, "--trusted-key", &absent, "absent"),
        (Role::Execute, "--signing-key", &private, "must not have the private key"),
    ] {
        let log = fleet.folder().join("log");
        let output = std::fs::File::create(&log).unwrap();
        let argument = file.to_str().unwrap().to_owned();
        fleet.add_changed(role, &[option, &argument], |command| {
            command.env_remove("PVF_UNSIGNED").stderr(output);
        });
        let list = if role == Role::Prepare { &mut fleet.prepare } else { &mut fleet.execute };
        let mut worker = list.pop().unwrap();
        let ended = until("the worker ends", async || worker.0.try_wait().unwrap()).await;
        let log = std::fs::read_to_string(&log).unwrap();
        assert_eq!(ended.code(), Some(2), "{option} {argument}: {log}");
        assert!(log.contains(words), "{option} {argument}: {log}");
    }
    let mut coordinator = fleet.coordinator_command();
    coordinator.env_remove("PVF_TRUSTED_KEYS").stderr(std::process::Stdio::piped());
    let output = coordinator.output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--trusted-key FILE (PVF_TRUSTED_KEYS)"));
}
