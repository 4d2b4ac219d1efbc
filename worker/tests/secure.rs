//! The workers' command line on machines where the sandbox is complete, and where it is not: under a filter like
//! Docker's default seccomp profile, and under filters that take one mechanism away.

mod common;

use common::WORKER;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    apply_filter,
};
use std::{
    fs,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::Path,
    process::{Command, Output},
};

const NOBODY: u32 = 65534;

/// A worker whose bus does not exist, so that it ends in any case.
fn worker(exe: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(exe);
    command.args(["--nats", "nats://127.0.0.1:1", "--store", "file:///tmp"]).args(more);
    command.env_remove("PVF_INSECURE_BEST_EFFORT").env_remove("PVF_ALLOW_MISSING").env("PVF_UNSIGNED", "1");
    command
}

/// The part of Docker's default profile that concerns the sandbox: without privileges it refuses namespaces, mounts and
/// a change of the root.
fn docker_profile() -> BpfProgram {
    let user = libc::CLONE_NEWUSER as u64;
    let flag = SeccompCondition::new(0, SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(user), user).unwrap();
    let rules = [
        (libc::SYS_clone, vec![SeccompRule::new(vec![flag]).unwrap()]),
        (libc::SYS_unshare, vec![]),
        (libc::SYS_mount, vec![]),
        (libc::SYS_pivot_root, vec![]),
    ];
    let refuse = SeccompAction::Errno(libc::EPERM as u32);
    let arch = std::env::consts::ARCH.try_into().unwrap();
    SeccompFilter::new(rules.into(), SeccompAction::Allow, refuse, arch).unwrap().try_into().unwrap()
}

/// A kernel that answers these calls with this error.
fn without(call: i64, errno: i32) -> BpfProgram {
    let arch = std::env::consts::ARCH.try_into().unwrap();
    let refuse = SeccompAction::Errno(errno as u32);
    SeccompFilter::new([(call, vec![])].into(), SeccompAction::Allow, refuse, arch).unwrap().try_into().unwrap()
}

fn under(profile: BpfProgram, mut command: Command) -> Output {
    // SAFETY: installing a filter makes plain system calls.
    unsafe { command.pre_exec(move || apply_filter(&profile).map_err(std::io::Error::other)) };
    command.output().unwrap()
}

fn in_docker(more: &[&str]) -> Output {
    under(docker_profile(), worker(Path::new(WORKER), more))
}

/// On a machine without landlock in `lsm=`.
fn without_landlock(more: &[&str], variable: Option<&str>) -> Output {
    let mut command = worker(Path::new(WORKER), more);
    command.envs(variable.map(|value| ("PVF_ALLOW_MISSING", value)));
    under(without(libc::SYS_landlock_create_ruleset, libc::EOPNOTSUPP), command)
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_worker_refuses_to_start_with_an_incomplete_sandbox_and_names_the_fixes() {
    for more in [&[][..], &["--secure"]] {
        let output = in_docker(more);
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        let stderr = stderr(&output);
        for part in [
            "user namespace, pid namespace, ",
            "cgroup namespace: clone: Operation not permitted",
            "empty root: requires a mount namespace",
            "fix: ",
            "compose/seccomp.json",
        ] {
            assert!(stderr.contains(part), "{part}: {stderr}");
        }
        // Mechanisms that work are not mentioned.
        assert!(!stderr.contains("landlock: ") && !stderr.contains("seccomp: "), "{stderr}");
    }
}

#[test]
fn a_worker_starts_with_an_incomplete_sandbox_if_asked_to() {
    let output = in_docker(&["--insecure-best-effort"]);
    assert_fails_at_the_bus(&output);
    assert!(stderr(&output).contains("deprecated"), "{}", stderr(&output));
}

#[test]
fn a_worker_without_landlock_starts_only_if_landlock_is_named() {
    for (more, variable) in [
        (&[][..], None),
        (&["--secure"], None),
        (&["--allow-missing", "uts-namespace,seccomp"], None),
        (&[], Some("empty-root")),
    ] {
        let output = without_landlock(more, variable);
        let stderr = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{more:?}: {stderr}");
        for part in
            ["landlock: the kernel has landlock, but", "lsm=", "To start without these: --allow-missing landlock"]
        {
            assert!(stderr.contains(part), "{part}: {stderr}");
        }
        assert!(!stderr.contains("not enforced"), "{stderr}");
    }
    for (more, variable) in [
        (&["--allow-missing", "landlock"][..], None),
        (&["--secure", "--allow-missing", "uts-namespace", "--allow-missing", "landlock"], None),
        (&[], Some("landlock")),
    ] {
        let output = without_landlock(more, variable);
        assert_fails_at_the_bus(&output);
        assert!(stderr(&output).contains("no landlock;") && stderr(&output).contains("missing: landlock"));
    }
}

#[test]
fn consent_does_not_replace_the_last_mechanism_of_a_property() {
    let command = worker(Path::new(WORKER), &["--allow-missing", "seccomp"]);
    let output = under(without(libc::SYS_seccomp, libc::EINVAL), command);
    let stderr = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("not enforced: few system calls; it takes one of: seccomp"), "{stderr}");
    assert!(!stderr.contains("fix: ") && !stderr.contains("--allow-missing"), "{stderr}");
}

#[test]
fn an_unprivileged_user_gets_the_complete_sandbox() {
    let mut command = worker(Path::new(WORKER), &[]);
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    if rustix::process::getuid().is_root() {
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let exe = folder.path().join("pvf-execute-worker");
        fs::copy(WORKER, &exe).unwrap();
        command = worker(&exe, &[]);
        command.uid(NOBODY).gid(NOBODY);
    }
    assert_fails_at_the_bus(&command.output().unwrap());
}

/// The worker got past the sandbox: the missing bus ends it.
fn assert_fails_at_the_bus(output: &Output) {
    let stderr = stderr(output);
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    assert!(stderr.contains("127.0.0.1:1") && !stderr.contains("sandbox incomplete"), "{stderr}");
}

#[test]
fn wrong_settings_have_an_exit_code_of_their_own() {
    for settings in [
        &["--nats", "nats://127.0.0.1:1", "--store", "nowhere://x"][..],
        &["--nats", "nats://127.0.0.1:1", "--store", "file:///tmp", "--trusted-key", "/nowhere"],
        &["--nats", "nats://127.0.0.1:1", "--store", "file:///tmp", "--slots", "0"],
        &["--store", "file:///tmp"],
        &["--nats", "nats://127.0.0.1:1", "--store", "file:///tmp", "--allow-missing", "everything"],
    ] {
        let output = Command::new(WORKER)
            .args(settings)
            .env_remove("PVF_NATS")
            .env("PVF_UNSIGNED", if settings.contains(&"--trusted-key") { "" } else { "1" })
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{settings:?}: {}", stderr(&output));
    }
}

#[test]
fn the_help_documents_the_exit_codes() {
    let output = Command::new(WORKER).arg("--help").output().unwrap();
    let help = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && help.contains("Exit codes:"), "{help}");
    for code in ["\n  0  ", "\n  2  ", "\n  3  "] {
        assert!(help.contains(code), "{code:?}: {help}");
    }
}
